"""Sound files to samples, by PyAV: the one place that knows about containers, packets, codecs and time stamps. A few
formats that FFmpeg does not read come to it by `afcore.audio.rare`.

PyAV's wheels bring FFmpeg's libraries with them, so no system ffmpeg is needed. Files come from strangers: only the
formats listed here are tried and nothing may open a second address, because some of FFmpeg's other formats (playlists,
``concat``) are instructions to read further files or the network.

Time is the file's: 0 s is where a player shows 0:00, which is where the first of the file's tracks begins, pictures
included, and a sample stands where its frame's time stamp says. Where nothing is (a late start, lost packets, pauses
that a recorder left out) there is silence. The rules are those of ``ffmpeg -af aresample=async=1:first_pts=0``.
"""

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from typing import cast

import av
import numpy as np

from afcore.audio import mp3
from afcore.audio.archives import archive_kind
from afcore.audio.joined import MOST, joined_files
from afcore.audio.mp4 import has_odd_edits
from afcore.audio.promised import plain_seconds, promised_seconds
from afcore.audio.rare import AsWav, as_wav, looks_rare
from afcore.errors import AudioError, BadRequest
from afcore.names import normal

FORMATS = (
    "wav w64 aiff au caf flac ogg mp3 aac amr mov mp4 m4a matroska webm avi mpegts mpeg asf flv "
    "ac3 eac3 dts tta wv ape mpc mpc8 tak voc dsf iff rm nut mxf ircam pvf sox nistsphere qcp oma "
    "loas truehd mlp dtshd shn dss gsm codec2 adx aea wtv gxf xwma ilbc qoa"
).split()
MIN_RATE, MAX_RATE = 20, 768_000  # Hz; seismographs and hydrophones for whales give some hundreds
MAX_HOURS = 12.0  # a few hundred MB of FLAC can hold years of silence
MAX_CHANNELS = 64
MAX_TAG = 60  # characters of a track's title or language that are shown

JUMP = 0.1
"""Seconds by which a frame may stand beside the end of the one before without being moved (swresample's
``min_hard_compensation``): many containers round their time stamps, and recorders in browsers take them from a
clock."""
LEAP = 10.0
"""Seconds by which time stamps may go on at once in formats that may restart their clock (``dts_delta_threshold``)."""
_RESTARTING = {"mpegts", "ogg", "mpeg"}
"""Formats whose clock may start again in the middle of a file (``AVFMT_TS_DISCONT``)."""

_UNTAGGED = (b"RIFF", b"RF64", b"FORM", b"OggS")
"""What some programs put the tag of an MP3 file before, all the same; FFmpeg 8 refuses it."""
_BROKEN = (av.FFmpegError, ValueError, IndexError)  # what PyAV raises for damaged files (IndexError: new streams)
_OPTIONS = {
    "format_whitelist": ",".join(FORMATS),
    "protocol_whitelist": "none",
}


@dataclass(frozen=True, eq=False)
class Block:
    """Samples of the file and where they stand, and how to find them again."""

    samples: np.ndarray
    """(C, T) float32, full scale 1.0."""
    position: int
    """Of the first sample, in samples from the file's 0:00."""
    pts: int | None
    """The frame's time stamp in units of the stream's time base."""
    packet: int
    """How many packets of the stream were handed to the decoder before the one that gave this frame."""
    place: "Place | None"
    """By which it is found again; None where decoding cannot start in the middle."""


@dataclass(frozen=True)
class Place:
    """After ``packet`` packets comes the frame with time stamp ``pts``; its first sample is sample ``position`` of the
    file, whose clock was put forward by ``shift`` s before it."""

    packet: int
    pts: int | None
    position: int
    shift: Fraction = Fraction(0)


