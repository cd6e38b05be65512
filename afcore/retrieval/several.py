"""Several example banks as one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from afcore.audio.channels import AUTO
from afcore.errors import BadRequest
from afcore.hashing import number_of
from afcore.retrieval import ExampleBank
from afcore.retrieval.example import Example

STEP = 10**9
"""Ids of the bank with number n begin at n × this; those of the bank with number 0 stay as they are."""


def number_of_bank(name: str) -> int:
    """A number above 0 that follows from the bank's name, so that its examples keep their ids from day to day."""
    return number_of(name) % 1_000_000 + 1


class SeveralBanks(ExampleBank):
    """The examples of all ``banks``, number -> bank. Embeddings are kept in the bank that a sound is of."""

    def __init__(self, banks: Mapping[int, ExampleBank]):
        self.banks = dict(sorted(banks.items()))

    def _of(self, example_id: int) -> tuple[ExampleBank, int]:
        number, own = divmod(example_id, STEP)
        if number not in self.banks:
            raise BadRequest(f"None of the chosen banks has an example {example_id}.")
        return self.banks[number], own

    def examples(self) -> list[Example]:
        """All examples, by id."""
        return [
            replace(example, id=number * STEP + example.id)
            for number, bank in self.banks.items()
            for example in bank.examples()
        ]

    def clap_matrix(self, model: str) -> tuple[list[int], np.ndarray]:
        """(ids, (N, d) float32 unit vectors) of the examples that the CLAP ``model`` has embedded."""
        found = {number: bank.clap_matrix(model) for number, bank in self.banks.items()}
        some = {number: (ids, matrix) for number, (ids, matrix) in found.items() if ids}
        if not some:
            return [], np.zeros((0, 1), np.float32)
        ids = [number * STEP + i for number, (own, _) in some.items() for i in own]
        return ids, np.concatenate([matrix for _, matrix in some.values()])

    def features(self, example_id: int, model: str) -> np.ndarray | None:
        """Window features (n, E) float32 by the encoder ``model``, or None where it has not heard the example."""
        bank, own = self._of(example_id)
        return bank.features(own, model)

    def takes_embeddings(self) -> bool:
        """Whether each of them does."""
        return all(bank.takes_embeddings() for bank in self.banks.values())

    def channels(self) -> str | int:
        """The rule that they share; where they have several, the usual one."""
        rules = {bank.channels() for bank in self.banks.values()}
        return rules.pop() if len(rules) == 1 else AUTO

    def channels_of(self, example_id: int) -> str | int:
        """Which channel of an example is heard, by the rule of the bank that it is of."""
        bank, own = self._of(example_id)
        return bank.channels_of(own)

    def audio_path(self, example_id: int) -> Path:
        """The sound's file. Raises BadRequest for an unknown id, MissingPart where the file is gone."""
        bank, own = self._of(example_id)
        return bank.audio_path(own)

    def set_embedding(self, example_id: int, model: str, kind: str, array: np.ndarray) -> None:
        """Keeps an embedding in the bank that the sound is of."""
        bank, own = self._of(example_id)
        bank.set_embedding(own, model, kind, array)
