"""Weights at a quarter of their size: 8-bit integers with a scale per row, in `safetensors`."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

SCALE = ".scale"
SMALLEST = 4_000  # numbers: what has fewer is kept in half precision


def quantise(weight: Tensor, dtype: torch.dtype = torch.float16) -> tuple[Tensor, Tensor]:
    """(rows, ...) → int8 of the same shape and scale (rows, 1) in ``dtype``, so that each row of weight ≈ row of int8 ·
    its scale."""
    rows = weight.float().flatten(1)
    scale = (rows.abs().amax(1, keepdim=True) / 127).clamp(min=1e-7).to(dtype)
    return (rows / scale.float()).round_().clamp_(-127, 127).to(torch.int8).view(weight.shape), scale


def packed(state: Mapping[str, Tensor], full: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """What is stored for `state`: matrices and kernels as `quantise` gives them, small tensors in half precision;
    integers, and floats whose key contains one of `full`, as they are."""
    stored = {}
    for key, value in state.items():
        value = value.detach()
        if not value.is_floating_point() or any(part in key for part in full):
            stored[key] = value.contiguous()
        elif value.ndim > 1 and value.numel() > SMALLEST:
            stored[key], stored[key + SCALE] = (part.contiguous() for part in quantise(value))
        else:
            stored[key] = value.half().contiguous()
    return stored


def unpacked(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`packed` undone: float32, integers as they were. Reads files without any 8-bit rows too."""
    state = {}
    for key, value in stored.items():
        if key.endswith(SCALE):
            continue
        if key + SCALE in stored:
            state[key] = (value.flatten(1).float() * stored[key + SCALE].float()).view(value.shape)
        else:
            state[key] = value.float() if value.is_floating_point() else value
    return state
