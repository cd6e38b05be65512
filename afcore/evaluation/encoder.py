"""`python -m afcore evaluate encoder --work DIR --teacher DIR`: how like its teacher mini's encoder hears, on
held-out packages and sets.

Of every held-out sound the first window is heard, as the app hears it, by both: the encoder as it ships and the
teacher. What each says of the sounds is kept in DIR/encoder, by weights. The nearest neighbour of a held-out sound is
looked for among the training sounds; it is right when it carries the same label. Labels are the sets' own and those
of `python -m afcore.training labels`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from afcore import paths
from afcore.corpus.decoded import first_window, read_index, splits_of
from afcore.corpus.labels import label_by_id
from afcore.corpus.teacher import compare, folded_teacher
from afcore.encoders.mini import EMBEDDING, MiniEncoder
from afcore.errors import MissingPart
from afcore.hashing import sha256_of_file
from afcore.stats import bootstrap_interval

FOLDERS = ("corpus", "sounds")
PACKAGES = "packages"  # what rows call all Debian and PyPI packages together
MEASURES = {
    "best": "its best tag is the teacher's",
    "three": "the teacher's best tag among its first three",
    "logits": "correlation of logits",
    "cosine": "cosine of embeddings",
    "neighbour": "nearest neighbour right",
    "teacher": "teacher's nearest neighbour right",
}
BARS = {"best": 0.80, "three": 0.95, "logits": 0.97, "cosine": 0.95, "share": 0.97}


class HeldOutSounds:
    """Held-out sounds of a split and, as the bank of neighbours, the labelled training sounds."""

    def __init__(self, work: Path, split: str):
        self.folders = [work / name for name in FOLDERS if (work / name / "audio.i16").exists()]
        if not self.folders:
            raise MissingPart(
                f"There are no decoded sounds in {work}: make them with `python -m afcore.training corpus`."
            )
        rows = [(folder, row) for folder in self.folders for row in read_index(folder)]
        splits = splits_of([row for _, row in rows])
        labels = {name: label for folder in self.folders for name, label in label_by_id(folder).items()}
        self.sounds, self.labels, self.sets, self.held = [], [], [], []
        for (folder, row), where in zip(rows, splits, strict=True):
            label = row.get("label") or labels.get(row["id"])
            if where == split or (where == "train" and label):
                self.sounds.append((folder, row))
                self.labels.append(label)
                self.sets.append(row["package"] if "label" in row else PACKAGES)
                self.held.append(where == split)
        self.audio = {folder: np.memmap(folder / "audio.i16", np.int16, "r") for folder in self.folders}

    def window(self, i: int) -> np.ndarray:
        """(T,) float32 at 32 kHz, 1 to 7 s: the first window of a sound, short ones with silence up to 1 s."""
        folder, row = self.sounds[i]
        return first_window(self.audio[folder], row)

    def features(
        self, hear: Callable[[torch.Tensor], torch.Tensor], kept: Path, progress: Callable[[str], None]
    ) -> np.ndarray:
        """(sounds, 911) of everything here, from `kept` where that has them."""
        ids = np.array([row["id"] for _, row in self.sounds])
        known = (
            np.load(kept) if kept.exists() else {"ids": np.zeros(0, str), "features": np.zeros((0, 911), np.float32)}
        )
        place = {name: n for n, name in enumerate(known["ids"].tolist())}
        features, fresh = known["features"], []
        out = np.zeros((len(ids), 911), np.float32)
        for i, name in enumerate(ids.tolist()):
            if name in place:
                out[i] = features[place[name]]
                continue
            out[i] = hear(torch.from_numpy(self.window(i))[None])[0].numpy()
            fresh.append(i)
            if i % 500 == 0:
                progress(f"{kept.stem}: {i} of {len(ids)}")
        if fresh:
            kept.parent.mkdir(parents=True, exist_ok=True)
            np.savez(
                kept, ids=np.concatenate([known["ids"], ids[fresh]]), features=np.concatenate([features, out[fresh]])
            )
        return out


def neighbour_right(embeddings: np.ndarray, labels: list[str | None], held: np.ndarray) -> np.ndarray:
    """For each held-out sound whether its nearest training sound (by cosine) carries its label; NaN where no training
    sound does."""
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    bank, names = np.flatnonzero(~held), np.array([label or "" for label in labels])
    asked = np.flatnonzero(held)
    nearest = bank[(unit[asked] @ unit[bank].T).argmax(1)]
    known = np.isin(names[asked], list(set(names[bank]) - {""}))
    return np.where(known, (names[nearest] == names[asked]).astype(float), np.nan)


def ears_of(teacher: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    """Samples (n, T) → the teacher's features (n, 911)."""
    mel, net = folded_teacher(teacher)
    return lambda samples: net(mel(samples).contiguous(memory_format=torch.channels_last))


