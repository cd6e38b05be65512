"""Samples as the bytes of a WAV file, for players."""

from io import BytesIO

import numpy as np
import soundfile


def wav_bytes(samples: np.ndarray, rate: int) -> bytes:
    """``samples`` (T,) float, at ``rate`` Hz, as a WAV file of 16 bits; as loud as they are, clipped at -1 and 1."""
    file = BytesIO()
    soundfile.write(file, np.clip(samples, -1.0, 1.0), rate, format="WAV", subtype="PCM_16")
    return file.getvalue()
