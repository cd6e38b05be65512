"""What the encoder hears while it is fitted: sounds of packages and sets, what the teacher says to each, and how
often each is drawn.

A folder of sounds holds `audio.i16` (int16 at 32 kHz, one sound after the other) and `index.jsonl` (see
`afcore.corpus.extract`).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from afcore.corpus.decoded import first_window, read_index, splits_of
from afcore.corpus.splits import STRICT
from afcore.corpus.tags import sampling_weights
from afcore.corpus.teacher import folded_teacher
from afcore.encoders.mini import EMBEDDING
from afcore.hashing import sha256_of


def save_items(folders: list[Path], out: Path, everyday: float = 2.0) -> dict[str, int]:
    """Writes the list of training sounds with their sampling weights: (count of the best tag)^-0.6, `everyday` times
    as often for the sets as for the packages. The step `tags` has written what the teacher says. Returns how many
    sounds are in each split."""
    rows: list[dict] = []
    which: list[int] = []
    logits = []
    for k, folder in enumerate(folders):
        found = read_index(folder)
        rows, which = rows + found, which + [k] * len(found)
        logits.append(np.load(folder / "teacher.npy")[:, EMBEDDING:].astype(np.float32))
    splits = np.array(splits_of(rows))
    train = np.flatnonzero(splits == "train")
    weight = sampling_weights(np.concatenate(logits)[train])
    weight = weight * np.array([everyday if "label" in rows[i] else 1.0 for i in train])
    # Clicks of a tenth of a second are many.
    weight = weight * np.array([min(1.0, 0.3 + rows[i]["active"]) for i in train])
    np.savez(
        out,
        folders=json.dumps([str(f) for f in folders]),
        folder=np.array(which)[train],
        offset=np.array([rows[i]["offset"] for i in train]),
        length=np.array([rows[i]["length"] for i in train]),
        weight=weight,
    )
    return {s: int((splits == s).sum()) for s in [*STRICT, "dropped"]}


def first_windows(folders: list[Path], split: str, count: int) -> list[np.ndarray]:
    """The first window of `count` sounds of each folder, chosen by the hash of their names, as the app hears them:
    (T,) float32 at 32 kHz, 1 to 7 s, short ones with silence up to 1 s."""
    rows = [(k, r) for k, folder in enumerate(folders) for r in read_index(folder)]
    splits, out = splits_of([r for _, r in rows]), []
    for k, folder in enumerate(folders):
        audio = np.memmap(folder / "audio.i16", np.int16, "r")
        mine = [r for (place, r), s in zip(rows, splits, strict=True) if place == k and s == split]
        for r in sorted(mine, key=lambda r: sha256_of(r["id"]))[:count]:
            out.append(first_window(audio, r))
    return out


def save_held(folders: list[Path], teacher: Path, out: Path, count: int = 300) -> int:
    """Writes what validation asks about while training: `first_windows`, and the teacher's features of each. Returns
    how many."""
    mel, net = folded_teacher(teacher)
    kept = first_windows(folders, "validation", count)
    with torch.inference_mode():
        taught = [
            net(mel(torch.from_numpy(x)[None]).contiguous(memory_format=torch.channels_last))[0].numpy() for x in kept
        ]
    lengths = np.array([len(x) for x in kept])
    np.savez(
        out,
        audio=np.concatenate([(x * 32767).round().astype(np.int16) for x in kept]),
        start=np.cumsum(lengths) - lengths,
        length=lengths,
        teacher=np.stack(taught),
    )
    return len(kept)
