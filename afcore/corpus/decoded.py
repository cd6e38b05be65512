"""The decoded sounds as `extract` and `sets` leave them, their splits, and what is done to them: rooms, noise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from afcore.audio.recording import normalise
from afcore.audio.windows import MINI
from afcore.corpus.fingerprint import near_duplicates
from afcore.corpus.splits import ONE_SOUND, dropped, split_of_clip
from afcore.encoders.mini import SHORTEST

RATE = 32_000  # Hz of everything decoded


def read_index(folder: str | Path) -> list[dict]:
    """The lines of a folder's `index.jsonl`."""
    return [json.loads(line) for line in (Path(folder) / "index.jsonl").read_text().splitlines()]


def splits_of(rows: list[dict]) -> list[str]:
    """ "train", "validation", "test" or "dropped" for each row of all folders together: what is a near-duplicate of a
    sound in a stricter split, or cut from the same recording by another set, or hardly audible, is dropped."""
    splits = [split_of_clip(r["package"], r["path"], r.get("source", "")) for r in rows]
    clusters = near_duplicates([(r["fingerprint"], r["seconds"]) for r in rows])
    numbers: dict[tuple[str | None, ...], int] = {}
    recordings = []  # a freesound number stands for the same recording in every set
    for r in rows:
        known = ONE_SOUND.search(r.get("source", ""))
        recordings.append(numbers.setdefault(known.groups(), len(numbers)) if known else -1)
    packages = [r["package"] for r in rows]
    alike = dropped(packages, clusters, splits)
    same = dropped(packages, recordings, splits)
    gone = [a or b or r["active"] < 0.05 or not r["peak"] for a, b, r in zip(alike, same, rows, strict=True)]
    return ["dropped" if g else s for g, s in zip(gone, splits, strict=True)]


def first_window(audio: np.ndarray, row: dict) -> np.ndarray:
    """One sound of a folder as the app hears it first: (T,) float32 at 32 kHz, 1 to 7 s, a short one with silence up
    to 1 s."""
    x = normalise(audio[row["offset"] : row["offset"] + row["length"]].astype(np.float32))[: MINI.window]
    return np.pad(x, (0, max(0, SHORTEST - len(x))))


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
