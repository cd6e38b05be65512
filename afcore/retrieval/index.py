"""Which vectors lie nearest to one: exactly for some ten thousand, and by an approximate index above.

Above the limit FAISS proposes and the vectors themselves decide: the index (the most telling directions, cells by
k-means, 4-bit product codes: Jégou et al., 2011, in the form of André et al., 2017, that scans in registers) gives a
thousand candidates, which are then ordered by their exact similarity. What it costs is 40 bytes a vector, beside the
vectors. It is built once for its vectors and kept in the data folder.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from afcore import paths
from afcore.hashing import sha256_of

EXACT_UP_TO = 50_000
"""Vectors that are searched one by one: some 10 ms for 50,000."""
KEPT = 8  # indices in the data folder
DIRECTIONS = 128  # numbers of a vector that the codes tell of: the bank's 1024 vary along some 45
CANDIDATES = 1_000  # at least so many are compared exactly
PROBED = 64  # cells that are looked into for `CANDIDATES`
TRAINED_ON = 100_000  # vectors, drawn by chance
AT_ONCE = 50_000  # vectors added in one call, which bounds the memory


class NearestVectors:
    """The vectors nearest to a query, over unit vectors (N, d) float32; the order by distance is that by cosine.

    ``exact_up_to``: with more vectors the index is approximate; a search may then miss some of the nearest. It is read
    from ``folder`` where it was built before, and kept there (None: in the data folder).
    """

    def __init__(self, vectors: np.ndarray, exact_up_to: int = EXACT_UP_TO, folder: Path | None = None):
        self.vectors = np.ascontiguousarray(vectors, np.float32)
        self.exact = len(self.vectors) <= exact_up_to
        self._index: Any = None
        if not self.exact:
            self._index = _kept(self.vectors, folder or paths.DATA / "indices")
        elif len(self.vectors):
            self._index = faiss.IndexFlatL2(self.vectors.shape[1])
            self._index.add(self.vectors)

    def search(self, vector: np.ndarray, wanted: int) -> tuple[np.ndarray, np.ndarray]:
        """(rows, cosines) of the ``wanted`` vectors nearest to ``vector`` (d,) of length 1, nearest first; all of them,
        exactly, where as many as there are or more are wanted."""
        query = np.ascontiguousarray(vector, np.float32)
        wanted = min(wanted, len(self.vectors))
        if self._index is None:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        if self.exact:
            distances, found = self._index.search(query[None], wanted)
            return found[0], 1.0 - distances[0] / 2.0
        if 4 * wanted >= len(self.vectors):
            cosines = self.vectors @ query
            rows = np.arange(len(cosines))
        else:
            more = max(1, math.ceil(4 * wanted / CANDIDATES))
            how, params = faiss.SearchParametersIVF(), faiss.SearchParametersPreTransform()
            how.nprobe, params.index_params = PROBED * more, how
            _, found = self._index.search(query[None], CANDIDATES * more, params=params)
            rows = found[0][found[0] >= 0]
            cosines = self.vectors[rows] @ query
        order = np.argsort(-cosines, kind="stable")[:wanted]
        return rows[order], cosines[order]


def _kept(vectors: np.ndarray, folder: Path) -> Any:
    """The approximate index of ``vectors``, from ``folder`` where it lies, else built and put there."""
    digest = sha256_of(_recipe(vectors), vectors.data.cast("B"))[:32]
    file = folder / f"{digest}.faiss"
    try:
        index = faiss.read_index(str(file))
    except RuntimeError:  # absent, or cut short
        index = _built(vectors)
        folder.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(f".{os.getpid()}.partial")
        faiss.write_index(index, str(partial))
        os.replace(partial, file)
        for old in sorted(folder.glob("*.faiss"), key=lambda one: one.stat().st_mtime)[:-KEPT]:
            old.unlink(missing_ok=True)
    return index


def _recipe(vectors: np.ndarray) -> str:
    """What FAISS's `index_factory` builds for them."""
    count, width = vectors.shape
    directions = min(DIRECTIONS, width // 2 * 2)
    # Cells of some hundred vectors each, and 40 to train each on.
    cells = max(1, min(round(4 * math.sqrt(count)), min(count, TRAINED_ON) // 40))
    return f"PCA{directions},IVF{cells},PQ{directions // 2}x4fs"


def _built(vectors: np.ndarray) -> Any:
    index = faiss.index_factory(vectors.shape[1], _recipe(vectors), faiss.METRIC_L2)
    some = np.random.default_rng(0).choice(len(vectors), min(len(vectors), TRAINED_ON), replace=False)
    index.train(vectors[np.sort(some)])
    for start in range(0, len(vectors), AT_ONCE):
        index.add(vectors[start : start + AT_ONCE])
    return index
