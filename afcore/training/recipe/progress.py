"""What a run shows of itself: a line of JSON per so many steps, a page with its curves, and how well held-out sounds
are named."""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from afcore.model import AudioFlamingo
from afcore.training.recipe.batches import collate
from afcore.training.recipe.config import Config, Stage
from afcore.training.recipe.manifests import Sound
from afcore.training.recipe.network import AnswerLoss, plain_name
from afcore.training.recipe.parallel import World, whole
from afcore.training.recipe.sources import Sources
from afcore.training.recipe.texts import TrainingSample

GATE = re.compile(r"(\d+)\.gated_cross_attn_layer\.(attn|ff)_gate$")


class Log:
    """`log.jsonl` of a stage. Lines of steps after `step`, which a killed run wrote after its last checkpoint, are
    taken out."""

    def __init__(self, folder: Path, step: int):
        self.file, self.rows = folder / "log.jsonl", []
        folder.mkdir(parents=True, exist_ok=True)
        if self.file.exists():
            for line in self.file.read_text().splitlines():
                try:
                    row = json.loads(line)
                except ValueError:  # cut off in the middle of writing
                    break
                if row["step"] <= step:
                    self.rows.append(row)
        partial = self.file.with_name("log.jsonl.partial")
        partial.write_text("".join(json.dumps(row) + "\n" for row in self.rows))
        os.replace(partial, self.file)

    def add(self, row: dict) -> None:
        """Appends a line, and prints its numbers short."""
        self.rows.append(row)
        with self.file.open("a") as out:
            out.write(json.dumps(row) + "\n")
        shown = {key: value for key, value in row.items() if key != "gates"}
        print(
            "  ".join(
                f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in shown.items()
            ),
            flush=True,
        )

    def plot(self, title: str) -> Path:
        """Writes `progress.html`: loss, gates, and held-out accuracy over steps."""
        import plotly.graph_objects as go
        from plotly.subplots import make_subplots

        names = ("loss of the answers' tokens", "tanh of each gate", "held-out accuracy")
        figure = make_subplots(rows=3, cols=1, shared_xaxes=True, vertical_spacing=0.06, subplot_titles=names)

        def line(row: int, key: str, get: Callable[[dict], float | None]) -> None:
            points = [(r["step"], get(r)) for r in self.rows if get(r) is not None]
            if points:
                x, y = zip(*points, strict=True)
                figure.add_trace(
                    go.Scatter(x=x, y=y, name=key, mode="lines" if len(x) > 1 else "markers"), row=row, col=1
                )

        def gate_of(kind: str, layer: str) -> Callable[[dict], float | None]:
            return lambda r: r["gates"][kind].get(layer)

        line(1, "training", lambda r: r.get("loss"))
        line(1, "held out", lambda r: r.get("held_out_loss"))
        line(1, "auxiliary", lambda r: r.get("auxiliary"))
        for kind in ("attn", "ff"):
            for layer in self.rows[-1]["gates"][kind] if self.rows else ():
                line(2, f"{kind} {layer}", gate_of(kind, layer))
        line(3, "its sound", lambda r: r.get("held_out"))
        line(3, "another's sound", lambda r: r.get("held_out_other_audio"))
        line(3, "is there …? (area under the curve)", lambda r: r.get("yes_no"))
        figure.update_layout(title=title, height=950)
        figure.update_xaxes(title_text="optimiser step", row=3, col=1)
        file = self.file.with_name("progress.html")
        partial = file.with_name("progress.html.partial")
        figure.write_html(partial, include_plotlyjs="directory")
        os.replace(partial, file)
        return file


def gates(net: AnswerLoss) -> dict[str, dict[str, float]]:
    """tanh of every gate, by kind and decoder layer. Every process must call it."""
    found: dict[str, dict[str, float]] = {"attn": {}, "ff": {}}
    for name, parameter in net.named_parameters():
        match = GATE.search(plain_name(name))
        if match:
            found[match[2]][match[1]] = round(float(whole(parameter.detach()).tanh()), 5)
    return found


