"""How long a sound should be by what its file's header says, where that can be believed: a file that was cut off in a
copy or a download is still heard, and the person is told.

Most headers cannot be believed: of MP3 without a table, AAC, AVI and Ogg the length is guessed from what is there, and
a recorder that was interrupted, or a stream, writes 0 or the greatest number.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import av

from afcore.audio.mp3 import table_counts_more
from afcore.audio.mp4 import has_whole_boxes

_COUNTS = frozenset(("flac", "aiff", "au", "mov", "mp4"))
"""Formats whose header counts what the file holds, whenever it gives a number."""
_OPEN = (0, 0xFFFFFFFF)
"""Sizes of a WAV file that was written as a stream."""
_ALLOWED = 0.01
"""Share of a WAV file's sound that may be missing: many programs count some bytes too many."""


def promised_seconds(data: bytes, container: av.container.InputContainer, stream: av.AudioStream) -> float | None:
    """The length of ``stream`` in the file ``data`` by its header, in seconds; None where that says nothing."""
    kinds = set(container.format.name.split(","))
    if "wav" in kinds:
        return _of_wav(data)
    if "mov" in kinds and b"moof" not in data and has_whole_boxes(data):
        return None  # all is there; by an edit list it may be a little shorter, since packets are taken whole
    if kinds & _COUNTS or ("mp3" in kinds and table_counts_more(data)):
        return float(stream.duration * stream.time_base) if stream.duration and stream.time_base else None
    if "matroska" in kinds and len(container.streams) == 1 and container.duration:
        return container.duration / av.time_base
    return None


def plain_seconds(data: bytes, stream: av.AudioStream) -> float:
    """The length in seconds of samples that are not compressed, before they are read, by the file's header and size,
    whichever gives less; 0 for others."""
    context = stream.codec_context
    if not (context.name.startswith("pcm_") and stream.duration and stream.time_base):
        return 0.0
    # Decoded, samples take as many bytes as in the file or more, so this is never too long.
    rate = (context.format.bytes if context.format else 0) * context.channels * context.sample_rate
    return min(float(stream.duration * stream.time_base), len(data) / rate) if rate else 0.0


def _of_wav(data: bytes) -> float | None:
    rate = 0  # bytes a second
    for name, size, at in _chunks(data):
        if name == b"fmt " and at + 12 <= len(data):
            (rate,) = struct.unpack_from("<I", data, at + 8)
        if name == b"data":
            here = len(data) - at
            missing = size not in _OPEN and rate and size - here > _ALLOWED * size
            return size / rate if missing else None
    return None


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, size in bytes and place of the content of each chunk of a RIFF file."""
    at = 12
    while data[:4] == b"RIFF" and at + 8 <= len(data):
        name, size = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        yield name, size, at + 8
        at += 8 + size + size % 2
