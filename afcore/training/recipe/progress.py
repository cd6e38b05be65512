"""What a run shows of itself: a line of JSON per so many steps, a page with its curves, and how well held-out sounds are
named."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from afcore.errors import BadRequest
from afcore.training.recipe import manifests, texts
from afcore.training.recipe.batches import collate
from afcore.training.recipe.config import Config, Stage
from afcore.training.recipe.network import AnswerLoss, plain_name
from afcore.training.recipe.parallel import World, whole
from afcore.training.recipe.texts import Sample
from afcore.training.recipe.windows import Windows

GATE = re.compile(r"(\d+)\.gated_cross_attn_layer\.(attn|ff)_gate$")


class Log:
    """`log.jsonl` of a stage. Lines of steps after `step`, which a killed run wrote after its last checkpoint, are taken
    out."""

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

        def line(row: int, key: str, get) -> None:
            points = [(r["step"], get(r)) for r in self.rows if get(r) is not None]
            if points:
                x, y = zip(*points)
                figure.add_trace(
                    go.Scatter(x=x, y=y, name=key, mode="lines" if len(x) > 1 else "markers"), row=row, col=1
                )

        line(1, "training", lambda r: r.get("loss"))
        line(1, "held out", lambda r: r.get("held_out_loss"))
        for kind in ("attn", "ff"):
            for layer in self.rows[-1]["gates"][kind] if self.rows else ():
                line(2, f"{kind} {layer}", lambda r: r["gates"][kind].get(layer))
        line(3, "its sound", lambda r: r.get("held_out"))
        line(3, "another's sound", lambda r: r.get("held_out_other_audio"))
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


class HeldOutItems:
    """Rows that no stage trains on, each answer among others: the one with the highest mean log-probability per token is
    chosen. Beside it the same with another row's sound, which must fall to chance."""

    def __init__(self, config: Config, stage: Stage, windows: Windows):
        data = config.data[config.held_out.data]
        plain = replace(data, augmentations={"as_is": 1.0}, prefix=1.0)
        rows = [row for row in manifests.read(data) if not row.turns]
        labels = texts.labels_of(data, rows)
        if len(labels) < config.held_out.options:
            raise BadRequest(
                f"The held-out dataset {data.name} has {len(labels)} different answers, too few for "
                f"{config.held_out.options} options."
            )
        rng = np.random.default_rng([config.seed, 7])
        rows = [rows[i] for i in rng.permutation(len(rows))[: config.held_out.items]]
        self.config, self.stage, self.windows = config, stage, windows
        self.sounds = [sound for row in rows for sound in row.sounds]
        self.items: list[list[Sample]] = []
        for row in rows:
            others = [label for label in labels if label != row.answer]
            options = [row.answer] + [others[i] for i in rng.permutation(len(others))[: config.held_out.options - 1]]
            self.items.append(
                [
                    texts.sample(replace(row, answer=option), plain, labels, rng, config.model.marks)
                    for option in options
                ]
            )
        other = [self.items[(n + len(rows) // 2) % len(rows)][0].sounds for n in range(len(rows))]
        self.swapped = [[replace(sample, sounds=sounds) for sample in item] for item, sounds in zip(self.items, other)]

    @torch.no_grad()
    def __call__(self, net: AnswerLoss, tokenizer, world: World, precision) -> dict[str, float]:
        """Accuracies and the loss of the right answers. Every process scores every item, as sharded parameters want it."""
        net.eval()
        out = {}
        for name, items in {"held_out": self.items, "held_out_other_audio": self.swapped}.items():
            hits, losses, counts = 0, 0.0, 0.0
            for item in items:
                batch = collate(
                    item,
                    self.windows,
                    tokenizer,
                    net.model.config.max_windows_per_audio,
                    self.stage.pad_audios_to,
                    self.stage.max_tokens,
                )
                with precision():
                    sums, tokens = net({key: value.to(world.device) for key, value in batch.items()})
                hits += int((sums / tokens).argmin()) == 0
                losses, counts = losses + float(sums[0]), counts + float(tokens[0])
            out[name] = round(hits / len(items), 4)
            if name == "held_out":
                out["held_out_loss"] = round(losses / counts, 6)
        net.train()
        return out
