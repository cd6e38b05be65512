"""Sounds on the disk by the hash of their content.

A sound is written under another name, forced to the disk and only then given its own: what stands under a hash is
whole, at whatever moment the process or the machine stops.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from afcore.errors import BadRequest
from afcore.hashing import sha256_of
from afcore.names import Found, files_in
from afcore.teach.schema import storage

_PARTIAL = ".partial-"
_ABANDONED = 3600.0  # seconds after which a file under such a name is nobody's


def sound_file(folder: Path, sha256: str) -> Path:
    """Where the sound with that hash is, or would be."""
    return folder / "audio" / sha256[:2] / sha256


def keep_sound(folder: Path, data: bytes) -> str:
    """Puts a sound file's bytes on the disk and returns their hash; raises NoSpace, and then nothing is left behind."""
    sha256 = sha256_of(data)
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


def files_in_folder(folder: Path, wanted: Callable[[Path], bool] = lambda path: True) -> Found:
    """The files in a folder and the folders in it, but hidden ones, and why others are left out; ``wanted`` is asked
    of resolved paths, and what it does not want is not mentioned.

    What is a sound shows when it is opened, not by its name. Raises BadRequest where there is no folder, or no file.
    """
    if not folder.is_dir():
        raise BadRequest(f"There is no folder {folder}.")
    found = files_in(folder)
    files = {name: file for name, file in found.files.items() if wanted(file.resolve())}
    if not files:
        raise BadRequest(f"There are no sounds in {folder}.")
    return Found(files, found.left_out)
