"""The outline of a sound that is too long to keep: its least and greatest sample in each of a few thousand slices."""

import numpy as np

MAX_SLICES = 8192  # even, so that slices can be joined in pairs


class EnvelopeBuilder:
    """Takes a sound of unknown length block by block; memory stays at ``MAX_SLICES`` rows however long it gets.

    Slices start at one sample each. Whenever the rows are full, neighbours are joined and slices become twice as long.
    """

    def __init__(self) -> None:
        self._rows = np.empty((MAX_SLICES, 2), dtype=np.float32)
        self._used = 0
        self._slice = 1  # samples per row
        self._waiting: list[np.ndarray] = []
        self._waiting_samples = 0

    def add(self, samples: np.ndarray) -> None:
        """Append ``samples`` (T,) float32."""
        self._waiting.append(samples)
        self._waiting_samples += len(samples)
        if self._waiting_samples >= 65_536:  # frames are small: work on many at once
            self._drain()

    def add_silence(self, count: int) -> None:
        """Append ``count`` zeros, which takes no longer for hours than for a second."""
        if count <= 65_536:
            if count > 0:
                self.add(np.zeros(count, dtype=np.float32))
            return
        self._drain()
        while count > 0:
            if self._used == MAX_SLICES:
                self._join()
            # What waits is less than a slice: fill it up, then whole slices of zeros.
            if self._waiting_samples or count < self._slice:
                part = min(count, self._slice - self._waiting_samples)
                self.add(np.zeros(part, dtype=np.float32))
                self._drain()
            else:
                rows = min(count // self._slice, MAX_SLICES - self._used)
                self._rows[self._used : self._used + rows] = 0
                self._used += rows
                part = rows * self._slice
            count -= part

    def finish(self) -> np.ndarray:
        """(n, 2) float32, minimum and maximum of each slice; the last slice may be a shorter one, and row
        ``MAX_SLICES`` + 1."""
        self._drain()
        rows = self._rows[: self._used]
        if self._waiting_samples:
            rest = self._waiting[0]
            rows = np.vstack([rows, [[rest.min(), rest.max()]]])
        rows = rows.astype(np.float32)
        rows.setflags(write=False)
        return rows

    def _drain(self) -> None:
        samples = np.concatenate(self._waiting) if self._waiting else np.empty(0, np.float32)
        while len(samples) >= self._slice:
            if self._used == MAX_SLICES:
                self._join()
                continue
            count = min(len(samples) // self._slice, MAX_SLICES - self._used)
            slices = samples[: count * self._slice].reshape(count, self._slice)
            self._rows[self._used : self._used + count, 0] = slices.min(axis=1)
            self._rows[self._used : self._used + count, 1] = slices.max(axis=1)
            self._used += count
            samples = samples[count * self._slice :]
        self._waiting = [samples.copy()] if len(samples) else []
        self._waiting_samples = len(samples)

    def _join(self) -> None:
        pairs = self._rows.reshape(-1, 2, 2)
        self._rows[: MAX_SLICES // 2] = np.stack([pairs[:, :, 0].min(axis=1), pairs[:, :, 1].max(axis=1)], axis=1)
        self._used = MAX_SLICES // 2
        self._slice *= 2


def envelope_of(samples: np.ndarray, slices: int = 2000) -> np.ndarray:
    """The envelope (n, 2) of samples (T,) that are at hand, n at most ``slices``."""
    samples = np.asarray(samples, dtype=np.float32)
    edges = np.unique(np.linspace(0, len(samples), min(slices, len(samples)) + 1).astype(int)[:-1])
    return np.stack([np.minimum.reduceat(samples, edges), np.maximum.reduceat(samples, edges)], axis=1)
