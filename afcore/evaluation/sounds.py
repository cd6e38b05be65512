"""The card's sounds: test clips, mixtures of two, noise and silence; each also through a simulated phone and room.

What is made here goes through the encoder once and is kept in a file. Everything follows from its key: the same key
gives the same sound in every run and process.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.signal import butter, fftconvolve, resample_poly, sosfilt

from afcore.corpus.clips import NO_TAG, ClipSet
from afcore.corpus.decoded import Sounds
from afcore.corpus.describe import WINDOWS_KEPT, embed, mix
from afcore.encoders import AudioEncoder
from afcore.encoders.mini import EMBEDDING, RATE
from afcore.errors import MissingPart

PHONE_BAND, PHONE_RATE = (300, 3400), 8000  # Hz
MU = 255  # of G.711's mu-law
ROOM_DECAY, ROOM_NOISE = 0.6, 20.0  # s to −60 dB; dB that the noise lies below the sound
NOISES = ("silence", "white", "pink", "brown", "hum", "band", "swell")
LEVELS = (0.0, -20.0, -40.0, -60.0)  # dB of full scale; the faintest are a few steps of 16 bits high
HOWS = ("no tags", "phone", "room")


@dataclass(frozen=True)
class Subject:
    """A sound that is asked about. `clips`: one number in the ClipSet, two for a mixture, none for `noise` of some
    kind."""

    clips: tuple[int, ...]
    noise: str = ""
    number: int = 0

    @property
    def key(self) -> str:
        """Names its content."""
        return f"{self.noise} {self.number}" if self.noise else "clip " + " + ".join(map(str, self.clips))


class CardSounds:
    """Samples and window features of subjects. `file` keeps what was made with this encoder; call `save` after new
    ones."""

    def __init__(self, clips: ClipSet, corpus: Path, encoder: AudioEncoder, file: Path):
        self.clips, self.encoder, self.file, self._corpus = clips, encoder, file, corpus
        self._pieces: Sounds | None = None
        self._made: dict[str, np.ndarray] = dict(np.load(file)) if file.exists() else {}
        self._new: dict[str, np.ndarray] = {}

    def features(self, subject: Subject, how: str = "") -> torch.Tensor:
        """(windows, E) float32. `how`: "" as it is, "no tags", "phone" or "room"."""
        if how == "no tags":
            hidden = self.features(subject).clone()
            hidden[:, EMBEDDING:] = NO_TAG
            return hidden
        if len(subject.clips) == 1 and not how:
            return self.clips.tensor(subject.clips[0])
        key = f"{subject.key} {how}".strip()
        if key not in self._made:
            self.add({key: embed(self.encoder, self.samples(subject, how))})
        return torch.from_numpy(self._made[key].astype(np.float32))

    def samples(self, subject: Subject, how: str = "") -> np.ndarray:
        """(T,) float32 at 32 kHz, as `afcore.audio.recording.normalise` would leave a file of it."""
        rng = np.random.default_rng(zlib.crc32(f"{subject.key} {how}".encode()))
        if subject.noise:
            x = noise(subject.noise, LEVELS[subject.number % len(LEVELS)], rng)
        elif len(subject.clips) == 1:
            x = self.piece(subject.clips[0])
        else:  # the mixture itself must not depend on `how`
            first, second = map(self.piece, subject.clips)
            x = mix(first, second, np.random.default_rng(zlib.crc32(subject.key.encode())))
        x = phone(x) if how == "phone" else room(x, rng) if how == "room" else x
        peak = np.abs(x).max(initial=0)
        return x / peak if peak else x

    def piece(self, clip: int) -> np.ndarray:
        """Samples of a clip of the corpus. Raises MissingPart where these are gone or are not those of the clips."""
        if self._pieces is None:
            if not (self._corpus / "audio.i16").exists():
                raise MissingPart(
                    f"There are no decoded sounds in {self._corpus}: make them with `python -m afcore.training corpus`."
                )
            self._pieces = Sounds(self._corpus)
        info = self.clips[clip]
        if self._pieces.index[info.source]["id"] != info.extra["id"]:
            raise MissingPart(
                f"The sounds in {self._corpus} are not those that the clips were made from: run the step "
                "`features` again."
            )
        longest = self.encoder.plan.window + (WINDOWS_KEPT - 1) * self.encoder.plan.hop  # what `embed` hears of it
        return self._pieces.samples(info.source)[:longest]

    def add(self, made: dict[str, np.ndarray]) -> None:
        """Takes over features that were made, here or in another process."""
        self._made |= made
        self._new |= made

    def take_new(self) -> dict[str, np.ndarray]:
        """Features made since the file was read, or since the last call."""
        new, self._new = self._new, {}
        return new

    def save(self) -> None:
        """Writes the file where anything is new."""
        if self.take_new():
            self.file.parent.mkdir(parents=True, exist_ok=True)
            np.savez(self.file, allow_pickle=False, **self._made)


def phone(x: np.ndarray) -> np.ndarray:
    """`x` (T,) at 32 kHz as a telephone passes it on: 300 to 3400 Hz, 8 kHz, mu-law in 8 bits (ITU-T G.711)."""
    narrow = sosfilt(butter(4, PHONE_BAND, "bandpass", fs=RATE, output="sos"), x)
    narrow = resample_poly(narrow, 1, RATE // PHONE_RATE)
    narrow = narrow / max(np.abs(narrow).max(initial=0), 1e-9)
    law = np.sign(narrow) * np.log1p(MU * np.abs(narrow)) / np.log1p(MU)
    law = np.round(law * 127) / 127
    back = np.sign(law) * np.expm1(np.abs(law) * np.log1p(MU)) / MU
    return resample_poly(back, RATE // PHONE_RATE, 1)[: len(x)].astype(np.float32)


def room(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`x` (T,) at 32 kHz as heard across a room: exponentially decaying noise as impulse response, as loud as the
    direct sound, and pink noise 20 dB below it."""
    t = np.arange(round(ROOM_DECAY * RATE)) / RATE
    response = rng.standard_normal(len(t)) * np.exp(-np.log(1000) * t / ROOM_DECAY)
    response /= np.sqrt((response**2).sum())
    response[0] += 1
    y = fftconvolve(x, response)[: len(x)]
    hiss = coloured(len(y), 1, rng)
    level = np.sqrt((y**2).mean()) * 10 ** (-ROOM_NOISE / 20) if len(y) else 0
    return (y + hiss * level / max(np.sqrt((hiss**2).mean()), 1e-9)).astype(np.float32)


