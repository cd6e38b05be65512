"""The spectrum of a clip over time, as people look at it (encoders have their own)."""

import librosa
import numpy as np


def mel_decibels(samples: np.ndarray, rate: int, bands: int, columns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Samples (T,) at ``rate`` Hz -> (bands, n) float32 dB from -80 to 0, band centres in Hz, and n times in s.

    Frames are some 40 ms long; where there are more than ``columns``, each column keeps the loudest of its frames, so
    that a click does not vanish. Low rates get fewer bands, since their frames cannot tell 64 apart.
    """
    n_fft = 2 ** int(np.ceil(np.log2(0.04 * rate)))
    bands = min(bands, n_fft // 16)
    padded = np.pad(samples, (0, max(0, n_fft - len(samples))))
    highest = min(rate / 2, 20_000)
    power = librosa.feature.melspectrogram(
        y=padded, sr=rate, n_fft=n_fft, hop_length=n_fft // 2, n_mels=bands, fmax=highest
    )
    edges = np.unique(np.linspace(0, power.shape[1], min(columns, power.shape[1]) + 1).astype(int)[:-1])
    power = np.maximum.reduceat(power, edges, axis=1)
    loudest = power.max()
    if loudest > 0:
        decibels = np.maximum(10 * np.log10(np.maximum(power / loudest, 1e-8)), -80)
    else:
        decibels = np.full(power.shape, -80.0)
    centres = librosa.mel_frequencies(n_mels=bands + 2, fmin=0, fmax=highest)[1:-1]
    seconds = (np.arange(len(edges)) + 0.5) * len(samples) / rate / len(edges)
    return decibels.astype(np.float32), centres, seconds
