"""Audio encoders: the samples of a clip in, one embedding per 7 s window out."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from afcore.audio.windows import WindowPlan


class AudioEncoder(Protocol):
    """What the model needs from an encoder; it stays frozen (paper section 3.1).

    Who derives from this class says no to what it does not define.
    """

    name: str
    """Names its features in a bank; it changes with the weights, so that features of others are never read."""

    plan: WindowPlan
    """How clips are cut, and the sampling rate in Hz that ``embed`` expects."""

    width: int
    """E, the number of features that each window gets."""

    @property
    def silence(self) -> torch.Tensor:
        """(E,) features of an all-zero window, for the places that padding fills."""
        ...

    def embed(self, samples: np.ndarray) -> torch.Tensor:
        """``samples`` (T,) float32 at ``plan.rate``, normalised by ``afcore.audio.recording.normalise`` -> (n, E)
        features."""
        ...

    def embed_many(self, sounds: Sequence[np.ndarray]) -> list[torch.Tensor]:
        """As ``embed`` for each of several; together where the encoder can."""
        return [self.embed(samples) for samples in sounds]

    def names_tags(self) -> bool:
        """Whether its features also say which known classes are heard."""
        return False

    @property
    def labels(self) -> Sequence[str]:
        """The names of its classes; none where it `names_tags` none."""
        return ()

    def tags(self, features: torch.Tensor) -> torch.Tensor:
        """Window features (n, E) -> probability of each class anywhere in the clip, (len(labels),), each 0 to 1."""
        raise TypeError("this encoder names no classes")