@dataclass(frozen=True)
class Track:
    """One of a file's sounds."""

    number: int
    """From 1, among its sounds."""
    codec: str
    """'' for one that cannot be decoded here."""
    channels: int = 0
    language: str = ""
    title: str = ""

    def __str__(self) -> str:
        parts = [self.title, self.language, self.codec or "cannot be decoded here"]
        if self.channels:
            parts.append({1: "mono", 2: "stereo"}.get(self.channels, f"{self.channels} channels"))
        return ", ".join(part for part in parts if part)


class SoundStream:
    """The sound of an opened file: ``rate`` (Hz) and ``channels``, and its samples in order by ``blocks``.

    ``track``: which of several, from 1; None for the one that players take, or the first that can be decoded.
    ``further``: files that were joined to the first one, whose sound follows it. ``files``: where each of all stands,
    in bytes.
    """

    def __init__(
        self,
        data: bytes,
        container: av.container.InputContainer,
        name: str,
        track: int | None = None,
        files: Sequence[tuple[int, int]] = (),
        further: Sequence[memoryview] = (),
    ):
        self.files = files
        self._container, self._name, self._further = container, name, further
        self.tracks = [_track(number, stream) for number, stream in enumerate(container.streams.audio, 1)]
        self.track = self._chosen(track)
        stream = _on_one_thread(container.streams.audio[self.track - 1])
        self._stream = stream
        self._speech = stream.codec_context.name.startswith("amr")
        self.rate = 0
        self.channels = 0
        self.good = self.damaged = self.pauses = 0  # packets so far
        self.late = 0.0  # seconds before the first sample
        self.gaps = 0.0  # seconds of silence put in since
        self.rates: set[int] = set()  # Hz, of its frames
        self._caf = container.format.name == "caf"
        self.restarts = bool(_RESTARTING & set(container.format.name.split(",")))
        self.unit = stream.time_base
        self.zero = _zero(container)
        self.promised = promised_seconds(data, container, stream)
        self.plain_seconds = plain_seconds(data, stream)
        edited = "mov" in container.format.name and b"elst" in data
        self.edited_away = edited and stream.frames > 0
        self.odd_edits = edited and has_odd_edits(data)

    def _chosen(self, track: int | None) -> int:
        name, tracks = self._name, self.tracks
        if not tracks:
            kind = "video" if self._container.streams.video else "file"
            raise AudioError(f"“{name}” is a {kind} without sound.")
        if track is not None:
            if not 1 <= track <= len(tracks):
                raise BadRequest(f"“{name}” has no sound track {track}: it has {len(tracks)}.")
            if not tracks[track - 1].codec:
                raise AudioError(f"Track {track} of “{name}” is encoded in a way that cannot be decoded here.")
            return track
        best = self._container.streams.best("audio")
        order = sorted(tracks, key=lambda one: self._container.streams.audio[one.number - 1] is not best)
        for one in order:
            if one.codec:
                return one.number
        raise AudioError(f"“{name}” is encoded in a way that cannot be decoded here.")

    def blocks(self, places: Sequence[Place] = ()) -> Iterator[Block]:
        """Decode; with ``places``, in order, the packets before the first of them are left unread by the decoder, and
        blocks come from the first frame on that meets one.

        A packet that cannot be decoded is counted in ``damaged`` and leaves silence of its length; one in which a
        recorder for speech says that there is a pause is counted in ``pauses``.
        """
        clock = _Clock(self, places)
        skip = places[0].packet if places else 0
        ordinal = -1
        for packet in self._packets(clock):
            ordinal += 1
            if ordinal < skip and packet.size:
                continue
            most: int | None = None
            if self._caf and _ends_in_padding(packet):
                # Its length is without the padding already, and many encoders write a shorter packet: FFmpeg would
                # throw as many samples away once more.
                most, packet = packet.duration, _whole(packet)
            try:
                frames = packet.decode()
            except _BROKEN:
                pause = self._speech and packet.size > 0 and bytes(packet)[0] >> 3 & 15 >= 8
                if pause:
                    self.pauses += 1
                else:
                    self.damaged += 1
                clock.lost(packet, pause)
                continue
            for frame in frames:
                assert isinstance(frame, av.AudioFrame), "a stream of sound decodes to sound"
                if self._fits(frame):
                    yield from clock.placed(frame, ordinal, most)
            self.good += 1
        yield from clock.end(ordinal)

    def _packets(self, clock: "_Clock") -> "Iterator[av.Packet[av.AudioStream]]":
        """The stream's packets, then those of the files that were joined to it, each with a decoder of its own."""
        yield from self._packets_of(self._container, self._stream)
        for data in map(bytes, self._further):
            try:
                container = _opened(data, self._container.format.name.split(",")[0])
            except _BROKEN:
                self.damaged += 1
                continue
            with container:
                streams = container.streams.audio
                stream = streams[min(self.track, len(streams)) - 1] if streams else None
                clock.joint(_zero(container))
                if stream is None or stream.codec_context is None:
                    clock.silent(Fraction(container.duration or 0, av.time_base))
                    continue
                promised = promised_seconds(data, container, stream)
                self.promised = self.promised + promised if self.promised and promised else None
                yield from self._packets_of(container, _on_one_thread(stream))

    def _packets_of(
        self, container: av.container.InputContainer, stream: av.AudioStream
    ) -> "Iterator[av.Packet[av.AudioStream]]":
        packets = container.demux(stream)
        padding: list[av.Packet[av.AudioStream]] = []
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except _BROKEN:
                self.damaged += 1  # the container itself breaks off: what came before it counts
                break
            if container.format.name == "mp3" and _ends_in_padding(packet):
                padding.append(packet)
                continue
            if packet.size:  # the sound goes on, so that was none
                padding = list(map(_whole, padding))
            yield from padding
            padding.clear()
            yield packet
        yield from padding

    def _fits(self, frame: av.AudioFrame) -> bool:
        """Whether the frame holds sound; the first one sets the rate (headers may name another)."""
        if frame.samples == 0 or not frame.layout.nb_channels:
            return False
        rate = frame.sample_rate
        if not MIN_RATE <= rate <= MAX_RATE:
            if not self.rate:
                raise AudioError(
                    f"“{self._name}” gives a sampling rate of {rate} Hz; from {MIN_RATE} Hz to {MAX_RATE // 1000} kHz "
                    "can be opened here."
                )
            self.damaged += 1
            return False
        if frame.layout.nb_channels > MAX_CHANNELS:
            raise AudioError(f"“{self._name}” has more than {MAX_CHANNELS} channels, the most that can be opened here.")
        if not self.rate:
            self.rate, self.channels = rate, frame.layout.nb_channels
        self.rates.add(rate)
        return True


