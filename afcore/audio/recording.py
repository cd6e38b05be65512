"""Recordings and clips: any sound file in, mono float32 out, with limits and refusals in one place.

Time is the file's own: see `afcore.audio.decoding`.

A ``Recording`` is a whole upload, perhaps two hours, kept as the bytes of its file; a ``Clip`` is the stretch of at
most 33.25 s that the model hears, as samples. What is unusual but readable is taken with a notice; what cannot be read
raises ``AudioError``.
"""

import math
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soxr
from scipy.io import wavfile

from afcore.audio import channels as channel_rules
from afcore.audio import notices as codes
from afcore.audio.channels import ChannelChoice, ChannelStats
from afcore.audio.clock import exact_text
from afcore.audio.decoding import MAX_HOURS, Block, Place, SoundStream, Track, open_sound
from afcore.audio.envelope import EnvelopeBuilder
from afcore.audio.notices import Notice
from afcore.audio.windows import PUBLISHED
from afcore.errors import AudioError, BadRequest
from afcore.hashing import sha256_of
from afcore.names import MAX_NAME, normal

MAX_SECONDS = PUBLISHED.max_seconds
"""The most that the model hears of a recording, 33.25 s."""

MAX_BYTES = 200 * 1024 * 1024
"""The largest file that is taken; the same as ``server.maxUploadSize`` in ``.streamlit/config.toml``."""

PREROLL_SECONDS = 1.0
"""Sound decoded before a clip and dropped, for codecs whose frames lean on earlier ones (Opus asks for 80 ms)."""

SHORT_SECONDS = 0.1
LOW_RATE, HIGH_RATE = 8_000, 96_000  # Hz
SILENCE = 2 / 32_768
"""Samples that stay within this of each other are silence, -84 dB: the dither of a file of 16 bits is no sound."""
QUIET = 10 ** (-60 / 20)
LOUD = 2.0  # lossy codecs go a little beyond full scale
LATE_SECONDS = GAP_SECONDS = 0.05  # less of it is how codecs and containers are, not worth a word
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
    notices: tuple[Notice, ...] = ()
    """What is unusual about it."""

    @property
    def silent(self) -> bool:
        """Whether there is nothing to hear in it: such a clip is given no label."""
        return any(notice.code in (codes.SILENT, codes.SILENT_PART) for notice in self.notices)

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.samples) / self.rate

    def resampled(self, rate: int) -> "Clip":
        """The same clip at ``rate`` Hz, as by ``librosa.resample`` in the published code: by soxr, which that calls."""
        if rate == self.rate:
            return self
        samples = soxr.resample(self.samples, self.rate, rate, quality="HQ")
        length = math.ceil(len(self.samples) * rate / self.rate)
        samples = np.pad(samples[:length], (0, max(0, length - len(samples))))
        return replace(self, samples=samples.astype(np.float32), rate=rate)


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
    """Samples of a channel, from 0:00 of the file on."""
    envelope: np.ndarray = field(repr=False)
    """(n, 2) float32: least and greatest sample of what is heard in each of n equal slices (the last may be shorter), n
    at most 8193."""
    notices: tuple[Notice, ...]
    tracks: tuple[Track, ...]
    """The file's sounds."""
    track: int
    """Which of them this is, from 1."""
    heard: ChannelChoice
    """Which of its channels."""
    _checkpoints: tuple[Place, ...] = field(repr=False)
    _files: tuple[tuple[int, int], ...] = field(repr=False)
    """Those that it is joined of: where each begins and ends in ``data``."""

    @property
    def duration(self) -> float:
        """Seconds, as decoded; what a header claims is not trusted."""
        return self.length / self.rate

    @property
    def silent(self) -> bool:
        """Whether there is nothing to hear in all of it."""
        return any(notice.code == codes.SILENT for notice in self.notices)

    @property
    def mark(self) -> str:
        """Names what is heard of the file; '' for the first channel of its first sound."""
        return " ".join(part for part in (f"track {self.track}" if self.track > 1 else "", self.heard.mark) if part)

    def clip(self, start: float = 0.0, seconds: float = MAX_SECONDS) -> Clip:
        """Decode what is heard from ``start`` for at most ``seconds`` (both in s), at the recording's own rate.

        Raises BadRequest where nothing would be left.
        """
        first = round(start * self.rate)
        count = min(round(seconds * self.rate), self.length - first)
        if first < 0 or count <= 0:
            raise BadRequest(f"“{self.name}” lasts {exact_text(self.duration)}, so no clip can start at {start:g} s.")
        samples = self._decode(first, count, self.heard)
        notices, mark = list(self.notices), self.mark
        if count < self.length:
            heard = f"{exact_text(first / self.rate)} to {exact_text((first + count) / self.rate)}"
            notices.append(Notice(codes.CROPPED, f"Only {heard} of {exact_text(self.duration)} is heard."))
        if _is_silent(samples) and not any(notice.code == codes.SILENT for notice in notices):
            mix = None
            if self.channels > 1 and self.heard == ChannelChoice(channel_rules.AUTO):
                mix = self._decode(first, count, replace(self.heard, mix=True))
            if mix is not None and not _is_silent(mix):
                samples, mark = mix, f"{mark} mix".strip()
                said = "In this part the first channel is silent, so the mix of the channels is heard."
                notices.append(Notice(codes.MIX, said))
            else:
                notices.append(Notice(codes.SILENT_PART, "The part that is heard is silent."))
        named = f"{self.sha256} {first} {count}" + (f" {mark}" if mark else "")
        key = sha256_of(named)
        return Clip(samples, self.rate, first / self.rate, self.name, key, tuple(notices))

    def _decode(self, first: int, count: int, heard: ChannelChoice) -> np.ndarray:
        """Samples ``first`` to ``first + count`` of what is ``heard``, (count,) float32.

        Container seeking lands on frames that differ by format and is off by thousands of samples for some. Reading
        packets without decoding them costs about 0.5 s per two hours, so that is what is done: packets up to a
        checkpoint before the clip are passed over, and decoding starts there. Where the frames do not meet their
        checkpoints, as may be in a damaged file, everything from the start is decoded instead.
        """
        begin = first - round(PREROLL_SECONDS * self.rate)
        before = sum(point.position <= begin for point in self._checkpoints)  # they are in order
        if before > 1:
            samples = self._decode_from(before - 1, first, count, heard)
            if samples is not None:
                return samples
        samples = self._decode_from(0, first, count, heard)
        if samples is None:
            raise AudioError(f"“{self.name}” is damaged: it does not decode twice to the same sound.")
        return samples

    def _decode_from(self, point: int, first: int, count: int, heard: ChannelChoice) -> np.ndarray | None:
        """As ``_decode``, from a given checkpoint on; None where the frames do not meet their checkpoints.

        From 0 on there is nothing to meet: it is what ``open_recording`` did.
        """
        samples = np.zeros(count, dtype=np.float32)
        places = self._checkpoints[point:] if point else ()
        known = {(place.packet, place.pts): place.position for place in places}
        end, met = min(first + count, self.length), False
        with open_sound(self.data, self.name, self.track, self._files) as sound:
            for block in sound.blocks(places):
                if known.get((block.packet, block.pts), block.position) != block.position:
                    return None
                if not met and places and block.position > first:
                    return None
                met = True
                _place(heard.of(block.samples), block.position - first, samples)
                if block.position + block.samples.shape[1] >= end:
                    return samples
        return None


