"""What FFmpeg does not look for in MP3: where in it another file begins, and how many bytes a table counts.

The first frame of most MP3 files holds no sound but a table, by which a player knows what to throw away at both ends.
"""

from __future__ import annotations

import heapq
import itertools
import struct
from collections.abc import Iterator

TABLES = (b"Xing", b"Info", b"VBRI")
"""What begins a table."""
_RATES = (44_100, 48_000, 32_000)  # Hz, of MPEG 1; 2 has half, 2.5 a quarter
_KBITS = {  # a second, by the number in the header
    True: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_TAG_HEAD = 10  # bytes
_MOST_TABLES, _MOST_TAGS = 50_000, 100  # that are looked at: places where the letters stand, in all and before a table


def begins(data: bytes) -> bool:
    """Whether ``data`` begins as an MP3 file does: with a tag, or with a frame."""
    return tag_length(data, 0) > 0 or _frame_length(data, 0) > 0


def tag_length(data: bytes, at: int) -> int:
    """Bytes of the ID3v2 tag that begins at ``at``; 0 where none does."""
    head = data[at : at + _TAG_HEAD]
    if head[:3] != b"ID3" or len(head) < _TAG_HEAD or max(head[6:]) > 127:
        return 0
    size = sum(byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
    return _TAG_HEAD + size + (_TAG_HEAD if head[5] & 16 else 0)  # some are closed by a foot


def further_files(data: bytes) -> Iterator[int]:
    """Where in the MP3 file ``data`` further ones begin, by their tables; with the tag before the table, if there is
    one."""
    first = tag_length(data, 0)
    end = first + _frame_length(data, first)
    places = heapq.merge(*(_places(data, name, end) for name in TABLES))
    for found in itertools.islice(places, _MOST_TABLES):
        start = _table_frame(data, found)
        if start is None or start < end:
            continue
        yield _tagged(data, end, start)
        end = start + _frame_length(data, start)


def _tagged(data: bytes, least: int, start: int) -> int:
    """Where the tag begins that ends at ``start``, at ``least`` or later; ``start`` where there is none."""
    tag = start
    for _ in range(_MOST_TAGS):  # a picture in the tag may hold the same letters
        tag = data.rfind(b"ID3", least, tag)
        if tag < 0:
            break
        if tag + tag_length(data, tag) == start:
            return tag
    return start


def _places(data: bytes, name: bytes, at: int) -> Iterator[int]:
    while (at := data.find(name, at)) >= 0:
        yield at
        at += 1


def _table_frame(data: bytes, table: int) -> int | None:
    """Where the frame begins whose table is at ``table``; None where that is none, or no frame follows it."""
    distances = (36,) if data[table : table + 4] == b"VBRI" else (36, 21, 13)
    for start in (table - distance for distance in distances):
        length = _frame_length(data, start)
        if not length or not _frame_length(data, start + length):
            continue
        mpeg1, mono = data[start + 1] & 8, data[start + 3] >> 6 == 3
        usual = 4 + ((17 if mono else 32) if mpeg1 else (9 if mono else 17))
        # The frame after it is of the same kind, if it is one.
        alike = data[start + 1] | 1 == data[start + length + 1] | 1
        if alike and (usual == table - start or len(distances) == 1):
            return start
    return None


def _frame_length(data: bytes, at: int) -> int:
    """Bytes of the frame of layer III that begins at ``at``; 0 where none does."""
    if at < 0 or at + 4 > len(data) or data[at] != 0xFF or data[at + 1] & 0xE6 != 0xE2:
        return 0
    version, bits, rate = data[at + 1] >> 3 & 3, data[at + 2] >> 4, data[at + 2] >> 2 & 3
    if version == 1 or rate == 3 or bits in (0, 15):
        return 0
    mpeg1 = version == 3
    hz = _RATES[rate] // {3: 1, 2: 2, 0: 4}[version]
    return (144 if mpeg1 else 72) * 1000 * _KBITS[mpeg1][bits - 1] // hz + (data[at + 2] >> 1 & 1)


def table_counts_more(data: bytes) -> bool:
    """Whether the file has a table that may be right in saying that there were more frames: one that counts no fewer
    bytes than are here, or none."""
    start = tag_length(data, 0)
    head = data[start : start + 2048]
    at = max(map(head.find, TABLES))
    if at < 0 or at + 16 > len(head):
        return False
    if head[at : at + 4] == b"VBRI":
        (size,) = struct.unpack_from(">I", head, at + 10)
    else:  # frames and bytes, where the flags say that they are there
        (flags,) = struct.unpack_from(">I", head, at + 4)
        size = struct.unpack_from(">I", head, at + (12 if flags & 1 else 8))[0] if flags & 2 else 0
    return not size or len(data) - start < size < 0xFFFFFFFF
