"""Ever new clips to fit the encoder on: real sounds cut, mixed, played faster or slower, in rooms, with noise,
through filters.

A batch is a function of (seed, stage, step, process) alone, so that a run that was stopped goes on with the same
batches.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from afcore.encoders.mini import N_MELS, RATE, LogMel

BATCHES = (
    (1.0, 90),
    (1.6, 56),
    (2.6, 34),
    (4.2, 21),
    (7.0, 13),
)  # seconds of a clip, clips: about 90 s of sound a batch


NOISES, ROOMS = 24, 64  # that are kept to draw from; a noise is 20 s long


def coloured_noise(n: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) noise with a 1/f^a power spectrum, a in 0 … 2, of RMS 1."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    spectrum[1:] *= np.arange(1, len(spectrum)) ** (-rng.uniform(0, 1))
    spectrum[:2] = 0
    x = np.fft.irfft(spectrum, n)
    return (x / x.std()).astype(np.float32)


def room(rng: np.random.Generator) -> np.ndarray:
    """Impulse response of a simple room: the sound itself, then exponentially decaying noise (0.1 … 0.9 s to −60
    dB)."""
    decay = rng.uniform(0.1, 0.9)
    t = np.arange(int(decay * RATE)) / RATE
    response = rng.standard_normal(len(t)) * np.exp(-6.9 * t / decay)
    response *= rng.uniform(0.1, 0.7) / np.sqrt((response**2).sum())
    response[0] += 1.0
    return response.astype(np.float32)


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.square(x).mean())) + 1e-6


class Mixtures:
    """Batches from a list of sounds: `items` is a file that `sounds.save_items` wrote."""

    def __init__(self, items: Path, seed: int):
        listed = np.load(items)
        self.data = [
            np.memmap(Path(folder) / "audio.i16", np.int16, "r") for folder in json.loads(str(listed["folders"]))
        ]
        self.folder, self.offset, self.length = listed["folder"], listed["offset"], listed["length"]
        self.cumulated = np.cumsum(listed["weight"] / listed["weight"].sum())
        self.seed, self.mel = seed, LogMel()
        rng = np.random.default_rng(seed)
        self.noises = [coloured_noise(20 * RATE, rng) for _ in range(NOISES)]
        self.rooms = [room(rng) for _ in range(ROOMS)]

    def clip(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """(n,) float32 of one sound: a cut of a long one; a short one repeated, or once in silence as the app hears
        it."""
        item = min(int(np.searchsorted(self.cumulated, rng.random())), len(self.offset) - 1)
        data, start, length = self.data[self.folder[item]], int(self.offset[item]), int(self.length[item])
        factor = float(np.exp(rng.uniform(-0.16, 0.16))) if rng.random() < 0.25 else 1.0
        wanted = int(n * factor) + 2 if factor != 1 else n
        if length > wanted:
            start += int(rng.integers(0, length - wanted + 1))
            length = wanted
        x = data[start : start + length].astype(np.float32) / 32768
        if factor != 1:
            places: np.ndarray = np.arange(0, length - 1, factor, dtype=np.float32 if length < 1 << 22 else np.float64)
            below = places.astype(np.int32)
            x = x[below] + (places - below) * (x[np.minimum(below + 1, length - 1)] - x[below])
        if len(x) >= n:
            return x[:n]
        if rng.random() < (0.15 if n <= RATE else 0.5):
            return np.tile(x, n // len(x) + 1)[:n]
        padded, at = np.zeros(n, np.float32), int(rng.integers(0, n - len(x) + 1)) if rng.random() < 0.5 else 0
        padded[at : at + len(x)] = x
        return padded

    def example(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """(n,) float32, peak at most 1: one or two sounds, in a room or not, with noise or not, at any level."""
        from scipy.signal import oaconvolve

        x = self.clip(rng, n)
        level = rms(x)
        if rng.random() < 0.5:
            other = self.clip(rng, n)
            x = x + other * (level / rms(other) * 10 ** (-rng.uniform(-3, 18) / 20))
        if rng.random() < 0.2:
            x = oaconvolve(x, self.rooms[rng.integers(len(self.rooms))])[:n].astype(np.float32)
        if rng.random() < 0.3:
            noise, at = self.noises[rng.integers(len(self.noises))], int(rng.integers(0, 20 * RATE - n))
            x = x + noise[at : at + n] * (level * 10 ** (-rng.uniform(5, 40) / 20))
        loud = 0.0 if rng.random() < 0.6 else rng.uniform(-26, 0)
        return x * (10 ** (loud / 20) / (np.abs(x).max() + 1e-6))

    def batch(self, stage: int, step: int, process: int = 0) -> Tensor:
        """Log-mel (clips, 1, 128, frames), channels last, of batch `step`."""
        rng = np.random.default_rng([self.seed, stage, step, process])
        seconds, count = BATCHES[rng.integers(len(BATCHES))]
        x = torch.from_numpy(
            np.stack([self.example(rng, int(seconds * RATE)) for _ in range(count)]).astype(np.float32)
        )
        with torch.no_grad():
            mel = self.mel(x)
            # A smooth curve over the bands stands for filters and microphones.
            bands, curve = np.linspace(0, 1, N_MELS)[None], np.zeros((count, N_MELS))
            for f in (1, 2, 3):
                curve += (
                    rng.standard_normal((count, 1))
                    * 0.18
                    / f
                    * np.cos(math.pi * f * bands + 2 * math.pi * rng.random((count, 1)))
                )
            curve *= rng.random((count, 1)) < 0.5
            mel = mel + torch.from_numpy(curve.astype(np.float32))[:, None, :, None]
        return mel.contiguous(memory_format=torch.channels_last)
