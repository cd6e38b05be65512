"""Choosing the shots: the nearest examples of a bank by CLAP embedding.

Source: Audio Flamingo (arXiv 2402.01831) section 3.3: the k nearest training samples by LAION-CLAP audio embedding over
an exact L2 FAISS index, the query's own file and repeats of one file left out.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from afcore.errors import BadRequest

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from afcore.retrieval import ExampleBank
    from afcore.retrieval.example import Example

TOGETHER = 8  # sounds of a bank that are embedded at once
SAME_SOUND = 0.995
"""Cosine similarity above which two sounds count as copies of each other."""


@dataclass(frozen=True)
class Shot:
    """An example in the prompt."""

    example: Example
    similarity: float
    """Cosine of its CLAP embedding with the query's, -1 to 1."""
    pinned: bool = False
    """The person chose it, so a new search leaves it in place."""
    bank: ExampleBank | None = field(default=None, repr=False, compare=False)
    """Where its audio and features are."""


class Retriever:
    """Nearest neighbours over a bank's CLAP embeddings of one name: exact ones for up to ``exact_up_to`` examples,
    above by an approximate index (`afcore.retrieval.index`).

    Over unit vectors the order by L2 distance is the order by cosine, cosine = 1 - distance² / 2.
    """

    def __init__(self, bank: ExampleBank, clap_name: str, exact_up_to: int | None = None):
        from afcore.retrieval.index import EXACT_UP_TO, NearestVectors

        self.bank, self.clap_name = bank, clap_name
        ids, vectors = bank.clap_matrix(clap_name)
        self._index = NearestVectors(vectors, EXACT_UP_TO if exact_up_to is None else exact_up_to)
        self.vectors = self._index.vectors
        examples = {example.id: example for example in bank.examples()}
        self.examples: list[Example] = [examples[i] for i in ids]
        self._row = {example.id: row for row, example in enumerate(self.examples)}

    def __len__(self) -> int:
        return len(self.examples)

    def vector(self, example_id: int) -> np.ndarray:
        """(d,) float32 CLAP embedding of an example. Raises BadRequest where the bank has no such example."""
        if example_id not in self._row:
            raise BadRequest(f"The bank has no example {example_id}.")
        found: np.ndarray = self.vectors[self._row[example_id]]
        return found

    def nearest(
        self,
        vector: np.ndarray,
        k: int,
        exclude_sha: str | Collection[str] = (),
        exclude_near_duplicates: bool = True,
        exclude_ids: Collection[int] = (),
        exclude_groups: Collection[str] = (),
        labels: Collection[str] | None = None,
    ) -> list[Shot]:
        """The ``k`` nearest examples of ``vector`` (d,), nearest first; fewer where the bank has no more.

        Left out: files with a hash in ``exclude_sha`` (the query's own), with ``exclude_near_duplicates`` also whatever
        is a copy of the query or of an example already taken by `SAME_SOUND`, other takes of the source that either
        belongs to, ``exclude_ids``, ``exclude_groups`` and, where ``labels`` is given, examples with another label. Of
        takes from one source (the same ``group_key``, such as ``hit1`` ... ``hit9``) the nearest stands for all, and
        the others only fill up where sources run out.
        """
        hashes = {exclude_sha} if isinstance(exclude_sha, str) else set(exclude_sha)
        # A sound of the bank, by its hash or its likeness, is of the source that the bank names.
        own = {self.examples[row].group_key for row in self._of_query(vector, hashes, exclude_near_duplicates)}
        exclude_groups = {*exclude_groups, *(own - {""})}
        taken: list[tuple[int, float]] = []
        repeats: list[tuple[int, float]] = []
        sources: set[str] = set()
        for row, similarity in self._ranked(vector):
            if len(taken) == k:
                break
            example = self.examples[row]
            if example.sha256 in hashes or example.id in exclude_ids or example.group_key in exclude_groups:
                continue
            if labels is not None and example.label not in labels:
                continue
            if exclude_near_duplicates and (similarity > SAME_SOUND or self._copies(row, taken)):
                continue
            if example.group_key and example.group_key in sources:
                repeats.append((row, similarity))
                continue
            sources.add(example.group_key)
            taken.append((row, similarity))
        for row, similarity in repeats:
            if len(taken) == k:
                break
            if not (exclude_near_duplicates and self._copies(row, taken)):
                taken.append((row, similarity))
        taken.sort(key=lambda pair: -pair[1])
        return [self._shot(row, similarity) for row, similarity in taken]

    def _of_query(self, vector: np.ndarray, hashes: Collection[str], by_likeness: bool) -> list[int]:
        """Rows of the examples that are the query itself."""
        if not len(self):
            return []
        alike = self.vectors @ np.asarray(vector, dtype=np.float32).reshape(-1) > SAME_SOUND
        return [
            row
            for row, example in enumerate(self.examples)
            if example.sha256 in hashes or (by_likeness and bool(alike[row]))
        ]

    def search(self, vector: np.ndarray, k: int) -> list[Shot]:
        """The ``k`` examples nearest to a sentence's ``vector`` (d,), nearest first; copies are shown too."""
        ranked = self._ranked(vector)
        return [self._shot(row, similarity) for row, similarity in itertools.islice(ranked, k)]

    def shot(self, example_id: int, vector: np.ndarray | None = None, pinned: bool = True) -> Shot:
        """The example that a person chose, with its similarity to ``vector`` (d,), or 0 without one.

        Raises BadRequest where the bank has no such example.
        """
        own = self.vector(example_id)
        similarity = 0.0 if vector is None else float(own @ np.asarray(vector, dtype=np.float32))
        return self._shot(self._row[example_id], similarity, pinned)

    def _ranked(self, vector: np.ndarray) -> Iterator[tuple[int, float]]:
        """(row, cosine), nearest first. Asks the index for more only when the first answers were used up."""
        seen: set[int] = set()
        wanted = 64
        while len(seen) < len(self):
            rows, similarities = self._index.search(vector, wanted)
            for row, similarity in zip(rows.tolist(), similarities.tolist(), strict=True):
                if row not in seen:
                    seen.add(row)
                    yield row, similarity
            wanted *= 4

    def _copies(self, row: int, taken: Sequence[tuple[int, float]]) -> bool:
        return any(float(self.vectors[row] @ self.vectors[other]) > SAME_SOUND for other, _ in taken)

    def _shot(self, row: int, similarity: float, pinned: bool = False) -> Shot:
        # Rounding in float32 can put a cosine a hair beyond 1.
        return Shot(self.examples[row], float(np.clip(similarity, -1.0, 1.0)), pinned, self.bank)


