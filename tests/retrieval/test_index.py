"""Nearest vectors, exactly and by the approximate index, on few vectors with the limit lowered."""

import numpy as np
import pytest

from afcore.retrieval import index
from afcore.retrieval.index import NearestVectors

COUNT, WIDTH = 1_500, 32


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def vectors():
    """Unit vectors around forty centres, with noise of the centres' own spread along few directions."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(40, 12)) @ rng.normal(size=(12, WIDTH))
    drawn = centres[rng.integers(40, size=COUNT)] + rng.normal(size=(COUNT, 12)) @ rng.normal(size=(12, WIDTH))
    return unit(drawn).astype(np.float32)


def exactly(vectors, query, wanted):
    return np.argsort(-(vectors @ query))[:wanted]


def test_up_to_the_limit_every_neighbour_is_exact(vectors, tmp_path):
    found = NearestVectors(vectors, exact_up_to=COUNT, folder=tmp_path)
    rows, cosines = found.search(vectors[7], 20)
    assert found.exact and rows.tolist() == exactly(vectors, vectors[7], 20).tolist()
    np.testing.assert_allclose(cosines, vectors[rows] @ vectors[7], atol=1e-5)
    assert not list(tmp_path.iterdir()), "nothing is kept of what is rebuilt in no time"


def test_above_it_nearly_all_are_found_with_their_exact_similarity_in_order(vectors, tmp_path, monkeypatch):
    monkeypatch.setattr(index, "CANDIDATES", 100)
    monkeypatch.setattr(index, "PROBED", 16)
    found = NearestVectors(vectors, exact_up_to=COUNT - 1, folder=tmp_path)
    assert not found.exact
    rng, shared = np.random.default_rng(1), 0
    queries = unit(vectors[rng.integers(COUNT, size=50)] + rng.normal(scale=0.02, size=(50, WIDTH))).astype(np.float32)
    for query in queries:
        rows, cosines = found.search(query, 8)
        np.testing.assert_allclose(cosines, vectors[rows] @ query, atol=1e-6)
        assert (np.diff(cosines) <= 0).all() and len(set(rows.tolist())) == 8
        shared += len(set(rows.tolist()) & set(exactly(vectors, query, 8).tolist()))
    assert shared / (8 * 50) >= 0.98


def test_whoever_wants_them_all_gets_them_all_in_order(vectors, tmp_path):
    found = NearestVectors(vectors, exact_up_to=10, folder=tmp_path)
    rows, _ = found.search(vectors[3], 10 * COUNT)
    assert rows.tolist() == np.argsort(-(vectors @ vectors[3]), kind="stable").tolist()


def test_it_is_built_once_and_again_when_the_vectors_or_the_file_change(vectors, tmp_path, monkeypatch):
    built, build = [], index._built
    monkeypatch.setattr(index, "_built", lambda some: built.append(len(some)) or build(some))
    first = NearestVectors(vectors, 10, tmp_path).search(vectors[0], 8)[0].tolist()
    assert NearestVectors(vectors, 10, tmp_path).search(vectors[0], 8)[0].tolist() == first and built == [COUNT]
    NearestVectors(vectors[1:], 10, tmp_path)
    assert built == [COUNT, COUNT - 1]
    for file in tmp_path.glob("*.faiss"):
        file.write_bytes(file.read_bytes()[:100])
    assert NearestVectors(vectors, 10, tmp_path).search(vectors[0], 8)[0].tolist() == first and len(built) == 3


def test_old_indices_go(vectors, tmp_path, monkeypatch):
    monkeypatch.setattr(index, "KEPT", 2)
    for less in range(3):
        NearestVectors(vectors[less * 500 :], 10, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
