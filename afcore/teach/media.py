"""Sounds on the disk by the hash of their content.

A sound is written under another name, forced to the disk and only then given its own: what stands under a hash is
whole, at whatever moment the process or the machine stops.
"""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from afcore.errors import BadRequest
from afcore.retrieval.bank import SOUNDS
from afcore.teach.schema import storage

_PARTIAL = ".partial-"
_ABANDONED = 3600.0  # seconds after which a file under such a name is nobody's


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
