"""Reading the files that PyTorch wrote, without running anything that they may carry."""

from __future__ import annotations

import pickle
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from afcore.checkpoints import Broken, CheckpointError
from afcore.errors import MissingPart

ZIP = b"PK\x03\x04"  # how the files that torch.save writes since 2020 begin
PICKLE = b"\x80"  # and how those before that begin
PART = re.compile(r"^(?P<stem>.+)_part(?P<number>\d+)(?P<suffix>\.pt)$")
PARTS = 5  # the published models also come in so many


def read_torch(path: str | Path) -> dict:
    """The dict in a file of `torch.save`, its tensors memory-mapped (copied where an old file cannot be),
    with `weights_only=True`. Raises CheckpointError where the file is missing, broken or something else."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(4)
        zipped = start == ZIP
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except FileNotFoundError:
        raise CheckpointError(f"There is no file {path.name} in {path.parent}.") from None
    except pickle.UnpicklingError as error:
        if "Weights only" in str(error) and (zipped or start.startswith(PICKLE)):
            raise CheckpointError(f"{path.name} carries more than weights, or is broken; it was not opened.") from error
        raise Broken(_broken(path)) from error
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, OSError, AttributeError, ImportError) as error:
        raise Broken(_broken(path)) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path.name} is no checkpoint: it holds no named tensors.")
    return content


def _broken(path: Path) -> str:
    return f"{path.name} is broken, incomplete or no PyTorch file; fetch it again."


def state_dict_in(path: str | Path) -> dict[str, Tensor]:
    """The named tensors of a checkpoint: its `model_state_dict`, or the file itself where it is one."""
    content = read_torch(path)
    state = content.get("model_state_dict", content)
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{Path(path).name} is no checkpoint of a model: it has no “model_state_dict”.")
    return dict(state)


def parts_of(path: str | Path) -> list[Path]:
    """All parts of the checkpoint that `path` is a part of, in order; [path] for a whole file.
    Raises CheckpointError naming a part that is missing."""
    path = Path(path)
    match = PART.match(path.name)
    if match is None:
        return [path]
    parts = [path.with_name(f"{match['stem']}_part{n}{match['suffix']}") for n in range(1, PARTS + 1)]
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        raise CheckpointError(f"{', '.join(missing)} of {PARTS} parts missing in {path.parent}.")
    return parts


@contextmanager
def open_checkpoint(path: str | Path, scratch: Path) -> Iterator[dict[str, Tensor]]:
    """The tensors of a checkpoint, one file or its five parts (any of them named), memory-mapped.

    Parts may each be a checkpoint with some of the tensors, or slices of one file's bytes: those are
    put together in the folder `scratch`, and taken away afterwards.
    Raises CheckpointError for files that are missing, broken or hold a tensor twice.
    """
    parts = parts_of(path)
    if joined := joined_bytes(path):
        require_space(scratch, joined)
        whole = scratch / "joined.pt"
        try:
            with whole.open("wb") as out:
                for part in parts:
                    with part.open("rb") as piece:
                        shutil.copyfileobj(piece, out, 1 << 24)
            yield state_dict_in(whole)
        finally:
            whole.unlink(missing_ok=True)
        return
    state: dict[str, Tensor] = {}
    for part in parts:
        for key, tensor in state_dict_in(part).items():
            if key in state:
                raise CheckpointError(f"{part.name} holds {key}, which another part holds too.")
            state[key] = tensor
    yield state


def joined_bytes(path: str | Path) -> int:
    """Bytes of disk that `open_checkpoint` takes to put the parts of a checkpoint together; 0 where they need not be.
    Raises CheckpointError naming a part that is missing."""
    parts = parts_of(path)
    if len(parts) == 1 or all(_is_zip(part) for part in parts):
        return 0
    return sum(part.stat().st_size for part in parts)


def require_space(folder: Path, needed: int) -> None:
    """Raises MissingPart when the disk of `folder` has less than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise MissingPart(f"This needs {needed / 1e9:.1f} GB of free disk, and {folder} has {free / 1e9:.1f} GB.")


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == ZIP
