"""Which weights a model answers with, so that probabilities of two versions never stand side by side."""

from __future__ import annotations

from pathlib import Path

from afcore import paths
from afcore.engine import own_models
from afcore.errors import MissingPart
from afcore.hashing import sha256_of, sha256_of_known
from afcore.published.folders import home

NO_WEIGHTS = {"failures.json", "example-answers.json"}
"""Files beside the weights that change no answer."""


def weights_of(name: str) -> str:
    """12 hex digits that change with the weights and the calibration of the model ``name``, as they are on the disk; ''
    for one that has no files."""
    files = [
        file
        for file in sorted(folder_of(name).glob("*"))
        if file.suffix in (".json", ".safetensors") and file.name not in NO_WEIGHTS
    ]
    parts = (f"{file.name}\0".encode() + bytes.fromhex(sha256_of_known(file)) for file in files)
    return sha256_of(*parts)[:12] if files else ""


def check_same(name: str, weights: str, machine: str) -> None:
    """Raises MissingPart where this machine, called ``machine``, has none or others than ``weights`` of the model
    ``name``."""
    if (own := weights_of(name)) != weights:
        what = f"other weights of {name} than this one" if own else f"no weights of {name}"
        raise MissingPart(f"{machine} has {what}: bring its {folder_of(name)} up to date.")


def folder_of(name: str) -> Path:
    """Where the files of the model ``name`` lie."""
    if name == "mini":
        return paths.MINI
    return own_models.find(name) or home() / name
