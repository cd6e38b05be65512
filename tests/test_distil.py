"""The student's training batches."""

import numpy as np

from afcore.training.distil import Batches


def test_a_round_takes_each_cut_once_and_batches_of_one_length():
    pooled = np.repeat([32_000, 64_000, 160_000], [40, 24, 16])
    draw = Batches(pooled, 8, np.random.default_rng(0), by_length=True)
    batches = [draw() for _ in range(len(pooled) // 8)]
    assert all(len(set(pooled[rows])) == 1 for rows in batches)
    assert sorted(np.concatenate(batches)) == list(range(len(pooled)))
    assert sorted(np.concatenate([draw() for _ in batches])) == list(range(len(pooled))), "and the next round again"


def test_lengths_are_mixed_where_they_may_be():
    pooled = np.repeat([32_000, 64_000], 64)
    draw = Batches(pooled, 16, np.random.default_rng(0))
    assert any(len(set(pooled[draw()])) > 1 for _ in range(8))
