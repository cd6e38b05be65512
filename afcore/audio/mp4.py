"""What the boxes of an MP4 or MOV file say that FFmpeg does not: whether the file is whole, and whether its edit lists
ask for more than FFmpeg does."""

import struct
from collections.abc import Iterator

_MOST_EDITS = 10_000  # that are looked at


def has_whole_boxes(data: bytes) -> bool:
    """Whether no part of the file says that it goes on after the file's end."""
    return all(end <= len(data) for _, _, end in _boxes(data, 0, len(data)))


def has_odd_edits(data: bytes) -> bool:
    """Whether the edit list of a sound has what FFmpeg does otherwise than it says: pauses after the first edit,
    stretches at another speed than its own, and times before the beginning."""
    return any(
        name == b"trak" and b"soun" in data[start:end] and any(map(_is_odd, *_edits(data, start, end)))
        for name, start, end in _within(data, [b"moov"], 0, len(data))
    )


def _is_odd(number: int, time: int, rate: int) -> bool:
    """Of an edit: its number from 0, where it begins in the sound, -1 for a pause, and its speed in 1/65,536."""
    return rate != 1 << 16 or time < -1 or (time == -1 and number > 0)


def _edits(data: bytes, start: int, end: int) -> tuple[range, list[int], list[int]]:
    """Numbers, times and speeds of the edits of the track in ``data[start:end]``."""
    for name, at, stop in _within(data, [b"edts"], start, end):
        stop = min(stop, len(data))
        if name == b"elst" and at + 8 <= stop:
            form = struct.Struct(">Qqi" if data[at] == 1 else ">Iii")
            count = min(struct.unpack_from(">I", data, at + 4)[0], (stop - at - 8) // form.size, _MOST_EDITS)
            found = [form.unpack_from(data, at + 8 + i * form.size) for i in range(count)]
            return range(count), [time for _, time, _ in found], [rate for _, _, rate in found]
    return range(0), [], []


def _within(data: bytes, path: list[bytes], start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The boxes in the boxes with the names ``path``, one in the other."""
    for name, at, stop in _boxes(data, start, min(end, len(data))):
        if not path:
            yield name, at, stop
        elif name == path[0]:
            yield from _within(data, path[1:], at, stop)


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, begin of the content and end, in bytes, of each box in ``data[at:end]``; the last may end later."""
    while at + 8 <= end:
        size, name = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1 and at + 16 <= end:
            (size,), head = struct.unpack_from(">Q", data, at + 8), 16
        if size == 0:
            size = end - at
        if size < head:
            return
        yield name, at + head, at + size
        at += size
