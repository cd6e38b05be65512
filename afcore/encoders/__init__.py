"""Audio encoders: the samples of a clip in, one embedding per 7 s window out."""

from typing import Protocol

import numpy as np
import torch

from afcore.audio.windows import WindowPlan


class AudioEncoder(Protocol):
    """What the model needs from an encoder; it stays frozen (paper section 3.1)."""

    plan: WindowPlan
    """How clips are cut, and the sampling rate in Hz that ``embed`` expects."""

    width: int
    """E, the number of features that each window gets."""

    silence: torch.Tensor
    """(E,) features of an all-zero window, for the places that padding fills."""

    def embed(self, samples: np.ndarray) -> torch.Tensor:
        """``samples`` (T,) float32 at ``plan.rate``, normalised by ``afcore.audio.recording.normalise`` -> (n, E) features."""
        ...