class _Clock:
    """Gives every frame of a stream its place."""

    def __init__(self, sound: SoundStream, places: Sequence[Place]):
        self._sound = sound
        self._known = {(place.packet, place.pts): place for place in places}
        self._next: int | None = None  # where the next sample stands if it follows the last one
        self._shift = Fraction(0)
        self._lost = Fraction(0)  # seconds of packets that gave nothing since the last frame
        self._paused = Fraction(0)  # those of them at the end that said so
        self._packet = -1  # of the last block
        self._resampler: av.AudioResampler | None = None
        self._resampled = 0  # Hz that it takes
        self._plain = True  # no rate but the first so far

    def lost(self, packet: "av.Packet[av.AudioStream]", pause: bool) -> None:
        """A packet gave no frames."""
        if packet.duration and packet.time_base:
            seconds = packet.duration * packet.time_base
            self.silent(seconds)
            self._paused = self._paused + seconds if pause else Fraction(0)

    def silent(self, seconds: Fraction) -> None:
        """For so long there is no sound."""
        self._lost += seconds

    def joint(self, zero: Fraction) -> None:
        """Another file begins, whose sound follows what came by now; ``zero``: its 0:00, in s."""
        rate = self._sound.rate
        self._shift = self._sound.zero - zero + (Fraction(self._next or 0, rate) + self._lost if rate else 0)
        self._lost = Fraction(0)

    def placed(self, frame: av.AudioFrame, packet: int, most: int | None = None) -> Iterator[Block]:
        """The frame's samples, the first ``most`` of them, at the sound's rate, with their place."""
        if self._next is None and self._known:
            place = self._known.get((packet, frame.pts))
            if place is None:
                return  # the decoder is warming up
            self._next, self._shift, self._lost = place.position, place.shift, Fraction(0)
            start = place.position
        else:
            start = self._start_of(frame)
        rate, pts = frame.sample_rate, frame.pts
        if self._resampler is not None and (self._resampled != rate or start != self._next):
            gap = start - (self._next or 0)
            yield from self._rest(packet)
            start = (self._next or 0) + max(0, gap)
        if rate == self._sound.rate:
            yield from self._block(all_channels(frame)[:, :most], start, pts, packet)
            return
        self._plain = False
        if self._resampler is None:
            self._resampler = av.AudioResampler(format="fltp", rate=self._sound.rate)
            self._resampled, self._next = rate, start
        frame.pts = None
        for part in self._resampler.resample(frame):
            yield from self._block(all_channels(part), self._next or 0, None, packet)

    def end(self, packet: int) -> Iterator[Block]:
        """What is left at the end of the stream."""
        yield from self._rest(packet)
        if self._paused and self._next is not None:
            silence = np.zeros((self._sound.channels, round(self._paused * self._sound.rate)), np.float32)
            yield from self._block(silence, self._next, None, packet)

    def _rest(self, packet: int) -> Iterator[Block]:
        """What the resampler still holds."""
        if self._resampler is None:
            return
        resampler, self._resampler = self._resampler, None
        for part in resampler.resample(None):
            yield from self._block(all_channels(part), self._next or 0, None, packet)

    def _block(self, samples: np.ndarray, start: int, pts: int | None, packet: int) -> Iterator[Block]:
        findable = self._plain and start >= 0 and packet != self._packet
        place = Place(packet, pts, start, self._shift) if findable else None
        self._packet = packet
        if start < 0:
            samples, start = samples[:, -start:], 0
        self._next = start + samples.shape[1]
        if samples.shape[1]:
            yield Block(samples, start, pts, packet, place)

    def _start_of(self, frame: av.AudioFrame) -> int:
        """Where the first sample of the frame stands, at the sound's rate."""
        sound, follows = self._sound, self._next
        lost, self._lost, self._paused = self._lost, Fraction(0), Fraction(0)
        unit = frame.time_base or sound.unit
        if frame.pts is None or not unit:
            return (follows or 0) + round(lost * sound.rate)
        if follows is not None and not lost:  # as nearly always: no need of exact fractions
            beside = frame.pts * float(unit) - float(sound.zero) + float(self._shift) - follows / sound.rate
            if abs(beside) < 0.9 * JUMP:
                return follows
        at = frame.pts * unit - sound.zero + self._shift
        if follows is None:
            sound.late = max(0.0, float(at))
            return round(at * sound.rate)
        gap = at - Fraction(follows, sound.rate)
        if sound.restarts and (gap > LEAP + lost or gap < -JUMP):
            self._shift += lost - gap
            gap = lost
        elif gap <= JUMP and not lost:  # also backwards: nothing is thrown away, the sound goes on where it is
            gap = Fraction(0)
        gap = max(gap, Fraction(0))
        sound.gaps += float(gap)
        return follows + round(gap * sound.rate)


