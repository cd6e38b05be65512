"""Step `heard`: the first window of every training and validation sound of packages and sets, described, as mini's
encoder hears it. Mini CLAP is fitted on these clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from afcore.corpus import describe
from afcore.corpus.clips import ClipInfo, write_clips
from afcore.corpus.decoded import Sounds, first_window, read_index, splits_of
from afcore.corpus.spoken import classes_of
from afcore.encoders.mini import EMBEDDING, MiniEncoder
from afcore.knowledge.truth import tags_of, truth_of

UNNAMED = {"emogator"}
"""Sets whose labels say what was felt, not what is heard."""


def infos_of_sets(rows: list[dict], logits: np.ndarray, names: list[str]) -> list[ClipInfo]:
    """What is known of each sound of the sets: its label, and what the teacher's `logits` (sounds, 527) say. `names`:
    of the 527 AudioSet classes."""
    infos = []
    for i, row in enumerate(rows):
        sure, maybe, category = describe.heard_by_teacher(logits[i], names)
        label = None if row["package"] in UNNAMED else row["label"]
        events = describe.merge(label, sure)
        group = f"{row['package']}/{row['path']}"
        caption, category = " and ".join(events), category or "something else"
        extra = {"id": row["id"], "fine": None}
        infos.append(ClipInfo(label, caption, category, events, maybe, row["package"], group, "", i, extra))
    return infos


def _logits(folder: Path) -> np.ndarray:
    """What the teacher says of each sound (sounds, 527)."""
    return np.load(folder / "teacher.npy")[:, EMBEDDING:].astype(np.float32)


def describe_first_windows(corpus: Path, sets: Path | None, encoder_folder: Path, out: Path) -> None:
    """Writes the `ClipSet` `out`: a clip per sound, in the order of the indices, test sounds and those without any
    event as dropped, their features zero. `extra["heard"]`: the table's classes that are surely heard."""
    encoder = MiniEncoder.load(encoder_folder)
    rows = [(corpus, row) for row in read_index(corpus)]
    said = [_logits(corpus)]
    infos = describe.pieces(corpus, Sounds(corpus), encoder.labels, np.random.default_rng(0))
    if sets:
        added = read_index(sets)
        said.append(_logits(sets))
        infos += infos_of_sets(added, said[-1], encoder.labels)
        rows += [(sets, row) for row in added]
    for info, row in zip(infos, np.concatenate(said), strict=True):
        truth = truth_of(tags_of(row), classes_of(info.label) if info.label else ())
        info.extra["heard"] = [event.name for event in truth.events] if truth.sure else []
    audio = {folder: np.memmap(folder / "audio.i16", np.int16, "r") for folder, _ in rows}
    features = []
    for (folder, row), info, split in zip(rows, infos, splits_of([row for _, row in rows]), strict=True):
        info.split = split if split in ("train", "validation") and (info.events or info.label) else "dropped"
        if info.split == "dropped":
            features.append(np.zeros((1, encoder.width), np.float16))
            continue
        with torch.inference_mode():
            features.append(encoder.embed(first_window(audio[folder], row)).half().numpy())
    write_clips(out, infos, features)
