"""A model's weights as they are used, kept in one file: every tensor in its final number format, with all that is
added or derived at loading already in it.

The file is mapped, not copied, so that several processes share one copy, and what is never read takes no memory. It
says what it was made from; one that was made from anything else, or is cut off, is as none. `safetensors` holds numbers
alone: nothing in it is run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

Net = TypeVar("Net", bound=nn.Module)

FORM = "1"
"""Of the file; it changes with what `keep` writes."""


def keep(model: nn.Module, file: Path, made_from: str) -> None:
    """Writes all parameters and buffers of ``model`` to ``file``, whole or not at all. ``made_from``: names all that
    they depend on. Raises OSError where it cannot be written."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    same: dict[str, str] = {}  # name -> the name under which the same tensor is kept
    first: dict[int, str] = {}
    for name, tensor in _tensors(model):
        if (kept := first.setdefault(id(tensor), name)) == name:
            tensors[name] = tensor.detach().contiguous()
        else:
            same[name] = kept
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    try:
        save_file(tensors, partial, {"form": FORM, "made_from": made_from, "same": json.dumps(same)})
        os.replace(partial, file)
    except SafetensorError as error:  # which is what a full disk becomes
        raise OSError(f"{file} cannot be written: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


def filled(make: Callable[[], Net], file: Path, made_from: str) -> Net | None:
    """The model that ``make`` gives, with the tensors of ``file`` in the place of its own, mapped from there; ``make``
    runs on PyTorch's device "meta", so that it allocates nothing. None where there is no such file, or it was not made
    from the same, is cut off, or has not the model's tensors."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as opened:
            facts = opened.metadata() or {}
            if (facts.get("form"), facts.get("made_from")) != (FORM, made_from):
                return None
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  no dict
    except (FileNotFoundError, SafetensorError):
        return None
    for name, kept in json.loads(facts["same"]).items():
        tensors[name] = tensors[kept]
    with torch.device("meta"):
        model = make()
    wanted = {name: tensor.shape for name, tensor in _tensors(model)}
    if wanted != {name: tensor.shape for name, tensor in tensors.items()}:
        return None
    placed: dict[int, nn.Parameter] = {}
    for name, tensor in tensors.items():
        parent, _, own = name.rpartition(".")
        module = model.get_submodule(parent)
        if own in module._parameters:
            module._parameters[own] = placed.setdefault(id(tensor), nn.Parameter(tensor, tensor.is_floating_point()))
        else:
            module._buffers[own] = tensor
    return model


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every parameter and buffer by its name, those too that `state_dict` leaves out, and those that stand in several
    places by each of their names."""
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)
