"""Which examples become shots, on a bank of made-up unit vectors."""

from types import SimpleNamespace

import numpy as np
import pytest

from afcore.errors import BadRequest
from afcore.retrieval.nearest import Retriever, Shot, prompt_order


class FakeBank:
    """Vectors on a circle at the given angles (degrees); the query lies at 0."""

    def __init__(self, angles, groups=None, labels=None):
        self._examples = [
            SimpleNamespace(
                id=10 + i,
                sha256=f"sha{i}",
                label=(labels or [f"label{i}"] * len(angles))[i],
                group_key=(groups or [f"group{n}" for n in range(len(angles))])[i],
            )
            for i in range(len(angles))
        ]
        radians = np.deg2rad(np.asarray(angles, dtype=np.float64))
        self._vectors = np.stack([np.cos(radians), np.sin(radians)], 1).astype(np.float32).reshape(-1, 2)

    def examples(self):
        return list(reversed(self._examples))  # not in the matrix's order

    def clap_matrix(self, name):
        return [e.id for e in self._examples], self._vectors


QUERY = np.array([1.0, 0.0], dtype=np.float32)


def ids(shots):
    return [shot.example.id for shot in shots]


def test_nearest_are_exact_and_report_cosine():
    rng = np.random.default_rng(0)
    angles = rng.uniform(20, 340, 200)
    retriever = Retriever(FakeBank(angles), "made up")
    shots = retriever.nearest(QUERY, 5, exclude_near_duplicates=False)
    expected = np.argsort(-np.cos(np.deg2rad(angles)))[:5]
    assert ids(shots) == [10 + int(i) for i in expected]
    assert [s.similarity for s in shots] == pytest.approx(np.cos(np.deg2rad(angles[expected])), abs=1e-5)


def test_own_file_and_copies_are_left_out():
    retriever = Retriever(FakeBank([30, 1, 31, 60, 90]), "made up")
    assert ids(retriever.nearest(QUERY, 5)) == [10, 13, 14]  # 1° copies the query, 31° copies 30°
    assert ids(retriever.nearest(QUERY, 5, exclude_near_duplicates=False)) == [11, 10, 12, 13, 14]
    assert ids(retriever.nearest(QUERY, 5, exclude_sha="sha0", exclude_near_duplicates=False)) == [11, 12, 13, 14]
    assert ids(retriever.nearest(QUERY, 5, exclude_ids={13})) == [10, 14]
    assert ids(retriever.nearest(QUERY, 5, exclude_groups={"group4"})) == [10, 13]


def test_one_take_stands_for_its_source_until_sources_run_out():
    bank = FakeBank([20, 30, 40, 70], groups=["hit", "hit", "hit", "bell"])
    retriever = Retriever(bank, "made up")
    assert ids(retriever.nearest(QUERY, 2)) == [10, 13]
    assert ids(retriever.nearest(QUERY, 3)) == [10, 11, 13]
    assert ids(retriever.nearest(QUERY, 9)) == [10, 11, 12, 13]


def test_labels_narrow_the_choice():
    retriever = Retriever(FakeBank([20, 40, 60], labels=["dog", "cat", "dog"]), "made up")
    assert ids(retriever.nearest(QUERY, 3, labels={"dog"})) == [10, 12]


def test_many_left_out_still_fills_k():
    angles = [20] * 300 + [50, 80]
    retriever = Retriever(FakeBank(angles), "made up")
    assert [round(s.similarity, 3) for s in retriever.nearest(QUERY, 3)] == [0.940, 0.643, 0.174]


def test_search_shows_copies_and_an_empty_bank_gives_nothing():
    assert ids(Retriever(FakeBank([0.5, 1, 50]), "made up").search(QUERY, 2)) == [10, 11]
    empty = Retriever(FakeBank([]), "made up")
    assert empty.search(QUERY, 3) == [] and empty.nearest(QUERY, 3) == []


def test_a_chosen_shot_is_pinned_and_must_exist():
    retriever = Retriever(FakeBank([0, 60]), "made up")
    shot = retriever.shot(11, QUERY)
    assert shot.pinned and shot.similarity == pytest.approx(0.5, abs=1e-5) and shot.bank is retriever.bank
    with pytest.raises(BadRequest, match="no example 99"):
        retriever.shot(99)


def test_prompt_order_puts_the_nearest_last():
    shots = [Shot(SimpleNamespace(id=i), s) for i, s in enumerate([0.9, 0.1, 0.5])]
    assert ids(prompt_order(shots)) == [1, 2, 0]
