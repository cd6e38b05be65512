"""SHA-256, by which sounds, files and texts are known everywhere here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path


def sha256_of(*parts: bytes | memoryview | str) -> str:
    """64 hex digits of the parts, one after the other; texts as UTF-8."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
    return digest.hexdigest()


def sha256_of_file(file: Path) -> str:
    """64 hex digits of its content, which may be larger than memory. Raises OSError."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


READ_WHOLE = 64 * 2**20
"""Bytes up to which `sha256_of_known` reads a whole file."""
PIECES, PIECE = 64, 2**16


def sha256_of_known(file: Path, whole: int = READ_WHOLE) -> str:
    """64 hex digits by which a file is known: of its content up to ``whole`` bytes; of a larger one (gigabytes of
    published weights) of its size and `PIECES` stretches of `PIECE` bytes, the first of which names every tensor. The
    same on each machine that has a copy. Raises OSError."""
    size = file.stat().st_size
    if size <= whole:
        return sha256_of_file(file)
    pieces = [str(size).encode()]
    with file.open("rb") as opened:
        for number in range(PIECES):
            opened.seek(number * (size - PIECE) // (PIECES - 1))
            pieces.append(opened.read(PIECE))
    return sha256_of(*pieces)


def sha256_of_files(files: Iterable[Path]) -> str:
    """64 hex digits of the contents of several, in this order. Raises OSError."""
    return sha256_of(*(bytes.fromhex(sha256_of_file(file)) for file in files))


def number_of(*names: str) -> int:
    """A number from 0 to 2³² - 1 that the names alone decide: a draw that comes out the same everywhere."""
    return int(sha256_of(" ".join(names))[:8], 16)
