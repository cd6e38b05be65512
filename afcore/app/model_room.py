"""Whether there is memory for one more model, judged by its files before it is loaded."""

from __future__ import annotations

from collections.abc import Iterable

import psutil

from afcore.engine.loading import PEER
from afcore.published import peer_files, weights

WORK = 500_000_000
"""Bytes that a model takes besides its weights, for what it computes with."""


def needed(name: str) -> int:
    """Bytes of memory that the model ``name`` takes, about: a processor keeps weights at full precision, twice as large
    as their files at half precision."""
    folder = peer_files.folder_of(name) if name.startswith(PEER) else weights.folder_of(name)
    files = sum(file.stat().st_size for file in folder.glob("*.safetensors")) if folder is not None else 0
    return files * (1 if _gpu() else 2) + WORK


def free() -> int:
    """Bytes that are free where models compute."""
    import torch

    return int(torch.cuda.mem_get_info()[0]) if _gpu() else int(psutil.virtual_memory().available)


def fits(name: str, leaving: Iterable[str] = ()) -> bool:
    """Whether there is room for ``name`` once the models ``leaving`` are put away."""
    return needed(name) <= free() + sum(map(needed, leaving))


def _gpu() -> bool:
    import torch

    return torch.cuda.is_available()