def coloured(n: int, slope: float, rng: np.random.Generator) -> np.ndarray:
    """n samples of noise whose power falls with frequency to the power `slope` (0 white, 1 pink, 2 brown); peak 1."""
    spectrum = np.fft.rfft(rng.standard_normal(n)) / np.maximum(np.fft.rfftfreq(n, 1 / RATE), 20) ** (slope / 2)
    x = np.fft.irfft(spectrum, n)
    return x / np.abs(x).max()


def noise(kind: str, level: float, rng: np.random.Generator) -> np.ndarray:
    """1 to 8 s of `NOISES` with its peak `level` dB under full scale, rounded to 16 bits as a file would have it."""
    n = int(rng.uniform(1, 8) * RATE)
    t = np.arange(n) / RATE
    if kind == "silence":
        return np.zeros(n, np.float32)
    if kind == "hum":  # mains with its first overtones
        mains = rng.choice((50, 60))
        x = sum(np.sin(2 * np.pi * mains * k * t + rng.uniform(0, 6)) / k**2 for k in (1, 2, 3))
    elif kind == "band":
        low = rng.uniform(100, 4000)
        x = sosfilt(butter(2, (low, 2 * low), "bandpass", fs=RATE, output="sos"), rng.standard_normal(n))
    elif kind == "swell":
        x = coloured(n, rng.uniform(0, 2), rng) * np.sin(np.pi * t / t[-1]) ** 2
    else:
        x = coloured(n, ("white", "pink", "brown").index(kind), rng)
    x = x / np.abs(x).max() * 10 ** (level / 20)
    return (np.round(x * 32767) / 32767).astype(np.float32)
