"""Clips to be named among options: what training watches, calibration chooses by and evaluation asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from afcore.clap import Clap
from afcore.corpus.clips import ClipSet
from afcore.engine.results import Heard
from afcore.retrieval.nearest import Shot

PER_GROUP = 3  # takes of one source that count at most
PER_LABEL = (
    8  # clips of one label that count at most: music and speech are half of all, and saying "music" must not pay
)


@dataclass(frozen=True)
class NamingItem:
    """A clip (its number in the `ClipSet`) to be named among `options`, its label one of them."""

    clip: int
    label: str
    options: tuple[str, ...]
    package: str
    group: str


def heard_clip(clips: ClipSet, i: int, clap: Clap) -> Heard:
    """Clip i as the engine would have heard it, from cached features."""
    features = clips.tensor(i)
    return Heard.of_features(f"clip {i}", features, np.asarray(clap.audio_from_features(features), np.float32))


def make_items(clips: ClipSet, split: str, labels: set[str], options: int = 10, seed: int = 0) -> list[NamingItem]:
    """Clips of `split` whose label is in `labels`, at most PER_GROUP of a source and PER_LABEL of a label; half of the
    distractors share the label's category where it has as many. The same `seed` gives the same options."""
    rng = np.random.default_rng(seed)
    fine = {clips[i].label: clips[i].extra.get("fine") for i in range(len(clips)) if clips[i].label in labels}
    every, items = sorted(labels), []
    taken: dict[str, int] = {}
    of_label: dict[str, int] = {}
    for i in rng.permutation(len(clips)).tolist():
        info = clips[i]
        if info.split != split or info.label not in labels:
            continue
        taken[info.group] = taken.get(info.group, 0) + 1
        if taken[info.group] > PER_GROUP or of_label.get(info.label, 0) >= PER_LABEL:
            continue
        of_label[info.label] = of_label.get(info.label, 0) + 1
        near = [n for n in rng.permutation(every) if n != info.label and fine[n] == fine[info.label]][
            : (options - 1) // 2
        ]
        far = [n for n in rng.permutation(every) if n != info.label and n not in near]
        chosen = [str(n) for n in rng.permutation([*near, *far[: options - 1 - len(near)], info.label])]
        items.append(NamingItem(i, info.label, tuple(chosen), info.package, info.group))
    return items


def renamed(shots: Sequence[Shot], names: dict[str, str]) -> list[Shot]:
    """The shots with other labels; those that `names` lacks stay."""
    return [replace(s, example=replace(s.example, label=names.get(s.example.label, s.example.label))) for s in shots]