def open_recording(
    source: bytes | str | Path | BinaryIO,
    name: str | None = None,
    channels: str | int = channel_rules.AUTO,
    track: int | None = None,
) -> Recording:
    """Read a sound file, or the sound of a video file: its bytes, its path, or an open file.

    ``channels``: which of them is heard, a rule of `afcore.audio.channels` or a number from 1. ``track``: which of
    several sounds, from 1; None for the one that players take or, where it cannot be decoded, the first that can.

    The whole sound is decoded once to check it and to draw it, a block at a time. Raises AudioError (one sentence)
    where it is empty, larger than ``MAX_BYTES``, not sound, damaged, or holds NaN or infinite samples; BadRequest for a
    track or channel that it does not have.
    """
    if name is None:
        name = Path(str(source if isinstance(source, str | Path) else getattr(source, "name", "sound"))).name
    name = normal(name)[-MAX_NAME:] or "sound"
    data = _read(source, name)
    with open_sound(data, name, track) as sound:
        numbers = [sound.track]
        if track is None:  # then the next, should this one give no sound
            numbers += [one.number for one in sound.tracks if one.codec and one.number != sound.track]
        files = tuple(sound.files)
    for number in numbers[:-1]:
        try:
            return _read_track(data, name, channels, number, files)
        except AudioError:
            continue
    return _read_track(data, name, channels, numbers[-1], files)


