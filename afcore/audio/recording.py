"""Recordings and clips: any sound file in, mono float32 out, with limits and refusals in one place.

A ``Recording`` is a whole upload, perhaps two hours, kept as the bytes of its file; a ``Clip`` is the stretch of at
most 33.25 s that the model hears, as samples. What is unusual but readable is taken with a notice; what cannot be read
raises ``AudioError``.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import librosa
import numpy as np
from scipy.io import wavfile

from afcore.audio.clock import exact_text
from afcore.audio.decoding import MAX_HOURS, Block, SoundStream, open_sound
from afcore.audio.envelope import EnvelopeBuilder
from afcore.audio.windows import PUBLISHED
from afcore.errors import AudioError, BadRequest

MAX_SECONDS = PUBLISHED.max_seconds
"""The most that the model hears of a recording, 33.25 s."""

MAX_BYTES = 200 * 1024 * 1024
"""The largest file that is taken; the same as ``server.maxUploadSize`` in ``.streamlit/config.toml``."""

PREROLL_SECONDS = 1.0
"""Sound decoded before a clip and dropped, for codecs whose frames lean on earlier ones (Opus asks for 80 ms)."""

SHORT_SECONDS = 0.1
LOW_RATE, HIGH_RATE = 8_000, 96_000  # Hz
_CHECKPOINT_SECONDS = 0.1


@dataclass(frozen=True, eq=False)
class Clip:
    """A stretch of sound that can be heard by a model."""

    samples: np.ndarray = field(repr=False)
    """(T,) float32, mono, as recorded (not normalised)."""
    rate: int
    """Hz."""
    start: float
    """Seconds from the start of the recording."""
    name: str
    key: str
    """64 hex digits that name the content: the same for the same stretch of the same file, whatever ``rate`` is."""
    notices: tuple[str, ...] = ()
    """Sentences for the person about what is unusual."""

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.samples) / self.rate

    def resampled(self, rate: int) -> "Clip":
        """The same clip at ``rate`` Hz, by ``librosa.resample`` as in the published code."""
        if rate == self.rate:
            return self
        samples = librosa.resample(self.samples, orig_sr=self.rate, target_sr=rate)
        return replace(self, samples=samples.astype(np.float32), rate=rate)


@dataclass(frozen=True)
class _Checkpoint:
    """A place in the file from which decoding can start: after ``packet`` packets comes the frame with time stamp
    ``pts``, and its first sample is sample ``position`` of the recording."""

    packet: int
    pts: int | None
    position: int


@dataclass(frozen=True, eq=False)
class Recording:
    """A whole sound file; its samples are decoded when a clip is asked for."""

    name: str
    data: bytes = field(repr=False)
    """The file as it was uploaded."""
    sha256: str
    """Hex digest of ``data``."""
    rate: int
    """Hz."""
    channels: int
    length: int
    """Samples of the first channel."""
    envelope: np.ndarray = field(repr=False)
    """(n, 2) float32: least and greatest sample of the first channel in each of n equal slices (the last may be
    shorter), n at most 8193."""
    notices: tuple[str, ...]
    _checkpoints: tuple[_Checkpoint, ...] = field(repr=False)

    @property
    def duration(self) -> float:
        """Seconds, as decoded; what a header claims is not trusted."""
        return self.length / self.rate

    def clip(self, start: float = 0.0, seconds: float = MAX_SECONDS) -> Clip:
        """Decode the first channel from ``start`` for at most ``seconds`` (both in s), at the recording's own rate.

        Raises BadRequest where nothing would be left.
        """
        first = round(start * self.rate)
        count = min(round(seconds * self.rate), self.length - first)
        if first < 0 or count <= 0:
            raise BadRequest(f"“{self.name}” lasts {exact_text(self.duration)}, so no clip can start at {start:g} s.")
        samples = self._decode(first, count)
        key = hashlib.sha256(f"{self.sha256} {first} {count}".encode()).hexdigest()
        notices = list(self.notices)
        if count < self.length:
            heard = f"{exact_text(first / self.rate)} to {exact_text((first + count) / self.rate)}"
            notices.append(f"Only {heard} of {exact_text(self.duration)} is heard.")
        if not samples.any() and self.envelope.any():
            notices.append("The part that is heard is silent.")
        return Clip(samples, self.rate, first / self.rate, self.name, key, tuple(notices))

    def _decode(self, first: int, count: int) -> np.ndarray:
        """Samples ``first`` to ``first + count`` of the first channel, (count,) float32.

        Container seeking lands on frames that differ by format and is off by thousands of samples for some. Reading
        packets without decoding them costs about 0.5 s per two hours, so that is what is done: packets up to a
        checkpoint before the clip are passed over, and decoding starts there. Where the frames do not meet their
        checkpoints, as may be in a damaged file, everything from the start is decoded instead.
        """
        begin = first - round(PREROLL_SECONDS * self.rate)
        before = [point for point in self._checkpoints if point.position <= begin]
        if before:
            samples = self._decode_from(before[-1].packet, first, count)
            if samples is not None:
                return samples
        samples = self._decode_from(0, first, count)
        if samples is None:
            raise AudioError(f"“{self.name}” is damaged: it does not decode twice to the same sound.")
        return samples

    def _decode_from(self, packet: int, first: int, count: int) -> np.ndarray | None:
        """As ``_decode``, from a given packet on; None where the frames do not meet their checkpoints.

        From packet 0 on there is nothing to meet: it is what ``open_recording`` did.
        """
        samples = np.zeros(count, dtype=np.float32)
        expected: dict[tuple[int, int | None], int] = {}
        position: int | None = 0
        if packet:
            expected, position = {(point.packet, point.pts): point.position for point in self._checkpoints}, None
        with open_sound(self.data, self.name) as sound:
            for block in sound.blocks(skip_packets=packet):
                known = expected.get((block.packet, block.pts), position)
                if position is None:
                    if known is None:
                        continue  # the decoder is warming up
                    if known > first:
                        return None
                    position = known
                elif known != position:
                    return None
                _place(block.samples, position - first, samples)
                position += len(block.samples)
                if position >= first + count:
                    return samples
        return None


def open_recording(source: bytes | str | Path | BinaryIO, name: str | None = None) -> Recording:
    """Read a sound file, or the sound of a video file: its bytes, its path, or an open file.

    The whole sound is decoded once to check it and to draw it, a block at a time. Raises AudioError (one sentence)
    where it is empty, larger than ``MAX_BYTES``, not sound, damaged, or holds NaN or infinite samples.
    """
    if name is None:
        name = Path(str(source if isinstance(source, str | Path) else getattr(source, "name", "sound"))).name
    data = _read(source, name)
    with open_sound(data, name) as sound:
        builder, length = EnvelopeBuilder(), 0
        checkpoints: list[_Checkpoint] = []
        for block in sound.blocks():
            _check(block, length, sound, name)
            if not checkpoints or length - checkpoints[-1].position >= _CHECKPOINT_SECONDS * sound.rate:
                checkpoints.append(_Checkpoint(block.packet, block.pts, length))
            builder.add(block.samples)
            length += len(block.samples)
    if sound.damaged > sound.good:
        raise AudioError(f"“{name}” is damaged: most of it cannot be decoded.")
    if length == 0:
        raise AudioError(f"“{name}” holds no sound: it has a header and no samples.")
    envelope = builder.finish()
    notices = tuple(_notices(length, sound, silent=not envelope.any()))
    digest = hashlib.sha256(data).hexdigest()
    return Recording(name, data, digest, sound.rate, sound.channels, length, envelope, notices, tuple(checkpoints))


def from_samples(samples: np.ndarray, rate: int, name: str = "sound") -> Recording:
    """A recording of ``samples`` (T,) or (T, channels), full scale 1.0, at ``rate`` Hz; raises as
    ``open_recording``."""
    file = BytesIO()
    # Float samples: what is outside -1 … 1 survives, and NaN is refused as in a file. Not by soundfile, which writes
    # the time into float files (a PEAK chunk), so that the same samples would not always be the same file.
    wavfile.write(file, rate, np.asarray(samples, dtype=np.float32))
    return open_recording(file.getvalue(), name)


def normalise(samples: np.ndarray) -> np.ndarray:
    """Scale (T,) samples to a peak of 1, then round through int16 as the published ``data/data.py`` does.

    Silence stays zero, where the published code gives NaN.
    """
    samples = np.asarray(samples, dtype=np.float32)
    peak = np.abs(samples).max(initial=0)
    if peak == 0:
        return np.zeros_like(samples)
    scaled = samples / peak
    rounded: np.ndarray = (scaled * np.float32(32767)).astype(np.int16) / np.float32(32767)
    return rounded


def _read(source: bytes | str | Path | BinaryIO, name: str) -> bytes:
    too_large = AudioError(f"“{name}” is larger than {MAX_BYTES // 2**20} MB, the most that can be opened here.")
    if isinstance(source, str | Path):
        try:
            if Path(source).stat().st_size > MAX_BYTES:
                raise too_large
            data = Path(source).read_bytes()
        except OSError as error:
            raise AudioError(f"“{name}” cannot be opened: {error.strerror}.") from error
    elif isinstance(source, bytes | bytearray | memoryview):
        data = bytes(source)
    else:
        data = source.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise too_large
    if not data:
        raise AudioError(f"“{name}” is empty.")
    return data


def _check(block: Block, length: int, sound: SoundStream, name: str) -> None:
    if not np.isfinite(block.samples).all():
        at = exact_text(length / sound.rate)
        raise AudioError(f"“{name}” holds samples that are not numbers (NaN or infinite) at {at}.")
    if length > MAX_HOURS * 3600 * sound.rate:
        raise AudioError(f"“{name}” lasts longer than {MAX_HOURS:g} hours, the most that can be opened here.")


def _notices(length: int, sound: SoundStream, silent: bool) -> Iterable[str]:
    if length < SHORT_SECONDS * sound.rate:
        yield f"The sound is very short ({1000 * length / sound.rate:.3g} ms)."
    if silent:
        yield "The sound is silent." if sound.channels == 1 else "The first channel, which is the one heard, is silent."
    if sound.channels > 2:
        yield f"Of its {sound.channels} channels only the first is heard."
    if sound.rate < LOW_RATE:
        yield f"Its sampling rate of {sound.rate / 1000:g} kHz leaves out everything above {sound.rate / 2000:g} kHz."
    if sound.rate > HIGH_RATE:
        yield f"Its sampling rate of {sound.rate / 1000:g} kHz is lowered to what the model hears."
    if sound.damaged:
        yield "The file is damaged in places, which are left out."
    if sound.promised and length < 0.99 * sound.promised * sound.rate:
        read = exact_text(length / sound.rate)
        yield f"The file is damaged or cut off: of its {exact_text(sound.promised)} only {read} can be read."


def _place(block: np.ndarray, offset: int, out: np.ndarray) -> None:
    """Copy ``block`` to ``out[offset:]``, as far as it lies within ``out``."""
    begin, end = max(0, offset), min(len(out), offset + len(block))
    if begin < end:
        out[begin:end] = block[begin - offset : end - offset]
