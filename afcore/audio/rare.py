"""Formats that FFmpeg does not read, or reads as something else, and libsndfile does: as a WAV file for FFmpeg.

The WAV file is never whole in memory: it is decoded as it is read.
"""

from __future__ import annotations

import io
import struct

import numpy as np
import soundfile

_BEGIN = (b"2BIT", b" paf", b"fap ", b"\xf0\x7e", b"ALawSoundFile**", b"Extended Instrument: ", b"MATLAB 5.0 MAT-file")
"""How files of `FORMATS` begin, where that tells them."""
FORMATS = frozenset(("AVR", "HTK", "MAT4", "MAT5", "PAF", "SDS", "WVE", "XI"))
"""Of Atari, of HTK, of MATLAB (a variable ``samplerate`` beside the samples), of Ensoniq, a MIDI sample dump, of Psion,
of FastTracker."""
_CODECS = frozenset(("NMS_ADPCM_16", "NMS_ADPCM_24", "NMS_ADPCM_32", "G721_32", "G723_24", "G723_40"))
"""Codecs in WAV and AU that FFmpeg takes for AMR, which gives noise, or decodes with much noise."""
_WAV_TAGS, _AU_TAGS = (0x38, 0x40), (23, 25, 26)
"""The numbers of these codecs there."""
_KINDS = {"PCM_24": "int32", "PCM_32": "int32", "FLOAT": "float32", "DOUBLE": "float32"}  # others have 16 bits at most


def looks_rare(data: bytes) -> bool:
    """Whether ``data`` begins as one of those formats, or holds one of the codecs that FFmpeg gets wrong."""
    if data.startswith(_BEGIN):
        return True
    if data[:4] in (b".snd", b"dns.") and len(data) >= 16:
        return struct.unpack_from(">I" if data[:1] == b"." else "<I", data, 12)[0] in _AU_TAGS
    at = data.find(b"fmt ", 12, 4096) if data[:4] == b"RIFF" else -1
    return 0 <= at <= len(data) - 10 and struct.unpack_from("<H", data, at + 8)[0] in _WAV_TAGS


def as_wav(data: bytes) -> AsWav | None:
    """The sound of ``data`` as an open WAV file; None where it is in none of the formats and codecs above."""
    try:
        sound = soundfile.SoundFile(io.BytesIO(data))
    except (soundfile.LibsndfileError, RuntimeError, ValueError):
        return None
    with sound:
        return AsWav(data, sound) if sound.format in FORMATS or sound.subtype in _CODECS else None


_STEP = 65_536  # frames that are decoded together to get past them


class AsWav(io.RawIOBase):
    """A WAV file of the samples in ``data``, to be read; ``sound``: the same, opened."""

    def __init__(self, data: bytes, sound: soundfile.SoundFile):
        self._data, self._at = data, 0
        self._sound, self._next = soundfile.SoundFile(io.BytesIO(data)), 0  # the frame that it gives next
        self._kind = np.dtype(_KINDS.get(sound.subtype, "int16"))
        self._frame = self._kind.itemsize * sound.channels  # bytes
        size = sound.frames * self._frame
        tag = 3 if self._kind.kind == "f" else 1
        rate, bits = sound.samplerate, 8 * self._kind.itemsize
        form = struct.pack("<HHIIHH", tag, sound.channels, rate, rate * self._frame, self._frame, bits)
        most = 0xFFFFFFFF - 36
        self._head = b"RIFF%bWAVEfmt %b%bdata%b" % (
            struct.pack("<I", min(size, most) + 36),
            struct.pack("<I", len(form)),
            form,
            struct.pack("<I", min(size, most)),
        )
        self._size = len(self._head) + size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence])
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes; all of the header, or whole frames and what is left of the one before."""
        end = self._size if size < 0 else min(self._size, self._at + size)
        if self._at >= end:
            return b""
        if self._at < len(self._head):
            part = self._head[self._at : end]
        else:
            first, skip = divmod(self._at - len(self._head), self._frame)
            count = -(-(end - len(self._head)) // self._frame) - first
            part = self._frames(first, count).tobytes()[skip : skip + end - self._at]
        self._at += len(part)
        return part

    def _frames(self, first: int, count: int) -> np.ndarray:
        """Frames ``first`` to ``first + count``, fewer where the sound ends before; some codecs cannot seek."""
        if first < self._next:
            self._sound.close()
            self._sound, self._next = soundfile.SoundFile(io.BytesIO(self._data)), 0
        try:
            while self._next < first:
                passed = len(self._sound.read(min(_STEP, first - self._next), dtype=self._kind.name))
                self._next += passed
                if not passed:
                    break
            samples: np.ndarray = self._sound.read(count, dtype=self._kind.name)
        except RuntimeError:  # damaged: it ends here
            return np.zeros(0, self._kind)
        self._next += len(samples)
        return samples