def _read_track(data: bytes, name: str, rule: str | int, track: int, files: tuple[tuple[int, int], ...]) -> Recording:
    with open_sound(data, name, track, files) as sound:
        scan = _Scan(sound, name, rule)
        checkpoints: list[Place] = []
        if sound.plain_seconds > MAX_HOURS * 3600:  # hours of such samples are not read in vain
            raise _too_long(name)
        for block in sound.blocks():
            scan.add(block)
            place = block.place
            if place and (not checkpoints or place.position - checkpoints[-1].position >= scan.step):
                checkpoints.append(place)
    if sound.damaged > sound.good + sound.pauses:
        raise AudioError(f"“{name}” is damaged: most of it cannot be decoded.")
    if scan.length == 0 and sound.edited_away:
        raise AudioError(f"“{name}” holds no sound: its edit list leaves nothing of it.")
    if scan.length == 0:
        raise AudioError(f"“{name}” holds no sound: it has a header and no samples.")
    heard, envelope = scan.finish()
    notices = tuple(_notices(scan.length, sound, heard, envelope))
    digest = sha256_of(data)
    return Recording(
        name,
        data,
        digest,
        sound.rate,
        sound.channels,
        scan.length,
        envelope,
        notices,
        tuple(sound.tracks),
        track,
        heard,
        tuple(checkpoints),
        files,
    )


def _too_long(name: str) -> AudioError:
    return AudioError(f"“{name}” lasts longer than {MAX_HOURS:g} hours, the most that can be opened here.")


class _Scan:
    """What one passage over a sound finds out: its length, its outline, how its channels go together."""

    def __init__(self, sound: SoundStream, name: str, rule: str | int):
        self.length = 0
        self._sound, self._name, self._rule = sound, name, rule
        self._stats: ChannelStats | None = None
        self._choices: list[ChannelChoice] = []
        self._builders: list[EnvelopeBuilder] = []

    @property
    def step(self) -> float:
        """Samples between checkpoints."""
        return _CHECKPOINT_SECONDS * self._sound.rate

    def add(self, block: Block) -> None:
        sound, name = self._sound, self._name
        if block.position + block.samples.shape[1] > MAX_HOURS * 3600 * sound.rate:
            raise _too_long(name)
        if not self._choices:
            self._begin()
        if self._stats is not None:
            self._stats.add(block.samples)
        for choice, builder in zip(self._choices, self._builders, strict=True):
            samples = choice.of(block.samples)
            if not np.isfinite(samples).all():
                at = exact_text(block.position / sound.rate)
                raise AudioError(f"“{name}” holds samples that are not numbers (NaN, infinite or beyond 1e38) at {at}.")
            builder.add_silence(block.position - self.length)
            builder.add(samples)
        self.length = block.position + block.samples.shape[1]

    def _begin(self) -> None:
        count, rule = self._sound.channels, self._rule
        if isinstance(rule, int) and rule > count:
            raise BadRequest(f"“{self._name}” has no channel {rule}: it has {count}.")
        fixed = channel_rules.choose(rule, np.zeros((count, count)))
        self._choices = [fixed]
        if rule == channel_rules.AUTO and count > 1:  # which of both it is, is known at the end
            self._choices.append(replace(fixed, mix=True))
            self._stats = ChannelStats(count)
        self._builders = [EnvelopeBuilder() for _ in self._choices]

    def finish(self) -> tuple[ChannelChoice, np.ndarray]:
        """What is heard, and its envelope (n, 2)."""
        if self._stats is None:
            return self._choices[0], self._builders[0].finish()
        heard = channel_rules.choose(self._rule, self._stats.covariance())
        return heard, self._builders[1 if heard.mix else 0].finish()


def from_samples(samples: np.ndarray, rate: int, name: str = "sound") -> Recording:
    """A recording of ``samples`` (T,) or (T, channels), full scale 1.0, at ``rate`` Hz; raises as
    ``open_recording``."""
    file = BytesIO()
    # Float samples: what is outside -1 … 1 survives, and NaN is refused as in a file. Not by soundfile, which writes
    # the time into float files (a PEAK chunk), so that the same samples would not always be the same file.
    with np.errstate(over="ignore"):  # infinite then
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


def read_file(file: str | Path, name: str) -> bytes:
    """The bytes of a sound file. Raises AudioError where it cannot be read, is larger than ``MAX_BYTES``, or is no
    file: a pipe or a device may give bytes for ever, or none, and a folder has none."""
    try:
        found = os.stat(file)
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):  # opening a folder says what it is
            raise AudioError(f"“{name}” is not a file.")
        if found.st_size > MAX_BYTES:
            raise _too_large(name)
        with open(file, "rb") as opened:
            return _at_most(opened, name)
    except OSError as error:
        raise AudioError(f"“{name}” cannot be opened: {error.strerror}.") from error


def _at_most(opened: BinaryIO, name: str) -> bytes:
    """What is in an open file; it may grow while it is read, so its size alone is not believed."""
    data = opened.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise _too_large(name)
    return data


def _too_large(name: str) -> AudioError:
    return AudioError(f"“{name}” is larger than {MAX_BYTES // 2**20} MB, the most that can be opened here.")


def _read(source: bytes | str | Path | BinaryIO, name: str) -> bytes:
    if isinstance(source, str | Path):
        data = read_file(source, name)
    else:
        data = _at_most(BytesIO(source) if isinstance(source, bytes | bytearray | memoryview) else source, name)
    if not data:
        raise AudioError(f"“{name}” is empty.")
    return data


