"""Samples as the bytes of a WAV file, for players."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import soundfile

from afcore.audio.recording import HIGH_RATE, LOW_RATE, Clip, normalise

PLAYED_RATE = 32_000  # Hz, for what a browser might not play at its own rate
SHORTEST = 1.0
"""Seconds: players show whole ones, and a shorter sound as "0:00", as if there were none."""


def wav_bytes(samples: np.ndarray, rate: int) -> bytes:
    """``samples`` (T,) float, at ``rate`` Hz, as a WAV file of 16 bits; as loud as they are, clipped at -1 and 1."""
    file = BytesIO()
    soundfile.write(file, np.clip(samples, -1.0, 1.0), rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def heard_wav(clip: Clip) -> bytes:
    """What the model hears of ``clip``, for a player: as loud as it hears it, with a peak of full scale, and at a rate
    that every browser plays."""
    if not LOW_RATE <= clip.rate <= HIGH_RATE:
        clip = clip.resampled(PLAYED_RATE)
    return wav_bytes(normalise(clip.samples), clip.rate)


def player_wav(clip: Clip) -> bytes:
    """`heard_wav`, with silence after it where it is shorter than `SHORTEST`, so that a player shows a length."""
    missing = round(SHORTEST * clip.rate) - len(clip.samples)
    return heard_wav(clip if missing <= 0 else replace(clip, samples=np.pad(clip.samples, (0, missing))))
