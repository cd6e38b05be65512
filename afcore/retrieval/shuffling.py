"""Shots whose answers have changed places: the control that shows whether a model reads its examples."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from afcore.retrieval.nearest import Shot


def shuffled(shots: Sequence[Shot], seed: int = 0) -> list[Shot]:
    """The same sounds in the same order, with labels and captions permuted so that as few as possible keep their label.

    None keeps it unless one label stands on more than half of the shots; the same ``seed`` gives the same permutation.
    """
    order = derangement([shot.example.label for shot in shots], seed)
    return [
        replace(shot, example=replace(shot.example, label=other.example.label, caption=other.example.caption))
        for shot, other in zip(shots, (shots[i] for i in order), strict=True)
    ]


def derangement(labels: Sequence[str], seed: int = 0) -> list[int]:
    """For each place the place whose label it gets: a permutation that moves as many labels as can be moved.

    With places grouped by label, a rotation by the size of the largest group takes every place out of its own group
    where that is possible, and otherwise leaves just the excess.
    """
    rng = random.Random(seed)
    groups: dict[str, list[int]] = {}
    for place, label in enumerate(labels):
        groups.setdefault(label, []).append(place)
    mixed = list(groups.values())
    rng.shuffle(mixed)
    for group in mixed:
        rng.shuffle(group)
    mixed.sort(key=len, reverse=True)  # stable, so groups of one size stay mixed
    places = [place for group in mixed for place in group]
    step = len(mixed[0]) if mixed else 0
    result = [0] * len(labels)
    for i, place in enumerate(places):
        result[place] = places[(i + step) % len(places)]
    return result
