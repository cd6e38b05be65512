"""Which weights a model answers with, so that probabilities of two versions never stand side by side."""

from __future__ import annotations

import hashlib
from pathlib import Path

from afcore import paths
from afcore.published.folders import home

READ_WHOLE = 64 * 2**20
"""Bytes up to which a file is known by its content; of a larger one (gigabytes of published weights) by its size and
`PIECES` stretches of `PIECE` bytes, the first of which names every tensor: the same on each machine that has a copy."""
PIECES, PIECE = 64, 2**16
NO_WEIGHTS = {"failures.json"}
"""Files beside the weights that change no answer."""


def weights_of(name: str) -> str:
    """12 hex digits that change with the weights and the calibration of the model ``name``, as they are on the disk; ''
    for one that has no files."""
    files = [
        file
        for file in sorted(folder_of(name).glob("*"))
        if file.suffix in (".json", ".safetensors") and file.name not in NO_WEIGHTS
    ]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0" + hashlib.sha256(_known_by(file)).digest())
    return digest.hexdigest()[:12] if files else ""


def _known_by(file: Path) -> bytes:
    size = file.stat().st_size
    if size <= READ_WHOLE:
        return file.read_bytes()
    pieces = [str(size).encode()]
    with file.open("rb") as opened:
        for number in range(PIECES):
            opened.seek(number * (size - PIECE) // (PIECES - 1))
            pieces.append(opened.read(PIECE))
    return b"".join(pieces)


def folder_of(name: str) -> Path:
    """Where the files of the model ``name`` lie."""
    return paths.MINI if name == "mini" else home() / name
