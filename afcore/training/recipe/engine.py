"""Running the stages of a config, one after the other, each from where it last stopped."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from afcore.checkpoints import mini
from afcore.errors import BadRequest, MissingPart
from afcore.model import AudioFlamingo
from afcore.training.recipe import network, state
from afcore.training.recipe.batches import Samples, collate
from afcore.training.recipe.config import Config, Stage, fingerprint
from afcore.training.recipe.parallel import World, shard
from afcore.training.recipe.progress import HeldOutItems, Log, gates
from afcore.training.recipe.windows import Windows

DONE = "done.json"


def run(config: Config, world: World, only: str | None = None, prepare: bool = False) -> Path:
    """Runs every stage that is not done (or the stage `only`) and returns the folder of the last one. `prepare`: fills
    the caches and stops. Raises AfcoreError in one sentence where something is missing or does not fit."""
    windows = Windows(config.cache, config.model, world.device)
    stages = [stage for stage in config.stages if only in (None, stage.name)]
    if not stages:
        raise BadRequest(f"The config has no stage {only}: choose {', '.join(s.name for s in config.stages)}.")
    before = None
    for stage in config.stages:
        folder = config.work / stage.name
        if stage in stages:
            samples = Samples(config, stage, windows)
            watched = config.held_out and (stage.held_out_every or prepare)
            held_out = HeldOutItems(config, stage, windows) if watched else None
            gather(samples, held_out, windows, world)
            if not prepare:
                StageRun(config, stage, samples, held_out, before, world).run()
        before = folder / network.WEIGHTS
    return config.work / stages[-1].name


def gather(samples: Samples, held_out: HeldOutItems | None, windows: Windows, world: World) -> None:
    """Windows and neighbours of a stage: made by a single process, only asked for by several."""
    sounds = samples.sounds() + (held_out.sounds if held_out else [])
    if world.size == 1:

        def say(done, of):
            return print(f"encoded {done} of {of} sounds", flush=True) if done % 100 == 0 or done == of else None

        windows.fill(sounds, say)
    elif missing := windows.missing(sounds):
        raise MissingPart(
            f"{len(missing)} sounds have no windows yet: run the recipe with --prepare first, in one process."
        )
    samples.prepare(make=world.size == 1)


def rate(stage: Stage, step: int, steps: int) -> float:
    """The learning rate of optimiser step `step`, from 0: linear warm-up, then constant (the paper's) or a cosine to a
    fiftieth."""
    value = stage.lr * min(1.0, (step + 1) / max(1, stage.warmup))
    if stage.schedule == "cosine":
        done = max(0.0, (step - stage.warmup) / max(1, steps - stage.warmup))
        value *= 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done))
    return value


class StageRun:
    """One stage. `before`: the weights file of the stage before."""

    def __init__(
        self,
        config: Config,
        stage: Stage,
        samples: Samples,
        held_out: HeldOutItems | None,
        before: Path | None,
        world: World,
    ):
        self.config, self.stage, self.samples = config, stage, samples
        self.held_out, self.before, self.world = held_out, before, world
        self.folder = config.work / stage.name
        self.steps = samples.steps
        # With what the stage before came to, so that one that was done again is not followed by what was made from the
        # old.
        done = before.with_name(DONE) if before else None
        earlier = done.read_text() if done and done.exists() else ""
        self.print = fingerprint(
            stage, samples.sizes, config.seed, config.model.settings, config.model.open_gates, earlier
        )
        micro = stage.batch // stage.micro_batch
        if micro % world.size:
            raise BadRequest(
                f"The stage {stage.name} has {micro} micro-batches a step, which {world.size} processes cannot "
                "share evenly."
            )
        self.mine = range(world.rank, micro, world.size)

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
        built = network.build(self.config, self.stage, self.before)
        checkpoint = state.newest(self.folder / "state")
        start = 0
        if checkpoint:
            start = state.facts_of(checkpoint, self.print)["step"]
            state.load_parameters(checkpoint, built.net)
        net = shard(built.net, self.world).train()
        optimiser = torch.optim.AdamW(groups(net, self.stage), lr=self.stage.lr)
        if checkpoint:
            state.load_optimiser(checkpoint, net, optimiser)
        log = Log(self.folder, start) if self.world.first else None
        if self.world.first:
            count = sum(p.numel() for p in state.trained(net).values())
            print(
                f"{self.stage.name}: {count / 1e6:.2f} M trained parameters, steps {start} to {self.steps}, "
                f"{self.samples.blend.start(1)} samples in the first epoch",
                flush=True,
            )
        self._loop(net, optimiser, built.tokenizer, start, log)
        del net, optimiser, built
        if self.world.first:
            self.finish()
        self.world.wait()

    def _loop(self, net, optimiser, tokenizer, start: int, log: Log | None) -> None:
        stage, world = self.stage, self.world
        seen: list[tuple[float, float]] = []
        begun = time.time()
        with ThreadPoolExecutor(1) as ahead:  # reads and tokenises the next step's samples meanwhile
            fetch = functools.partial(
                ahead.submit, self._micro_batches, tokenizer, net.model.config.max_windows_per_audio
            )
            coming = fetch(start)
            for step in range(start, self.steps):
                batches = coming.result()
                if step + 1 < self.steps:
                    coming = fetch(step + 1)
                for group in optimiser.param_groups:
                    group["lr"] = rate(stage, step, self.steps)
                seen.append(self._step(net, optimiser, step, batches))
                done = step + 1
                watched = self.held_out is not None and stage.held_out_every and done % stage.held_out_every == 0
                kept = done % stage.checkpoint_every == 0 or done == self.steps
                if done % stage.log_every == 0 or done == self.steps:
                    loss, norm = (float(np.mean(column)) for column in zip(*seen))
                    row = {
                        "step": done,
                        "epoch": self.samples.blend.epoch_of(done * stage.batch - 1),
                        "samples": done * stage.batch,
                        "loss": loss,
                        "gradient": norm,
                        "lr": rate(stage, step, self.steps),
                        "gates": gates(net),
                    }
                    if watched:
                        row |= self.held_out(net, tokenizer, world, self._precision)
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

    def _micro_batches(self, tokenizer, slots: int, step: int) -> list[tuple[int, dict[str, Tensor]]]:
        """This process's micro-batches of a step, with their numbers. Which samples they hold does not depend on the
        number of processes."""
        stage, out = self.stage, []
        for k in self.mine:
            first = step * stage.batch + k * stage.micro_batch
            chosen = [self.samples[first + i] for i in range(stage.micro_batch)]
            out.append(
                (k, collate(chosen, self.samples.windows, tokenizer, slots, stage.pad_audios_to, stage.max_tokens))
            )
        return out

    def _step(self, net, optimiser, step: int, batches: list[tuple[int, dict[str, Tensor]]]) -> tuple[float, float]:
        """One optimiser step over all processes: (mean loss per answer token, gradient norm before clipping)."""
        world, stage = self.world, self.stage
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
        norm = torch.nn.utils.clip_grad_norm_([p for p in net.parameters() if p.requires_grad], stage.clip)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return world.sum(total)[0] / tokens, float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)

    def _precision(self):
        if self.stage.precision == "bf16":
            return torch.autocast(self.world.device.type, torch.bfloat16)
        return contextlib.nullcontext()

    def finish(self) -> None:
        """Writes what the next stage begins with, `weights.safetensors`, and after the last stage a model to use:
        mini's files where only what hears was trained, else a folder for `from_pretrained`."""
        from safetensors.torch import save_file

        plain = replace(self.stage, precision="fp32", gradient_checkpointing=False)  # nothing that is kept is rounded
        built = network.build(self.config, plain, self.before)
        state.load_parameters(state.newest(self.folder / "state"), built.net)
        model = built.model
        if built.net.rows is not None:
            built.net.rows.write_back(model)
        names = set(state.trained(built.net)) | built.inherited
        merged = network.merge_lora(model) if self.stage.train == "lora" else set()
        names = {name.removeprefix("model.") for name in names if ".lora_" not in name} | merged
        partial = self.folder / (network.WEIGHTS + ".partial")
        save_file(network.weights_of(model, names), partial)
        os.replace(partial, self.folder / network.WEIGHTS)
        if self.stage is self.config.stages[-1]:
            heard_only = all(
                AudioFlamingo.is_audio_parameter(n) for n in names if not n.startswith(("rows.", network.ROWS))
            )
            if self.config.model.language_model == "mini" and heard_only:
                mini.save_mini(model, self.folder / "mini")
            else:
                model.save_pretrained(self.folder / "model")
                built.tokenizer.save_pretrained(self.folder / "model")
        (self.folder / DONE).write_text(json.dumps({"step": self.steps, "fingerprint": self.print}))


def groups(net, stage: Stage) -> list[dict]:
    """Weight decay on matrices alone."""
    parameters = list(state.trained(net).values())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": stage.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
