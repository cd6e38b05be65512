"""The integers in a GGUF file of a Llama decoder, as `afcore.model.four_bits` multiplies them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from afcore.model.four_bits import GROUP, one_plane, table_rows, two_planes

LINEAR = {
    "attn_q": "q_proj",
    "attn_k": "k_proj",
    "attn_v": "v_proj",
    "attn_output": "o_proj",
    "ffn_gate": "gate_proj",
    "ffn_up": "up_proj",
    "ffn_down": "down_proj",
}
"""Layers by their names in the file, and as transformers has them."""
HEAD = "head"


def packed_layers(file: Path, heads: int, key_heads: int) -> dict[str, Tensor]:
    """``packed``, ``scales`` and ``rows`` of every linear layer, as ``<layer>.<name of LINEAR>.packed``, and the first
    two of the table of the embeddings, as `HEAD`. ``heads``, ``key_heads``: of queries, and of keys and values.

    Raises ValueError for a file of other formats than Q4_1 and, for the table, Q8_0.
    """
    from gguf import GGUFReader

    state: dict[str, Tensor] = {}
    for tensor in GGUFReader(file).tensors:
        parts = tensor.name.split(".")
        if parts[0] == "blk" and parts[2] in LINEAR:
            codes, scale, least = q4_1(tensor)
            if parts[2] in ("attn_q", "attn_k"):
                codes, scale, least = (
                    _halves(part, heads if parts[2] == "attn_q" else key_heads) for part in (codes, scale, least)
                )
            name, pair = f"{parts[1]}.{LINEAR[parts[2]]}", one_plane(codes, scale, least)
            state[f"{name}.rows"] = table_rows(codes, scale, least)
        elif tensor.name == "token_embd.weight":
            name, pair = HEAD, two_planes(*q8_0(tensor))
        else:
            continue
        state[f"{name}.packed"], state[f"{name}.scales"] = pair
    return state


def q4_1(tensor: Any) -> tuple[Tensor, Tensor, Tensor]:
    """A tensor of `gguf` as codes (N, K) uint8, scale and minimum (N, K / 32) float32."""
    raw = _raw(tensor, "Q4_1", 20)
    scale, least = (_halfs(raw[..., start : start + 2]) for start in (0, 2))
    return torch.cat([raw[..., 4:] & 15, raw[..., 4:] >> 4], -1).flatten(1), scale, least


def q8_0(tensor: Any) -> tuple[Tensor, Tensor]:
    """A tensor of `gguf` as codes (N, K) int8 and scale (N, K / 32) float32."""
    raw = _raw(tensor, "Q8_0", 34)
    return raw[..., 2:].contiguous().view(torch.int8).flatten(1), _halfs(raw[..., :2])


def _raw(tensor: Any, kind: str, size: int) -> Tensor:
    """(N, K / 32, bytes of a block)."""
    if tensor.tensor_type.name != kind:
        raise ValueError(f"{tensor.name} is {tensor.tensor_type.name}, not {kind}.")
    columns, rows = (int(length) for length in tensor.shape)
    return torch.from_numpy(np.array(tensor.data)).view(torch.uint8).view(rows, columns // GROUP, size)


def _halfs(raw: Tensor) -> Tensor:
    return raw.contiguous().view(torch.float16)[..., 0].float()


def _halves(rows: Tensor, heads: int) -> Tensor:
    """The file has the two halves of a head's rows, which are turned together, in turns; transformers one after the
    other."""
    return rows.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)