def _notices(length: int, sound: SoundStream, heard: ChannelChoice, envelope: np.ndarray) -> Iterable[Notice]:
    if length < SHORT_SECONDS * sound.rate:
        yield Notice(codes.SHORT, f"The sound is very short ({1000 * length / sound.rate:.3g} ms).")
    least, most = float(envelope[:, 0].min()), float(envelope[:, 1].max())
    silent, peak = most - least <= SILENCE, max(-least, most)
    yield from _about_channels(sound, heard, silent)
    if not silent and peak < QUIET:
        yield Notice(
            codes.QUIET,
            f"The sound is very quiet, at most {20 * np.log10(peak):.0f} dB; the model hears it as if it were loud.",
        )
    if peak > LOUD:
        yield Notice(
            codes.LOUD,
            f"Its samples go up to {peak:.3g} times full scale; the model, and you here, hear them scaled down.",
        )
    if len(sound.tracks) > 1:
        named = "; ".join(f"{track.number}: {track}" for track in sound.tracks)
        yield Notice(
            codes.TRACKS,
            f"The file has {len(sound.tracks)} sound tracks ({named}), of which track {sound.track} is heard.",
        )
    if sound.rate < LOW_RATE:
        above = f"{sound.rate / 2000:g} kHz" if sound.rate >= 2000 else f"{sound.rate / 2:g} Hz"
        own = f"{sound.rate / 1000:g} kHz" if sound.rate >= 1000 else f"{sound.rate} Hz"
        yield Notice(codes.LOW_RATE, f"Its sampling rate of {own} leaves out everything above {above}.")
    if sound.rate > HIGH_RATE:
        yield Notice(
            codes.HIGH_RATE, f"Its sampling rate of {sound.rate / 1000:g} kHz is lowered to what the model hears."
        )
    if len(sound.rates) > 1:
        yield Notice(
            codes.RATE_CHANGES,
            f"Its sampling rate changes on the way; all of it is heard at {sound.rate / 1000:g} kHz.",
        )
    if sound.odd_edits:
        yield Notice(
            codes.EDITS,
            "Its edit list has pauses, other speeds or impossible times in the middle, which are not followed here: "
            "what comes after the first of them may stand at another time.",
        )
    if sound.late > LATE_SECONDS:
        yield Notice(codes.LATE_START, f"Its sound starts at {exact_text(sound.late)}; before that it is silent.")
    if sound.pauses:
        yield Notice(codes.PAUSES, "Pauses that the recorder left out are silence.")
    elif sound.gaps > GAP_SECONDS and not sound.damaged:
        yield Notice(codes.GAPS, f"Sound is missing in places, {exact_text(sound.gaps)} in all; there it is silent.")
    if sound.damaged:
        yield Notice(codes.DAMAGED, "The file is damaged in places, where it is silent.")
    # Damage in the middle, which is said already, may also leave less than there was.
    if sound.promised and length < (0.9 if sound.damaged else 0.99) * sound.promised * sound.rate:
        read = exact_text(length / sound.rate)
        yield Notice(
            codes.CUT_OFF,
            f"The file is damaged or cut off: of its {exact_text(sound.promised)} only {read} can be read.",
        )


def _about_channels(sound: SoundStream, heard: ChannelChoice, silent: bool) -> Iterable[Notice]:
    count = sound.channels
    if count == 1 or (silent and heard.rule == channel_rules.AUTO):
        if silent:
            yield Notice(codes.SILENT, "The sound is silent.")
        return
    if heard.mix:
        mix = f"the mix of its {count} channels is heard."
        yield Notice(codes.MIX, f"{heard.why}, so {mix}" if heard.why else mix.capitalize())
        if silent:
            yield Notice(codes.SILENT, "The mix, which is what is heard, is silent.")
        return
    if heard.number > 1:
        yield Notice(codes.CHANNEL, f"Of its {count} channels only channel {heard.number} is heard.")
    elif count > 2:
        yield Notice(codes.CHANNEL, f"Of its {count} channels only the first is heard.")
    if silent:
        which = "first channel" if heard.number == 1 else f"channel {heard.number}"
        yield Notice(codes.SILENT, f"The {which}, which is the one heard, is silent.")


def _is_silent(samples: np.ndarray) -> bool:
    return float(samples.max()) - float(samples.min()) <= SILENCE


def _place(block: np.ndarray, offset: int, out: np.ndarray) -> None:
    """Copy ``block`` to ``out[offset:]``, as far as it lies within ``out``."""
    begin, end = max(0, offset), min(len(out), offset + len(block))
    if begin < end:
        out[begin:end] = block[begin - offset : end - offset]