@contextmanager
def open_sound(
    data: bytes, name: str, track: int | None = None, files: Sequence[tuple[int, int]] = ()
) -> Iterator[SoundStream]:
    """Open the sound of a file that is in memory; raises AudioError where there is none that can be read, BadRequest
    for a ``track`` that it does not have. ``files``: those that it is joined of, where a `SoundStream` has told
    them."""
    if kind := archive_kind(data):
        raise AudioError(f"“{name}” is no sound but packed files ({kind}): unpack it first.")
    tag = mp3.tag_length(data, 0)
    if data[tag : tag + 4] in _UNTAGGED:
        data = data[tag:]
    view = memoryview(data)
    files = files or joined_files(data)
    first, *further = [view[start:end] for start, end in files]
    if len(further) >= MOST:  # the first is one more
        raise AudioError(f"“{name}” is joined of more than {MOST} files, the most that can be opened here.")
    try:
        if further:
            data = bytes(first)
        container = _opened(data)
    except _BROKEN as error:
        raise AudioError(f"“{name}” is not a sound file that can be read, or it is damaged.") from error
    with container:
        yield SoundStream(data, container, name, track, files, further)


def _opened(data: bytes, kind: str | None = None) -> av.container.InputContainer:
    """``kind``: the format that it is of, where that is known."""
    wav = as_wav(data) if looks_rare(data) else None
    if wav is None:
        try:
            return _by_ffmpeg(BytesIO(data), kind)
        except _BROKEN:
            wav = as_wav(data)  # some of those formats begin with no mark
            if wav is None:
                raise
    return _by_ffmpeg(wav, "wav")