def prompt_order(shots: Sequence[Shot]) -> list[Shot]:
    """Nearest last, next to the query: what stands there weighs most in a prompt."""
    return sorted(shots, key=lambda shot: shot.similarity)


class EmbeddedSound(Protocol):
    """What embedding a sound gives."""

    @property
    def features(self) -> Tensor:
        """(n, E) float32, one row per window, on the CPU."""
        ...

    @property
    def vector(self) -> np.ndarray:
        """(d,) float32 unit embedding by the model's own CLAP."""
        ...

    @property
    def query(self) -> np.ndarray:
        """(d,) float32 unit embedding by the CLAP that finds neighbours."""
        ...


class Embedder(Protocol):
    """Who embeds a bank's sounds: an engine."""

    @property
    def features_name(self) -> str:
        """Names its encoder's features in a bank."""
        ...

    @property
    def clap_name(self) -> str:
        """Names in a bank the vectors of the CLAP that finds neighbours."""
        ...

    @property
    def own_clap_name(self) -> str:
        """Names in a bank the vectors of the model's own CLAP, by which it judges labels; mostly the same."""
        ...

    def hear_files(self, files: Sequence[tuple[Path, str | int]]) -> Sequence[EmbeddedSound]:
        """The sounds in several files, each with which of its channels is heard. Raises AudioError where one cannot be
        read."""
        ...


def embed_bank(embedder: Embedder, bank: ExampleBank, progress: Callable[[float], None] | None = None) -> int:
    """Give every sound of ``bank`` that lacks them its window features and CLAP embedding; returns how many lacked
    them.

    ``progress`` hears the share that is done, 0 to 1. Raises AudioError for a sound that cannot be read.
    """
    clap, own, encoder = embedder.clap_name, embedder.own_clap_name, embedder.features_name
    placed = set(bank.clap_matrix(clap)[0])
    if own != clap:
        placed &= set(bank.clap_matrix(own)[0])
    missing = [e for e in bank.examples() if e.id not in placed or bank.features(e.id, encoder) is None]
    for start in range(0, len(missing), TOGETHER):
        some = missing[start : start + TOGETHER]
        files = [(bank.audio_path(example.id), bank.channels_of(example.id)) for example in some]
        for example, heard in zip(some, embedder.hear_files(files), strict=True):
            bank.set_embedding(example.id, encoder, "features", heard.features.numpy())
            bank.set_embedding(example.id, own, "clap", heard.vector)
            if clap != own:
                bank.set_embedding(example.id, clap, "clap", heard.query)
        if progress is not None:
            progress((start + len(some)) / len(missing))
    return len(missing)
