"""Files that were joined end to end (``cat a.webm b.webm``): where each begins.

FFmpeg reads on over the joint of Matroska and WebM files with the decoder and the headers of the first, which cracks
there and turns the rest into noise where it is coded otherwise. Of Ogg files (a chain) it gives up where one is of
another codec or rate. Of MP3 files it throws the encoder's delay and padding away only at the beginning and the end of
all, which leaves some 50 ms of silence at each joint. A format with sizes (MP4, WAV) ends where its header says, and
what comes after it is not heard by any player; ADTS has a header in every frame.
"""

import itertools
from collections.abc import Iterator

from afcore.audio import mp3

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_PAGE, _PAGE_HEAD = b"OggS\0", 27
_LONGEST_HEADER = 1024  # bytes; usual ones have 31 to 43
MOST = 1000
"""Files that one may be joined of."""


def joined_files(data: bytes) -> list[tuple[int, int]]:
    """Begin and end in bytes of each Matroska or Ogg file in ``data``, or of each MP3 file from the second table on;
    one for any other format, and no more than `MOST` + 1."""
    starts = [0]
    if data.startswith(_EBML):
        while len(starts) <= MOST and (start := _next(data, starts[-1])) is not None:
            starts.append(start)
    elif data.startswith(_PAGE):
        starts += itertools.islice(_links(data), MOST)
    elif mp3.begins(data):
        starts += itertools.islice(mp3.further_files(data), MOST)
    return list(zip(starts, [*starts[1:], len(data)], strict=True))


def _links(data: bytes) -> Iterator[int]:
    """Where the links of an Ogg chain begin, after the first: with the first pages of one stream or several."""
    at, before = 0, True
    while (at := data.find(_PAGE, at)) >= 0 and at + _PAGE_HEAD <= len(data):
        begins = bool(data[at + 5] & 2)
        if begins and not before:
            yield at
        before = begins
        parts = data[at + 26]
        at += _PAGE_HEAD + parts + sum(data[at + _PAGE_HEAD : at + _PAGE_HEAD + parts])


def _next(data: bytes, start: int) -> int | None:
    """Where the file after that which begins at ``start`` does."""
    segment = _segment_at(data, start)
    if segment is None:
        return None
    size, content = _number(data, segment + len(_SEGMENT))
    if size is not None:
        return content + size if _segment_at(data, content + size) is not None else None
    # Written as a stream, as browsers do: it ends where the next begins.
    likely = itertools.islice(_found(data, content), MOST)
    return next((at for at in likely if _segment_at(data, at) is not None), None)


def _found(data: bytes, at: int) -> Iterator[int]:
    while (at := data.find(_EBML, at)) >= 0:
        yield at
        at += 1


def _segment_at(data: bytes, start: int) -> int | None:
    """Where the segment begins, in bytes, of a Matroska file that begins at ``start``; None where none does."""
    if data[start : start + 4] != _EBML:
        return None
    size, content = _number(data, start + 4)
    if size is None or size > _LONGEST_HEADER:
        return None
    header, end = data[content : content + size], content + size
    known = b"webm" in header or b"matroska" in header
    return end if known and data[end : end + 4] == _SEGMENT else None


def _number(data: bytes, at: int) -> tuple[int | None, int]:
    """The size that stands at ``at``, None for an unknown one, and where what comes after it begins."""
    first = data[at] if at < len(data) else 0
    length = 9 - first.bit_length()  # bytes
    if length > 8:
        return None, at
    value = int.from_bytes(data[at : at + length], "big") & ((1 << 7 * length) - 1)
    return None if value == (1 << 7 * length) - 1 else value, at + length