def _by_ffmpeg(file: BytesIO | AsWav, kind: str | None) -> av.container.InputContainer:
    # Tags in a wrong encoding are no reason to refuse the sound.
    return av.open(file, mode="r", format=kind, metadata_errors="ignore", options=_OPTIONS)


def _on_one_thread(stream: av.AudioStream) -> av.AudioStream:
    """The same samples in the same frames every time, and no thread left waiting after a bad packet."""
    stream.codec_context.thread_type, stream.codec_context.thread_count = "NONE", 1
    return stream


def _ends_in_padding(packet: "av.Packet[av.AudioStream]") -> bool:
    """Whether the table at the beginning of an MP3 file, which counts its frames, says that the sound ends in this
    packet, so that samples of it are thrown away."""
    if not packet.has_sidedata("skip_samples"):
        return False
    _, at_end = struct.unpack_from("<II", bytes(packet.get_sidedata("skip_samples")))
    return bool(at_end)


def _whole(packet: "av.Packet[av.AudioStream]") -> "av.Packet[av.AudioStream]":
    """The packet without word of samples to throw away."""
    whole = cast("av.Packet[av.AudioStream]", av.Packet(bytes(packet)))
    whole.stream, whole.time_base = packet.stream, packet.time_base
    whole.pts, whole.dts, whole.duration = packet.pts, packet.dts, packet.duration
    return whole


def _zero(container: av.container.InputContainer) -> Fraction:
    """The file's 0:00, in s: below it stands only what a decoder needs beforehand and no player plays."""
    start = Fraction(container.start_time or 0, av.time_base)
    if start < 0 and container.format.name in ("mpegts", "mpeg"):
        return start  # what comes before a clock of 33 bits starts again
    return max(start, Fraction(0))


def _track(number: int, stream: av.AudioStream) -> Track:
    context, tags = stream.codec_context, stream.metadata
    language, title = (normal(tags.get(name, ""))[:MAX_TAG] for name in ("language", "title"))
    if context is None:
        return Track(number, "", 0, language, title)
    return Track(number, context.name, context.channels or 0, "" if language == "und" else language, title)


def all_channels(frame: av.AudioFrame) -> np.ndarray:
    """The samples of a frame as (C, T) float32, full scale 1.0."""
    channels = frame.layout.nb_channels
    if frame.format.is_planar and channels >= 8:
        # PyAV 18 looks for the end of the list of planes past its end, where eight or more are in use: interleaved
        # samples are one plane.
        (frame,) = av.AudioResampler(format=frame.format.packed.name).resample(frame)
    values = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, channels).T
    if values.dtype == np.uint8:
        return (values.astype(np.float32) - 128) / 128
    if values.dtype.kind == "i":
        return values.astype(np.float32) * np.float32(2.0 ** (1 - 8 * values.itemsize))
    with np.errstate(over="ignore"):  # infinite then, which is refused as such
        return values.astype(np.float32)
