"""Which weights a model answers with, so that probabilities of two versions never stand side by side."""

from __future__ import annotations

import hashlib
from pathlib import Path

from afcore import paths
from afcore.published_paths import home

READ_WHOLE = 64 * 2**20
"""Bytes up to which a file is known by its content; a larger one (gigabytes of published weights) by its size and date."""


def weights_of(name: str) -> str:
    """12 hex digits that change with the weights and the calibration of the model ``name``, as they are on the disk; '' for
    one that has no files."""
    files = [file for file in sorted(_folder(name).glob("*")) if file.suffix in (".json", ".safetensors")]
    digest = hashlib.sha256()
    for file in files:
        facts = file.stat()
        known_by = file.read_bytes() if facts.st_size <= READ_WHOLE else f"{facts.st_size} {facts.st_mtime_ns}".encode()
        digest.update(file.name.encode() + b"\0" + hashlib.sha256(known_by).digest())
    return digest.hexdigest()[:12] if files else ""


def _folder(name: str) -> Path:
    return paths.MINI if name == "mini" else home() / name
