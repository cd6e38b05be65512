"""Sound files to samples, by PyAV: the one place that knows about containers, packets and codecs.

PyAV's wheels bring FFmpeg's libraries with them, so no system ffmpeg is needed. Files come from strangers: only the
formats listed here are tried and nothing may open a second address, because some of FFmpeg's other formats (playlists,
``concat``) are instructions to read further files or the network.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

import av
import numpy as np

from afcore.errors import AudioError

FORMATS = "wav w64 aiff au caf flac ogg mp3 aac amr mov mp4 m4a matroska webm avi mpegts mpeg asf flv".split()
MIN_RATE, MAX_RATE = 1_000, 768_000  # Hz
MAX_HOURS = 12.0  # a few hundred MB of FLAC can hold years of silence

_BROKEN = (av.FFmpegError, ValueError, IndexError)  # what PyAV raises for damaged files (IndexError: new streams)
_OPTIONS = {
    "format_whitelist": ",".join(FORMATS),
    "protocol_whitelist": "none",
}


@dataclass(frozen=True, eq=False)
class Block:
    """The samples that one decoded frame holds, and how to find them again."""

    samples: np.ndarray  # (T,) float32, first channel
    pts: int | None  # the frame's time stamp in units of the stream's time base
    packet: int  # how many packets of the stream were handed to the decoder before the one that gave this frame


class SoundStream:
    """The sound of an opened file: ``rate`` (Hz) and ``channels``, and its samples in order by ``blocks``."""

    def __init__(self, container: av.container.InputContainer, name: str):
        self._container, self._name = container, name
        self._stream = container.streams.best("audio")
        if self._stream is None:
            kind = "video" if container.streams.video else "file"
            raise AudioError(f"“{name}” is a {kind} without sound.")
        context = self._stream.codec_context
        if context is None:
            raise AudioError(f"“{name}” is encoded in a way that cannot be decoded here.")
        # One thread: the same samples in the same frames every time, and no thread left waiting after a bad packet.
        context.thread_type, context.thread_count = "NONE", 1
        self.rate = 0
        self.channels = 0
        self.good = self.damaged = 0  # packets so far
        # Seconds that the header promises; of the formats here only FLAC's counts its samples whenever it gives a
        # number.
        duration, unit = self._stream.duration, self._stream.time_base
        self.promised = float(duration * unit) if duration and unit and container.format.name == "flac" else None

    def blocks(self, skip_packets: int = 0) -> Iterator[Block]:
        """Decode, leaving the first ``skip_packets`` packets unread by the decoder.

        Packets that cannot be decoded are counted in ``damaged`` and left out, as players do.
        """
        packets = self._container.demux(self._stream)
        ordinal = -1
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except _BROKEN:
                self.damaged += 1  # the container itself breaks off: what came before it counts
                return
            ordinal += 1
            if ordinal < skip_packets and packet.size:
                continue
            try:
                frames = packet.decode()
            except _BROKEN:
                self.damaged += 1
                continue
            for frame in frames:
                assert isinstance(frame, av.AudioFrame), "a stream of sound decodes to sound"
                if self._fits(frame):
                    yield Block(_first_channel(frame), frame.pts, ordinal)
            self.good += 1

    def _fits(self, frame: av.AudioFrame) -> bool:
        """Whether the frame continues the sound; its first frame sets the rate (headers may name another)."""
        if frame.samples == 0:
            return False
        if not self.rate:
            if not MIN_RATE <= frame.sample_rate <= MAX_RATE:
                raise AudioError(f"“{self._name}” gives a sampling rate of {frame.sample_rate} Hz, which no sound has.")
            self.rate, self.channels = frame.sample_rate, frame.layout.nb_channels
        if frame.sample_rate == self.rate:
            return True
        self.damaged += 1
        return False


@contextmanager
def open_sound(data: bytes, name: str) -> Iterator[SoundStream]:
    """Open the sound of a file that is in memory; raises AudioError where there is none that can be read."""
    try:
        # Tags in a wrong encoding are no reason to refuse the sound.
        container = av.open(BytesIO(data), mode="r", metadata_errors="ignore", options=_OPTIONS)
    except _BROKEN as error:
        raise AudioError(f"“{name}” is not a sound file that can be read, or it is damaged.") from error
    with container:
        yield SoundStream(container, name)


def _first_channel(frame: av.AudioFrame) -> np.ndarray:
    """The first channel of a frame as (T,) float32, full scale 1.0; the others are not heard (reference code, and
    mixing down would cancel channels that are out of phase)."""
    channels = frame.layout.nb_channels
    if frame.format.is_planar and channels >= 8:
        # PyAV 18 looks for the end of the list of planes past its end, where eight or more are in use: interleaved
        # samples are one plane.
        (frame,) = av.AudioResampler(format=frame.format.packed.name).resample(frame)
    values = frame.to_ndarray()
    first = values[0] if frame.format.is_planar else values[0, ::channels]
    if first.dtype == np.uint8:
        return (first.astype(np.float32) - 128) / 128
    if first.dtype.kind == "i":
        return (first / np.float64(2 ** (8 * first.itemsize - 1))).astype(np.float32)
    return first.astype(np.float32)