def evaluate(
    work: Path,
    teacher: Path,
    split: str = "validation",
    folder: Path = paths.MINI,
    progress: Callable[[str], None] = lambda _: None,
) -> dict:
    """The table as data: {"split", "weights", "rows": [{"set", "n", measure: {"value", "interval"}, …, "share",
    "labelled"}]}."""
    held_out = HeldOutSounds(work, split)
    encoder = MiniEncoder.load(folder)
    weights = sha256_of_file(folder / "encoder.safetensors")[:8]
    with torch.inference_mode():
        wanted = held_out.features(ears_of(teacher), work / "encoder" / "teacher.npz", progress)
        got = held_out.features(encoder.hear, work / "encoder" / f"{weights}.npz", progress)
    held = np.array(held_out.held)
    found = compare(got[held], wanted[held])
    found["neighbour"] = neighbour_right(got[:, :EMBEDDING], held_out.labels, held)
    found["teacher"] = neighbour_right(wanted[:, :EMBEDDING], held_out.labels, held)
    sets = np.array(held_out.sets)[held]
    groups = [
        row.get("group", row["id"]) for (_, row), mine in zip(held_out.sounds, held_out.held, strict=True) if mine
    ]
    rows = []
    for name in ["all", PACKAGES, *sorted(set(sets) - {PACKAGES})]:
        which = np.flatnonzero((sets == name) | (name == "all"))
        if len(which):
            rows.append(_row(name, {k: v[which] for k, v in found.items()}, [groups[i] for i in which]))
    return {"split": split, "weights": weights, "rows": rows}


def _row(name: str, found: dict[str, np.ndarray], groups: list[str]) -> dict:
    row: dict = {"set": name, "n": len(groups)}
    for measure, values in found.items():
        known = np.flatnonzero(~np.isnan(values))
        if not len(known):
            continue
        row[measure] = {
            "value": float(values[known].mean()),
            "interval": bootstrap_interval(values[known], [groups[i] for i in known], draws=300),
        }
        if measure == "neighbour":
            row["labelled"] = len(known)
    if row.get("teacher", {}).get("value"):
        row["share"] = row["neighbour"]["value"] / row["teacher"]["value"]
    return row


def table(result: dict) -> str:
    """The rows in Markdown, per cent; the bars last."""
    lines = [
        f"{result['split']} split, weights {result['weights']}",
        "",
        "| set | n | same best tag | among its three | correlation of logits | cosine | nearest neighbour (labelled) | "
        "the teacher's | share |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        cells = []
        for measure in MEASURES:
            if measure not in row:
                cells.append("")
                continue
            value, (low, high) = row[measure]["value"], row[measure]["interval"]
            text = f"{100 * value:.1f} ({100 * low:.1f}–{100 * high:.1f})"
            cells.append(f"{text} ({row['labelled']})" if measure == "neighbour" else text)
        cells.append(f"{100 * row['share']:.1f}" if "share" in row else "")
        lines.append(f"| {row['set']} | {row['n']} | " + " | ".join(cells) + " |")
    bars = [f"{100 * BARS[m]:.0f}" for m in ("best", "three", "logits", "cosine")]
    return "\n".join([*lines, "| bar | | " + " | ".join(bars) + f" | | | {100 * BARS['share']:.0f} |"])


def run(options: argparse.Namespace) -> None:
    """The command."""
    if not options.teacher:
        raise MissingPart("The encoder is compared with its teacher: say where that is with --teacher.")
    result = evaluate(
        options.work, options.teacher, options.split, progress=lambda line: print(line, file=sys.stderr, flush=True)
    )
    print(json.dumps(result, indent=1) if options.json else table(result))
