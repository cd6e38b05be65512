"""Test items: labelled clips of whole packages that no training or tuning stage touched, each with ten options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from afcore.clap import Clap
from afcore.corpus.clips import ClipSet
from afcore.engine.results import Heard

PER_GROUP = 3  # takes of one source that count at most
PER_LABEL = (
    8  # clips of one label that count at most: music and speech are half of all, and saying "music" must not pay
)


@dataclass(frozen=True)
class Item:
    clip: int  # number in the ClipSet
    label: str
    options: tuple[str, ...]
    package: str
    group: str


def heard(clips: ClipSet, i: int, clap: Clap) -> Heard:
    """Clip i as the engine would have heard it, from cached features."""
    features = clips.tensor(i)
    return Heard.of_features(f"clip {i}", features, np.asarray(clap.audio_from_features(features), np.float32))


def make_items(clips: ClipSet, split: str, labels: set[str], options: int = 10, seed: int = 0) -> list[Item]:
    """Clips of `split` whose label is in `labels`, at most PER_GROUP of a source and PER_LABEL of a label; half of the distractors share the label's
    category where it has as many. The same `seed` gives the same options."""
    rng = np.random.default_rng(seed)
    fine = {clips[i].label: clips[i].extra.get("fine") for i in range(len(clips)) if clips[i].label in labels}
    every, taken, items = sorted(labels), {}, []
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
        items.append(Item(i, info.label, tuple(chosen), info.package, info.group))
    return items


def interval(
    values: np.ndarray, groups: list[str], statistic: Callable[[np.ndarray], float] = np.mean, draws: int = 1000
) -> tuple[float, float]:
    """95 % bootstrap interval that redraws sources, not clips: takes of one source rise and fall together."""
    rng = np.random.default_rng(0)
    rows: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        rows.setdefault(group, []).append(row)
    members = list(rows.values())
    means = [
        statistic(values[np.concatenate([members[k] for k in rng.integers(len(members), size=len(members))])])
        for _ in range(draws)
    ]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def wilson(count: int, total: int) -> tuple[float, float]:
    """95 % interval of the share of which `count` of `total` independent trials are a sample (Wilson 1927)."""
    found = binomtest(count, total).proportion_ci(0.95, method="wilson")
    return float(found.low), float(found.high)


def macro(correct: np.ndarray, labels: list[str]) -> float:
    """Mean over labels of the accuracy within each."""
    names = np.array(labels)
    return float(np.mean([correct[names == n].mean() for n in set(labels)]))
