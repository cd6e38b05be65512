"""Fingerprints that find the same recording again: at another level, rate, codec or length of silence, in another
package.

After Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System" (ISMIR 2002): bits are signs of energy
differences over time and frequency; here over a fixed grid, since a whole short file is compared with another, never a
part with a whole.
"""

from __future__ import annotations

import itertools

import numpy as np

RATE = 32_000
SLICES, BANDS = 33, 17  # grid: time slices over the sound's length, bands between 100 and 3,600 Hz
BITS = (SLICES - 1) * (BANDS - 1)
ALIKE = 0.12  # share of differing bits below which two sounds are one recording
LENGTH = 0.06  # relative difference in length that one recording may have
POPCOUNT = np.array([bin(i).count("1") for i in range(256)], np.uint8)


def trimmed(x: np.ndarray) -> np.ndarray:
    """(T,) without what is quieter than -40 dB of the peak at both ends."""
    loud = np.flatnonzero(np.abs(x) > 0.01 * np.abs(x).max(initial=0))
    return x[loud[0] : loud[-1] + 1] if len(loud) else x


def fingerprint(samples: np.ndarray) -> str:
    """Hex of 512 bits and the trimmed length in ms, from (T,) int16 at 32 kHz; '' for silence or less than 50 ms."""
    x = trimmed(samples.astype(np.float32))
    if len(x) < 0.05 * RATE or not np.abs(x).max(initial=0):
        return ""
    size = 1024
    hop = max(64, (len(x) - size) // (4 * SLICES))
    x = np.pad(x, (0, max(0, size + hop * SLICES - len(x))))
    frames = np.lib.stride_tricks.sliding_window_view(x, size)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(size).astype(np.float32), axis=1)) ** 2
    edges = (np.geomspace(100, 3600, BANDS + 1) / RATE * size).round().astype(int)
    edges = np.maximum(edges, 3 + np.arange(BANDS + 1))  # each band at least one bin wide
    bands = np.stack([power[:, a:b].sum(1) if b > a else power[:, a] for a, b in itertools.pairwise(edges)], 1)
    grid = np.stack([part.mean(0) for part in np.array_split(bands, SLICES)])
    energy = np.log(grid + 1e-6 * grid.max() + 1e-9)
    difference = np.diff(energy, axis=1)
    bits = np.diff(difference, axis=0) > 0
    return np.packbits(bits).tobytes().hex() + f":{len(trimmed(samples)) * 1000 // RATE}"


def near_duplicates(prints: list[tuple[str, float]]) -> list[int]:
    """A number per sound, the same for near-duplicates (chains included); `prints`: (fingerprint, seconds)."""
    parent = list(range(len(prints)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    known = [i for i, (p, _) in enumerate(prints) if p]
    known.sort(key=lambda i: int(prints[i][0].split(":")[1]))
    lengths = np.array([int(prints[i][0].split(":")[1]) for i in known])
    bits = np.array([np.frombuffer(bytes.fromhex(prints[i][0].split(":")[0]), np.uint8) for i in known])
    for k, i in enumerate(known):
        end = np.searchsorted(lengths, lengths[k] * (1 + LENGTH) + 20)
        if end > k + 1:
            distance = POPCOUNT[bits[k + 1 : end] ^ bits[k]].sum(1, dtype=np.int64)
            for other in np.flatnonzero(distance < ALIKE * BITS):
                parent[root(known[k + 1 + other])] = root(i)
    return [root(i) for i in range(len(prints))]
