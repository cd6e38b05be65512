"""Joint audio-text embeddings for retrieval: sounds and sentences as unit vectors of one space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from afcore.audio.recording import Clip


class Clap(Protocol):
    """What retrieval needs, beside one of the ways to embed a sound that `ClipClap` and `FeatureClap` describe.

    The similarity of two vectors is their dot product, from -1 to 1.
    """

    name: str
    """Names the embeddings in a bank: vectors of different names are never compared."""

    width: int
    """d, the length of the vectors."""

    def text(self, texts: list[str]) -> np.ndarray:
        """k sentences -> (k, d) float32 unit vectors."""
        ...


class ClipClap(Clap, Protocol):
    """A `Clap` with an audio encoder of its own."""

    def audio(self, clip: Clip) -> np.ndarray:
        """A clip -> (d,) float32 unit vector."""
        ...


class FeatureClap(Clap, Protocol):
    """A `Clap` that stands on the features of the model's own audio encoder, so that no second pass is needed."""

    def audio_from_features(self, features: Tensor) -> np.ndarray:
        """Window features (n, E) -> (d,) float32 unit vector."""
        ...


def embed_sound(clap: ClipClap | FeatureClap, clip: Clip, features: Tensor) -> np.ndarray:
    """The clip's (d,) float32 unit vector, from the encoder's ``features`` (n, E) where ``clap`` stands on those."""
    if hasattr(clap, "audio_from_features"):
        vector = clap.audio_from_features(features)
    else:
        vector = clap.audio(clip)
    return np.asarray(vector, dtype=np.float32)
