"""Sounds on the disk by the hash of their content, and zips from strangers.

A sound is written under another name, forced to the disk and only then given its own: what stands under a hash is
whole, at whatever moment the process or the machine stops. No name out of a zip is ever used as a path.
"""

from __future__ import annotations

import hashlib
import os
import struct
import time
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from afcore.errors import BadRequest
from afcore.retrieval.bank import SOUNDS
from afcore.teach.schema import storage

MAX_MEMBERS = 20_000
MAX_UNPACKED = 16 * 2**30  # bytes, of all members of one zip together
MAX_DIRECTORY = 4 * 2**20  # bytes of the list of members, which ``zipfile`` reads whole
_PARTIAL = ".partial-"
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, struct.error, NotImplementedError)  # what zipfile raises for it
_ABANDONED = 3600.0  # seconds after which a file under such a name is nobody's

Source = str | Path | bytes | BinaryIO


def sound_file(folder: Path, sha256: str) -> Path:
    """Where the sound with that hash is, or would be."""
    return folder / "audio" / sha256[:2] / sha256


def keep_sound(folder: Path, data: bytes) -> str:
    """Puts a sound file's bytes on the disk and returns their hash; raises NoSpace, and then nothing is left behind."""
    sha256 = hashlib.sha256(data).hexdigest()
    file = sound_file(folder, sha256)
    with storage("this sound"):
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, data)
            flush_folder(file.parent.parent)
    return sha256


def write_whole(file: Path, data: bytes) -> None:
    """All of ``data`` in ``file`` and on the disk, or an OSError and no file."""
    partial = file.parent / f"{_PARTIAL}{uuid.uuid4().hex}"
    try:
        with partial.open("wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        os.replace(partial, file)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    flush_folder(file.parent)


def flush_folder(folder: Path) -> None:
    """Forces a folder's list of names to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep(folder: Path) -> None:
    """Removes what processes that were killed have left half-written."""
    for partial in folder.rglob(f"{_PARTIAL}*"):
        try:
            if abandoned(partial):
                partial.unlink()
        except OSError:  # another process sweeps too
            continue


def abandoned(path: Path) -> bool:
    """Whether nobody has written there for an hour."""
    return time.time() - path.stat().st_mtime > _ABANDONED


# Zips


def sounds_in(folder: Path, wanted: Callable[[Path], bool] = lambda file: True) -> dict[str, Path]:
    """Sound files in a folder and the folders in it, but hidden ones: path within it -> path, in order.

    Raises BadRequest where there is no folder, or in it no sound that is ``wanted``.
    """
    if not folder.is_dir():
        raise BadRequest(f"There is no folder {folder}.")
    files = {
        file.relative_to(folder): file
        for file in sorted(folder.rglob("*"))
        if file.suffix.lower() in SOUNDS and file.is_file() and wanted(file)
    }
    found = {
        name.as_posix(): file for name, file in files.items() if not any(part.startswith(".") for part in name.parts)
    }
    if not found:
        raise BadRequest(f"There are no sounds in {folder}.")
    return found


@contextmanager
def opened_zip(source: Source, name: str = "The zip") -> Iterator[zipfile.ZipFile]:
    """A zip whose directory has a sensible size; raises BadRequest for anything else, also while members are read."""
    file = _as_file(source)
    try:
        _check_directory(file, name)
        file.seek(0)
        with zipfile.ZipFile(file) as opened:
            if len(opened.infolist()) > MAX_MEMBERS:
                raise BadRequest(f"{name} lists more than {MAX_MEMBERS} files, the most that are taken at once.")
            yield opened
    except (*_DAMAGED, UnicodeDecodeError) as error:
        raise BadRequest(f"{name} is damaged or is no zip.") from error
    finally:
        if file is not source:
            file.close()


class Unpacking:
    """Reads members of one zip, each and all together up to a limit, whatever the headers say."""

    def __init__(self, opened: zipfile.ZipFile, name: str, total: int | None = None):
        self._zip, self._name = opened, name
        self._left = MAX_UNPACKED if total is None else total

    def read(self, info: zipfile.ZipInfo, most: int) -> bytes:
        """The member's bytes. Raises BadRequest where they are more than ``most``, encrypted, packed in a rare way or
        damaged; `TooMuch` where the whole zip unpacks to more than may be."""
        shown = shown_name(info.filename)
        if info.flag_bits & 1:
            raise BadRequest(f"“{shown}” is encrypted.")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BadRequest(f"“{shown}” is packed in a way that is not taken here.")
        try:
            with self._zip.open(info) as member:
                data = member.read(min(most, self._left) + 1)
        except (*_DAMAGED, RuntimeError, ValueError) as error:
            raise BadRequest(f"“{shown}” is damaged in the zip.") from error
        self._left -= len(data)
        if self._left < 0:
            raise TooMuch(f"{self._name} unpacks to more than can be taken at once, so the rest of it was left out.")
        if len(data) > most:
            raise BadRequest(f"“{shown}” unpacks to more than {most / 2**20:.3g} MB, the most that is taken.")
        return data


class TooMuch(BadRequest):
    """A zip unpacks to more than is taken."""


def is_unsafe(name: str) -> bool:
    """Whether a member's name points out of its zip: nothing good is packed like that."""
    parts = name.replace("\\", "/").split("/")
    return ".." in parts or name.startswith(("/", "\\")) or ":" in parts[0] or "\0" in name


def shown_name(name: str) -> str:
    """The last part of a path of any system, printable and of sensible length."""
    last = name.replace("\\", "/").rstrip("/").split("/")[-1]
    return "".join(c if c.isprintable() else "?" for c in last)[:200] or "sound"


def _as_file(source: Source) -> BinaryIO:
    if isinstance(source, bytes):
        from io import BytesIO

        return BytesIO(source)
    if isinstance(source, str | Path):
        try:
            return Path(source).open("rb")
        except OSError as error:
            raise BadRequest(f"“{Path(source).name}” cannot be opened: {error.strerror}.") from error
    return source


def _check_directory(file: BinaryIO, name: str) -> None:
    """Refuse, before ``zipfile`` reads it, a directory that may list millions of members.

    The record at the end that ``zipfile`` goes by is found in the same way as there: at the very end, else the last
    place in 64 KiB that looks like one.
    """
    file.seek(0, os.SEEK_END)
    size = file.tell()
    file.seek(max(0, size - 65_557 - 20))
    tail = file.read()
    at = len(tail) - 22 if tail[-22:-18] == b"PK\x05\x06" and tail[-2:] == b"\0\0" else tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < 22:
        raise BadRequest(f"{name} is not a zip.")
    (directory,) = struct.unpack("<L", tail[at + 12 : at + 16])
    locator = tail[at - 20 : at] if at >= 20 else b""
    if locator[:4] == b"PK\x06\x07":  # its true size stands elsewhere (zip64)
        (place,) = struct.unpack("<Q", locator[8:16])
        file.seek(min(place, size))
        record = file.read(56)
        if len(record) < 56 or record[:4] != b"PK\x06\x06":
            raise BadRequest(f"{name} is damaged or is no zip.")
        (directory,) = struct.unpack("<Q", record[40:48])
    if directory > MAX_DIRECTORY:
        raise BadRequest(f"{name} lists more files than can be taken at once.")