def area(yes: np.ndarray, no: np.ndarray) -> float:
    """Area under the ROC curve of the scores of what is so, (M,), against those of what is not, (N,); 0.5 is chance."""
    return float((yes[:, None] > no[None]).mean())


class HeldOutCheck:
    """How well sounds that no stage trains on are named: of each one's options the one with the highest mean
    log-probability per token is chosen. Beside it the same with another one's sound, which must fall to chance, so that
    a run that learns the text alone is seen early."""

    def __init__(self, config: Config, stage: Stage, sources: Sources):
        assert config.held_out is not None, "asked for where something is held out"
        self.stage, self.source = stage, sources[config.held_out.data]
        choices = self.source.held_out(config.held_out, config.seed)
        self.naming, self.yes_no = choices.naming, choices.yes_no
        own = [samples[0].sounds for samples in self.naming]
        other = [own[(n + len(own) // 2) % len(own)] for n in range(len(own))]
        self.swapped = [
            [replace(sample, sounds=sounds) for sample in samples]
            for samples, sounds in zip(self.naming, other, strict=True)
        ]

    def sounds(self) -> list[Sound]:
        """Those that must be encoded before."""
        asked = {sound for samples in self.naming for sound in samples[0].sounds}
        return [sound for sound in self.source.sounds() if sound in asked]

    @torch.no_grad()
    def __call__(
        self,
        net: AnswerLoss,
        tokenizer: PreTrainedTokenizerBase,
        world: World,
        precision: Callable[[], AbstractContextManager],
    ) -> dict[str, float]:
        """Accuracies, the loss of the right answers, where the source asks for it `yes_no` (area under the curve), and
        `audio_spread`. Every process scores everything, as sharded parameters want it."""
        net.eval()
        score = functools.partial(self._score, net, tokenizer, world, precision)
        out: dict[str, float] = {}
        for name, asked in {"held_out": self.naming, "held_out_other_audio": self.swapped}.items():
            scored = [score(samples) for samples in asked]
            hits = sum(int((sums / tokens).argmin()) == 0 for sums, tokens in scored)
            out[name] = round(hits / len(asked), 4)
            if name == "held_out":
                loss = sum(float(sums[0]) for sums, _ in scored) / sum(float(tokens[0]) for _, tokens in scored)
                out["held_out_loss"] = round(loss, 6)
        if self.yes_no:
            means = [sums / tokens for sums, tokens in map(score, self.yes_no)]
            leaning = torch.stack(means).float().cpu().view(-1, 2, 2)  # mean −log p: own and other, yes and no
            own, other = (leaning[..., 1] - leaning[..., 0]).numpy().T
            out["yes_no"] = round(area(own, other), 4)
        if world.size == 1:  # the audio transformer by itself is not to be had of a sharded model
            out["audio_spread"] = round(self._spread(net.model, world, precision), 4)
        net.train()
        return out

    def _score(
        self,
        net: AnswerLoss,
        tokenizer: PreTrainedTokenizerBase,
        world: World,
        precision: Callable[[], AbstractContextManager],
        samples: list[TrainingSample],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Summed loss and number of answer tokens of each sample, both (samples,)."""
        batch = collate(
            samples,
            [self.source.features(sample, None) for sample in samples],
            tokenizer,
            net.model.config.max_windows_per_audio,
            self.source.silence,
            self.stage.pad_audios_to,
            self.stage.max_tokens,
        )
        with precision():
            return net({key: value.to(world.device) for key, value in batch.items()})

    def _spread(self, model: AudioFlamingo, world: World, precision: Callable[[], AbstractContextManager]) -> float:
        """Standard deviation between sounds of the audio transformer's output for their first window; near 0 the model
        is deaf."""
        first = [self.source.features(samples[0], None)[-1][0] for samples in self.naming]
        features = torch.from_numpy(np.stack(first))[:, None].to(world.device)
        with precision():
            tokens = features if model.front_end is None else model.front_end(features)
            return float(model.audio_transformer(tokens).float().std(0).square().mean().sqrt())
