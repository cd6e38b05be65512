"""Statistics that Teach, the evaluation and the training share: intervals of shares, and means over labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import binomtest


def bootstrap_interval(
    values: np.ndarray, groups: Sequence[str], statistic: Callable[[np.ndarray], float] = np.mean, draws: int = 1000
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


def macro_mean(correct: np.ndarray, labels: Sequence[str]) -> float:
    """Mean over labels of the accuracy within each."""
    names = np.array(labels)
    return float(np.mean([correct[names == n].mean() for n in set(labels)]))


def macro_over(correct: Sequence[float] | np.ndarray, labels: Sequence[str]) -> Callable[[np.ndarray], float]:
    """Function of row numbers → mean over their labels of the mean within each: `macro_mean`, fast enough to
    redraw."""
    values, (_, codes) = np.asarray(correct, float), np.unique(np.asarray(labels), return_inverse=True)

    def over(rows: np.ndarray) -> float:
        counts = np.bincount(codes[rows])
        return float((np.bincount(codes[rows], values[rows])[counts > 0] / counts[counts > 0]).mean())

    return over
