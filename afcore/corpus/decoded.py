"""The decoded sounds as `extract` leaves them, and what is done to sounds for training: rooms, noise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

RATE = 32_000  # Hz of everything decoded


def read_index(folder: str | Path) -> list[dict]:
    """The lines of a folder's `index.jsonl`."""
    return [json.loads(line) for line in (Path(folder) / "index.jsonl").open()]


class Sounds:
    """A folder of decoded sounds: one flat int16 memmap at 32 kHz and an index line per piece of a file."""

    def __init__(self, folder: str | Path):
        self.index = read_index(folder)
        self.audio = np.memmap(Path(folder) / "audio.i16", np.int16, "r")

    def samples(self, i: int) -> np.ndarray:
        """float32 (T,) in −1 … 1, peak-normalised; silence stays zero."""
        row = self.index[i]
        x = self.audio[row["offset"] : row["offset"] + row["length"]].astype(np.float32)
        peak = np.abs(x).max(initial=0)
        return x / peak if peak else x


def room(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A simple room: exponentially decaying noise as impulse response (0.1 … 0.9 s to −60 dB)."""
    from scipy.signal import fftconvolve

    decay = rng.uniform(0.1, 0.9)
    t = np.arange(int(decay * RATE)) / RATE
    response = rng.standard_normal(len(t)).astype(np.float32) * np.exp(-6.9 * t / decay).astype(np.float32)
    response *= rng.uniform(0.1, 0.6) / np.sqrt((response**2).sum())
    response[0] += 1.0
    return fftconvolve(x, response)[: len(x)].astype(np.float32)


def coloured_noise(n: int, rng: np.random.Generator) -> np.ndarray:
    """Noise with a 1/f^a power spectrum, a in 0 … 2; peak 1."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    spectrum[1:] *= np.arange(1, len(spectrum)) ** (-rng.uniform(0, 1))
    x = np.fft.irfft(spectrum, n)
    return (x / np.abs(x).max()).astype(np.float32)
