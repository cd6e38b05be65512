"""Few shots: the bank of examples, the nearest of them to a sound, and the control that shuffles their answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from afcore.audio.channels import AUTO
from afcore.errors import MissingPart

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from afcore.retrieval.example import Example


class ExampleBank(Protocol):
    """Labelled sounds from which shots are taken, with what encoders and CLAPs made of them.

    There are several: `afcore.retrieval.bank.Bank` on a disk, the examples of a Teach project, and clips of the
    training packages. Who derives from this class says no to what it does not define.
    """

    def examples(self) -> list[Example]:
        """All examples, by id."""
        ...

    def clap_matrix(self, model: str) -> tuple[list[int], np.ndarray]:
        """(ids, (N, d) float32 unit vectors) of the examples that the CLAP ``model`` has embedded."""
        ...

    def features(self, example_id: int, model: str) -> np.ndarray | None:
        """Window features (n, E) float32 by the encoder ``model``, or None where it has not heard the example."""
        ...

    def takes_embeddings(self) -> bool:
        """Whether what it lacks can be made from `audio_path` and kept by `set_embedding`."""
        return False

    def channels(self) -> str | int:
        """Which channel of its sounds is heard: a rule of `afcore.audio.channels`. Queries follow the same."""
        return AUTO

    def channels_of(self, example_id: int) -> str | int:
        """As `channels`, of one example: that of the bank that it is of."""
        return self.channels()

    def audio_path(self, example_id: int) -> Path:
        """The sound's file. Raises MissingPart where there is none."""
        raise MissingPart("This example bank keeps no sounds.")

    def set_embedding(self, example_id: int, model: str, kind: str, array: np.ndarray) -> None:
        """Keeps an embedding: ``kind`` "features" (n, E), or "clap" (d,). Raises MissingPart where none are taken."""
        raise MissingPart("This example bank takes no embeddings.")
