"""Labels that change places."""

import random
from itertools import permutations

import pytest

from afcore.retrieval.shuffling import derangement


def moved(labels, order):
    return sum(labels[place] != labels[source] for place, source in enumerate(order))


@pytest.mark.parametrize("seed", range(20))
def test_as_many_labels_move_as_can(seed):
    rng = random.Random(seed)
    labels = [rng.choice("abcd") for _ in range(rng.randint(1, 6))]
    order = derangement(labels, seed)
    assert sorted(order) == list(range(len(labels)))
    assert moved(labels, order) == max(moved(labels, other) for other in permutations(range(len(labels))))


def test_the_seed_decides():
    labels = list("abcdefgh")
    assert derangement(labels, 3) == derangement(labels, 3)
    assert len({tuple(derangement(labels, seed)) for seed in range(10)}) > 5


def test_nothing_to_shuffle():
    assert derangement([]) == [] and derangement(["a"]) == [0]
