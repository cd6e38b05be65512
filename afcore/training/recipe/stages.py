"""Running the stages of a config, one after the other, each from where it last stopped."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from afcore.checkpoints import mini
from afcore.engine.precision import cpu_has_bfloat16
from afcore.errors import BadRequest, Cancelled, MissingPart
from afcore.model import AudioFlamingo, lora
from afcore.training.recipe import network, state
from afcore.training.recipe.batches import SampleSequence, collate
from afcore.training.recipe.config import Config, Stage, fingerprint
from afcore.training.recipe.network import AnswerLoss
from afcore.training.recipe.parallel import World, shard
from afcore.training.recipe.progress import HeldOutCheck, Log, gates
from afcore.training.recipe.sources import NO_PARTS, Parts, Sources
from afcore.training.recipe.windows import Windows

DONE = "done.json"

Watch = Callable[[int, int, dict[str, float]], bool]
"""Hears after each optimiser step its number from 1, how many there are, and `loss`, `gradient` …; True stops the run
after a checkpoint."""


def run(
    config: Config,
    world: World,
    only: str | None = None,
    prepare: bool = False,
    parts: Parts = NO_PARTS,
    watch: Watch | None = None,
) -> Path:
    """Runs every stage that is not done (or the stage `only`) and returns the folder of the last one. `prepare`: fills
    the caches and stops. `parts`: what the config may name besides the recipe's own. Raises AfcoreError in one sentence
    where something is missing or does not fit, Cancelled where `watch` stops it."""
    windows = Windows(config.cache, config.model, world.device)
    sources = Sources(config, windows, parts)
    stages = [stage for stage in config.stages if only in (None, stage.name)]
    if not stages:
        raise BadRequest(f"The config has no stage {only}: choose {', '.join(s.name for s in config.stages)}.")
    before = None
    for stage in config.stages:
        folder = config.work / stage.name
        if stage in stages:
            samples = SampleSequence(config, stage, sources)
            watched = config.held_out and stage.mix and (stage.held_out_every or prepare)
            held_out = HeldOutCheck(config, stage, sources) if watched else None
            gather(samples, held_out, windows, world)
            if not prepare:
                StageRun(config, stage, samples, held_out, before, world, sources, watch).run()
        before = folder / network.WEIGHTS
    return config.work / stages[-1].name


def gather(samples: SampleSequence, held_out: HeldOutCheck | None, windows: Windows, world: World) -> None:
    """Windows and neighbours of a stage: made by a single process, only asked for by several."""
    sounds = samples.sounds() + (held_out.sounds() if held_out else [])
    if world.size > 1 and (missing := windows.missing(sounds)):
        raise MissingPart(
            f"{len(missing)} sounds have no windows yet: run the recipe with --prepare first, in one process."
        )
    if world.size == 1 and sounds:
        windows.fill(sounds, _encoded)
    samples.prepare(make=world.size == 1)


def _encoded(done: int, of: int) -> None:
    if done % 100 == 0 or done == of:
        print(f"encoded {done} of {of} sounds", flush=True)


def rate(stage: Stage, step: int, steps: int) -> float:
    """The learning rate of optimiser step `step`, from 0: linear warm-up, then constant (the paper's) or a cosine to a
    fiftieth."""
    value = stage.lr * min(1.0, (step + 1) / max(1, stage.warmup))
    if stage.schedule == "cosine":
        done = max(0.0, (step - stage.warmup) / max(1, steps - stage.warmup))
        value *= 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done))
    return value


class StageRun:
    """One stage. `before`: the weights file of the stage before; `sources`: for its auxiliary loss."""

    def __init__(
        self,
        config: Config,
        stage: Stage,
        samples: SampleSequence,
        held_out: HeldOutCheck | None,
        before: Path | None,
        world: World,
        sources: Sources,
        watch: Watch | None = None,
    ):
        self.config, self.stage, self.samples, self.watch = config, stage, samples, watch
        self.held_out, self.before, self.world = held_out, before, world
        self.folder = config.work / stage.name
        self.steps, self.sources = samples.steps, sources
        # With what the stage before came to, so that one that was done again is not followed by what was made from the
        # old.
        done = before.with_name(DONE) if before else None
        earlier = done.read_text() if done and done.exists() else ""
        signatures = samples.signature()
        if stage.auxiliary:
            signatures.append(sources[stage.auxiliary.data].signature())
        model = config.model
        self.print = fingerprint(
            stage,
            samples.sizes,
            config.seed,
            [model.settings, model.open_gates, model.input_gradient, model.new_tokens_like],
            signatures,
            earlier,
        )
        if stage.auxiliary and world.size > 1:
            raise BadRequest(f"The stage {stage.name} has an auxiliary loss, which runs in a single process only.")
        micro = stage.batch // stage.micro_batch
        if micro % world.size:
            raise BadRequest(
                f"The stage {stage.name} has {micro} micro-batches a step, which {world.size} processes cannot "
                "share evenly."
            )
        self.mine = range(world.rank, micro, world.size)
        if stage.precision == "bf16" and world.device.type == "cpu" and not cpu_has_bfloat16():
            self.stage = replace(stage, precision="fp32")  # there each product in bf16 takes four times as long

    def run(self) -> None:
        if (self.folder / DONE).exists():
            facts = json.loads((self.folder / DONE).read_text())
            if facts["fingerprint"] != self.print:
                raise BadRequest(
                    f"The stage in {self.folder} was made with other settings or data: give another --work "
                    "folder, or delete it."
                )
            if facts["step"] >= self.steps:
                if self.world.first:
                    print(f"{self.stage.name}: done already ({facts['step']} steps)", flush=True)
                return
        built = network.build(self.config, self.stage, self.before, self.sources.parts)
        checkpoint = state.newest(self.folder / "state")
        start = 0
        if checkpoint:
            start = state.facts_of(checkpoint, self.print)["step"]
            state.load_parameters(checkpoint, built.net)
        net = shard(built.net, self.world).train()
        if self.world.device.type == "cpu":  # there the backward pass of the fused attention costs a fifth of a step
            net.model.language_model.set_attn_implementation("eager")
        if net.auxiliary is not None and self.stage.auxiliary is not None:
            net.auxiliary.prepare(net.model, built.tokenizer, self.sources[self.stage.auxiliary.data], self.config.seed)
        optimiser = torch.optim.AdamW(groups(net, self.stage), lr=self.stage.lr, betas=self.stage.betas)
        if checkpoint:
            state.load_optimiser(checkpoint, net, optimiser)
        log = Log(self.folder, start) if self.world.first else None
        if self.world.first:
            count = sum(p.numel() for p in state.trained(net).values())
            epoch = f", {self.samples.blend.start(1)} samples in the first epoch" if self.stage.mix else ""
            print(
                f"{self.stage.name}: {count / 1e6:.2f} M trained parameters, {self.stage.precision}, steps {start} to "
                f"{self.steps}{epoch}",
                flush=True,
            )
        self._loop(net, optimiser, built.tokenizer, start, log)
        del net, optimiser, built
        if self.world.first:
            self.finish()
        self.world.wait()

    def _loop(
        self,
        net: AnswerLoss,
        optimiser: torch.optim.Optimizer,
        tokenizer: PreTrainedTokenizerBase,
        start: int,
        log: Log | None,
    ) -> None:
        stage, world = self.stage, self.world
        seen: list[dict[str, float]] = []
        begun = time.time()
        with ThreadPoolExecutor(1) as ahead:  # reads and tokenises the next step's samples meanwhile
            drawn = functools.partial(self._micro_batches, tokenizer, net.model.config.max_windows_per_audio)
            coming = ahead.submit(drawn, start)
            for step in range(start, self.steps):
                batches = coming.result()
                if step + 1 < self.steps:
                    coming = ahead.submit(drawn, step + 1)
                for group in optimiser.param_groups:
                    group["lr"] = rate(stage, step, self.steps) * group["share"]
                seen.append(self._step(net, optimiser, step, batches))
                done = step + 1
                stopping = self.watch is not None and self.watch(done, self.steps, seen[-1]) and done < self.steps
                watched = bool(stage.held_out_every) and done % stage.held_out_every == 0
                kept = stopping or done % stage.checkpoint_every == 0 or done == self.steps
                if stopping or done % stage.log_every == 0 or done == self.steps:
                    row = self._row(net, done, seen)
                    if watched and self.held_out is not None:
                        row |= self.held_out(net, tokenizer, world, self._precision)
                    if watched and net.auxiliary is not None:
                        with self._precision():
                            row |= net.auxiliary.look(net.model)
                    row["seconds"] = round(time.time() - begun, 1)
                    seen.clear()
                    if log:
                        log.add(row)
                if kept:
                    facts = {
                        "step": done,
                        "samples": done * stage.batch,
                        "seed": self.config.seed,
                        "fingerprint": self.print,
                    }
                    state.save(self.folder / "state", net, optimiser, facts, world)
                if log and (watched or kept):
                    log.plot(f"{self.config.file.stem}, {stage.name}")
                if stopping:
                    raise Cancelled()

    def _row(self, net: AnswerLoss, done: int, seen: list[dict[str, float]]) -> dict:
        """A line of the log: means of what the last steps gave, and where the stage stands."""
        stage = self.stage
        means = {key: float(np.mean([values[key] for values in seen])) for key in seen[0]}
        samples = done * stage.batch
        drawn = {"epoch": self.samples.blend.epoch_of(samples - 1), "samples": samples} if stage.mix else {}
        means |= net.auxiliary.seen() if net.auxiliary is not None else {}
        return {"step": done, **drawn, **means, "lr": rate(stage, done - 1, self.steps), "gates": gates(net)}

    def _micro_batches(
        self, tokenizer: PreTrainedTokenizerBase, slots: int, step: int
    ) -> list[tuple[int, dict[str, Tensor]]]:
        """This process's micro-batches of a step, with their numbers. Which samples they hold does not depend on the
        number of processes."""
        stage, out = self.stage, []
        if not stage.mix:
            return []
        size, first = stage.micro_batch, step * stage.batch
        if stage.sort_by_length:
            drawn = {number: self.samples[number] for number in range(first, first + stage.batch)}
            order = sorted(drawn, key=lambda number: len(drawn[number].text))
        else:
            mine = [first + k * size + i for k in self.mine for i in range(size)]
            drawn = {number: self.samples[number] for number in mine}
            order = list(range(first, first + stage.batch))
        for k in self.mine:
            numbers = order[k * size : (k + 1) * size]
            batch = collate(
                [drawn[number] for number in numbers],
                [self.samples.features(number, drawn[number]) for number in numbers],
                tokenizer,
                slots,
                self.samples.silence,
                stage.pad_audios_to,
                stage.max_tokens,
            )
            out.append((k, batch))
        return out

    def _step(
        self,
        net: AnswerLoss,
        optimiser: torch.optim.Optimizer,
        step: int,
        batches: list[tuple[int, dict[str, Tensor]]],
    ) -> dict[str, float]:
        """One optimiser step over all processes: `loss`, the mean per answer token, `auxiliary` where there is such a
        loss, and `gradient`, its norm before clipping."""
        stage, values = self.stage, {}
        if stage.mix:
            values["loss"] = self._answers(net, step, batches)
        if net.auxiliary is not None and stage.auxiliary is not None:
            if net.rows is not None:  # it is given the model alone
                net.rows.write_back(net.model)
            with self._precision():
                loss = net.auxiliary(net.model, np.random.default_rng([self.config.seed, step, 3]))
            (loss * (stage.auxiliary.weight if stage.mix else 1.0)).backward()
            values["auxiliary"] = loss.item()
        norm = torch.nn.utils.clip_grad_norm_([p for p in net.parameters() if p.requires_grad], stage.clip)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return values | {"gradient": float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)}

    def _answers(self, net: AnswerLoss, step: int, batches: list[tuple[int, dict[str, Tensor]]]) -> float:
        """The gradient of the answers' loss, and its mean per token over all processes."""
        world = self.world
        tokens = max(1.0, world.sum(float(sum((batch["labels"][:, 1:] != -100).sum() for _, batch in batches)))[0])
        total = 0.0
        for k, batch in batches:
            # Dropout falls the same way in whichever process this micro-batch is computed, and after a resume.
            torch.manual_seed(int(np.random.SeedSequence([self.config.seed, step, k]).generate_state(1)[0]))
            with self._precision():
                sums, _ = net({key: value.to(world.device) for key, value in batch.items()})
            loss = sums.sum()
            (loss * (world.size / tokens)).backward()  # FSDP takes the mean of the processes' gradients
            total += loss.item()
        return world.sum(total)[0] / tokens

    def _precision(self) -> contextlib.AbstractContextManager:
        if self.stage.precision == "bf16":
            return torch.autocast(self.world.device.type, torch.bfloat16)
        return contextlib.nullcontext()

    def finish(self) -> None:
        """Writes what the next stage begins with, `weights.safetensors`, and after the last stage a model to use:
        mini's files where only what hears and low-rank updates that are kept were trained, else a folder for
        `from_pretrained`."""
        from safetensors.torch import save_file

        plain = replace(self.stage, precision="fp32", gradient_checkpointing=False)  # nothing that is kept is rounded
        built = network.build(self.config, plain, self.before, self.sources.parts)
        checkpoint = state.newest(self.folder / "state")
        assert checkpoint is not None, "the loop has written one"
        state.load_parameters(checkpoint, built.net)
        model = built.model
        if built.net.rows is not None:
            built.net.rows.write_back(model)
        names = set(state.trained(built.net)) | built.inherited
        merged = network.merge_lora(model) if self.stage.train == "lora" and not self.stage.lora.keep else set()
        names = {name.removeprefix("model.") for name in names if ".lora_" not in name} | merged
        partial = self.folder / (network.WEIGHTS + ".partial")
        content = network.weights_of(built.net, names)
        save_file(content, partial)
        os.replace(partial, self.folder / network.WEIGHTS)
        if self.stage.name == self.config.stages[-1].name:  # its precision may have been changed for this machine
            apart = (network.ROWS, network.AUXILIARY, lora.PREFIX)
            only_audio = all(AudioFlamingo.is_audio_parameter(n) for n in content if not n.startswith(apart))
            if self.config.model.language_model == "mini" and only_audio:
                mini.save_mini(model, self.folder / "mini")
            else:
                model.save_pretrained(self.folder / "model")
                built.tokenizer.save_pretrained(self.folder / "model")
        (self.folder / DONE).write_text(json.dumps({"step": self.steps, "fingerprint": self.print}))


def groups(net: AnswerLoss, stage: Stage) -> list[dict]:
    """Weight decay on matrices alone, which the new tokens' embeddings are not; `stage.audio_share` of the learning
    rate before the cross-attention."""
    found: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in state.trained(net).items():
        before = name.startswith(("model.audio_transformer.", "model.front_end."))
        decays = parameter.ndim > 1 and not name.startswith(("rows.", "auxiliary."))
        found.setdefault((before, decays), []).append(parameter)
    return [
        {
            "params": parameters,
            "share": stage.audio_share if before else 1.0,
            "weight_decay": stage.weight_decay if decays else 0.0,
        }
        for (before, decays), parameters in found.items()
    ]
