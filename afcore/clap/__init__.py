"""Joint audio-text embeddings for retrieval: sounds and sentences as unit vectors of one space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from afcore.audio.recording import Clip


class Clap(Protocol):
    """What retrieval needs. The similarity of two vectors is their dot product, from -1 to 1.

    A sound is embedded in one of two ways, which `reads_features` tells apart: by an audio encoder of its own, from the
    clip, or from the features of the model's encoder, so that no second pass is needed.
    """

    name: str
    """Names the embeddings in a bank: vectors of different names are never compared."""

    width: int
    """d, the length of the vectors."""

    def text(self, texts: list[str]) -> np.ndarray:
        """k sentences -> (k, d) float32 unit vectors. Raises MissingPart where the text side is absent."""
        ...

    def reads_features(self) -> bool:
        """Whether sounds are embedded by `audio_from_features`; else by `audio`."""
        return False

    def audio(self, clip: Clip) -> np.ndarray:
        """A clip -> (d,) float32 unit vector."""
        raise TypeError("this CLAP has no audio encoder of its own")

    def audio_from_features(self, features: Tensor) -> np.ndarray:
        """Window features (n, E) of the model's encoder -> (d,) float32 unit vector."""
        raise TypeError("this CLAP does not read another encoder's features")


def embed_sound(clap: Clap, clip: Clip, features: Tensor) -> np.ndarray:
    """The clip's (d,) float32 unit vector, from the encoder's ``features`` (n, E) where ``clap`` reads those."""
    vector = clap.audio_from_features(features) if clap.reads_features() else clap.audio(clip)
    return np.asarray(vector, dtype=np.float32)
