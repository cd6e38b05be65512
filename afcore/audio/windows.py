"""The sliding-window plan: how a clip is cut into the windows that an encoder embeds.

Source: Audio Flamingo (arXiv 2402.01831) section 3.1 and the published code's ``data/data.py``: windows of
7 s every 1.75 s (an overlap of 5.25 s), at most 16, so that at most 33.25 s of a clip are heard.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class WindowPlan:
    """Windows of ``seconds`` every ``hop_seconds`` at ``rate`` Hz, at most ``max_windows`` of them."""

    rate: int
    seconds: float = 7.0
    hop_seconds: float = 1.75
    max_windows: int = 16

    @property
    def window(self) -> int:
        """Length of a window in samples (W)."""
        return round(self.seconds * self.rate)

    @property
    def hop(self) -> int:
        """Distance between the starts of neighbouring windows in samples (H)."""
        return round(self.hop_seconds * self.rate)

    @property
    def max_samples(self) -> int:
        """The most samples that are heard, W + (max_windows - 1) H; what follows them is cropped."""
        return self.window + (self.max_windows - 1) * self.hop

    @property
    def max_seconds(self) -> float:
        """The longest clip that is heard whole, in seconds: 33.25 for the published plan."""
        return self.max_samples / self.rate

    def count(self, length: int) -> int:
        """Number of windows for a clip of ``length`` samples (T)."""
        if length <= self.window:
            return 1
        if length >= self.max_samples:
            return self.max_windows
        return 1 + -(-(length - self.window) // self.hop)  # ceil in whole numbers

    def times(self, length: int) -> list[tuple[float, float]]:
        """Start and end in seconds of each window of a clip of ``length`` samples.

        The end is where the window's sound ends: the last window may be shorter than ``seconds``, its rest is padding.
        """
        starts = [i * self.hop for i in range(self.count(length))]
        return [(start / self.rate, min(start + self.window, length) / self.rate) for start in starts]

    def cut(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cut ``samples`` (T,) into windows.

        Returns the windows (n, window) float32, the last one zero-padded, and how many samples of each really
        exist, (n,) int64. Samples after ``max_samples`` are left out.
        """
        samples = np.asarray(samples, dtype=np.float32)
        if samples.ndim != 1:
            raise ValueError(f"expected mono samples (T,), got shape {samples.shape}")
        n = self.count(len(samples))
        needed = self.window + (n - 1) * self.hop
        padded = np.zeros(needed, dtype=np.float32)
        kept = min(len(samples), needed)
        padded[:kept] = samples[:kept]
        views = np.lib.stride_tricks.sliding_window_view(padded, self.window)[:: self.hop]
        valid = np.clip(kept - np.arange(n) * self.hop, 0, self.window)
        return views.copy(), valid


PUBLISHED = WindowPlan(44_100)
"""The plan of the published models: W = 308,700 samples, H = 77,175."""

MINI = WindowPlan(32_000)
"""Mini's plan: the same times at the rate of its encoder, W = 224,000 samples, H = 56,000."""


def pad_audios(
    audios: Sequence[torch.Tensor],
    silence: torch.Tensor,
    max_windows: int = PUBLISHED.max_windows,
    count: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Lay several audios' window embeddings out as the model takes them, ``max_windows`` places for each.

    ``audios``: the embeddings (n_i, E) of each audio in the prompt's order, n_i from 1 to ``max_windows``.
    ``silence``: the embedding (E,) for a place without a window; the published models see it, so it is what the
    encoder gives an all-zero window. ``count``: pad to this many audios (published inference configs: 1 for the
    foundation model, 4 for chat), None for as many as there are.

    Returns embeddings (A * max_windows, E) and mask (A * max_windows,) bool, True for real windows.
    """
    total = len(audios) if count is None else count
    if len(audios) > total:
        raise ValueError(f"{len(audios)} audios do not fit into {total}")
    embeds = silence.expand(total, max_windows, -1).clone()
    mask = torch.zeros(total, max_windows, dtype=torch.bool, device=silence.device)
    for place, audio in enumerate(audios):
        n = len(audio)
        if not 1 <= n <= max_windows:
            raise ValueError(f"an audio has 1 to {max_windows} windows, got {n}")
        embeds[place, :n] = audio
        mask[place, :n] = True
    return embeds.flatten(0, 1), mask.flatten()
