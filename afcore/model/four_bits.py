"""Linear layers whose weights are 4-bit integers with a scale and a minimum for every 32 of them, as the package of
mini's language model ships them: read by PyTorch's own product of a few rows with such weights, so that a token reads
a quarter of what bfloat16 takes and nothing is rounded that was not rounded in the package.

What is in 8 bits there, the output head, which is the table of the input embeddings, is two planes of 4 bits:
16 · high + low. Low-rank updates (`afcore.model.lora`) stand beside the weights.

Such weights can be neither trained nor saved: who has to, reads the model anew.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GROUP = 32
"""Numbers that share a scale and a minimum."""
FEW = 24
"""Rows of activations up to which the product with integers is the faster one."""
PIECE = 768  # rows of a weight that are widened at once, so that they stay in a cache
ROWS = 64  # the product takes weights of a multiple of so many rows


@cache
def half_block() -> int:
    """How many rows of weights PyTorch packs into the low halves of consecutive bytes here, the next so many into the
    high ones; 0 where it does otherwise or has no quick product for it, so that these layers are not to be used."""
    if sys.platform == "win32" or torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        return 0  # there the product is a plain loop, a hundred times slower
    codes = (torch.arange(2 * ROWS * GROUP).view(2 * ROWS, GROUP) * 7 % 16).to(torch.uint8)
    packed = pack(codes)
    return next((half for half in (32, 16) if torch.equal(unpack(packed, half), codes)), 0)


def pack(codes: Tensor) -> Tensor:
    """codes (N, K) uint8 of 0 to 15 → (N, K / 2) uint8 in the order of PyTorch's product; N is a multiple of 64."""
    packed: Tensor = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes.int(), 1)
    return packed


def unpack(packed: Tensor, half: int) -> Tensor:
    """`pack` undone."""
    rows, width = packed.shape[0], 2 * packed.shape[1]
    blocks = packed.view(rows // (2 * half), width, half)
    return torch.stack([blocks & 15, blocks >> 4], 1).transpose(2, 3).reshape(rows, width)


class PackedLinear(nn.Module):
    """`torch.nn.Linear` without bias whose ``packed`` weights are 4-bit codes c with ``scales`` (K / 32, rows, 2)
    bfloat16, of which a weight is (c − 8) · scales[…, 0] + scales[…, 1].

    With two ``planes`` the rows are there twice, and a weight is the sum of both. Rows beyond ``out_features`` fill up
    to a multiple of 64. `add_low_rank` puts an update beside.
    """

    packed: Tensor
    scales: Tensor
    rows: Tensor | None
    low: Tensor | None
    high: Tensor | None

    def __init__(self, packed: Tensor, scales: Tensor, out_features: int, planes: int = 1, rows: Tensor | None = None):
        """``rows``: the same weights as `table_rows` gives them, from which they are widened quicker."""
        super().__init__()
        self.in_features, self.out_features, self.planes = 2 * packed.shape[1], out_features, planes
        self.register_buffer("packed", packed)
        self.register_buffer("scales", scales)
        self.register_buffer("rows", rows)
        self.register_buffer("low", None)
        self.register_buffer("high", None)

    def add_low_rank(self, a: Tensor, b: Tensor) -> None:
        """a (rank, in) and b (out, rank): the weight is what it was, plus b · a."""
        self.low, self.high = a.float(), b.float()

    def forward(self, x: Tensor) -> Tensor:
        """x (…, in) → (…, out)."""
        rows = x.reshape(-1, self.in_features)
        out = self.few(rows) if len(rows) <= FEW else self.many(rows)
        if self.low is not None and self.high is not None:
            out = out + F.linear(F.linear(rows.float(), self.low), self.high).to(x.dtype)
        return out.to(x.dtype).view(*x.shape[:-1], self.out_features)

    def few(self, rows: Tensor) -> Tensor:
        """rows (M, in) of few activations → (M, out) without the low-rank update; bfloat16, of two planes float32."""
        out: Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(
            rows.to(torch.bfloat16), self.packed, GROUP, self.scales
        )
        if self.planes == 2:
            high, low = out.float().chunk(2, -1)
            out = high + low
        return out[:, : self.out_features]

    def many(self, rows: Tensor) -> Tensor:
        """rows (M, in) of activations → (M, out) in their format, without the low-rank update."""
        pieces = [F.linear(rows, self.widened(start, rows.dtype)) for start in range(0, self.out_features, PIECE)]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, -1)

    def widened(self, start: int, dtype: torch.dtype) -> Tensor:
        """The weights of up to `PIECE` rows from ``start`` on, (rows, in) in ``dtype``, rounded once."""
        half, step = half_block(), len(self.packed) // self.planes
        end = min(start + PIECE, step)
        width = self.in_features
        if self.rows is not None:
            places = torch.arange((end - start) * width // GROUP + 1, dtype=torch.int32)
            weights: Tensor = torch.ops.quantized.embedding_bag_4bit_rowwise_offsets(
                self.rows[start:end].view(-1, GROUP // 2 + 4), places[:-1], places, include_last_offset=True
            )
            return weights.view(end - start, width).to(dtype)
        out = torch.empty(width, end - start, dtype=dtype)
        # Blocks of rows lie side by side, each with its columns under each other: out is the transposed matrix.
        places = out.view(width, -1, 2, half).permute(2, 1, 0, 3)
        parts: list[Tensor] = []
        for plane in range(self.planes):
            rows = slice(plane * step + start, plane * step + end)
            blocks = self.packed[rows].view(-1, width, half)
            own = self.scales[:, rows].float().view(len(self.scales), -1, 2, half, 2)
            scale, zero = own.permute(4, 2, 1, 0, 3).contiguous()
            for side, codes in enumerate((blocks & 15, blocks >> 4)):
                grouped = codes.float().view(len(blocks), -1, GROUP, half)
                moved = (zero[side] - 8 * scale[side])[:, :, None]
                part = torch.addcmul(moved, scale[side][:, :, None], grouped)
                parts.append(part.view(len(blocks), width, half))
        for side in range(2):
            places[side].copy_(parts[side] if self.planes == 1 else parts[side] + parts[2 + side])
        return out.T[: self.out_features - start]

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, planes={self.planes}"

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("Weights in 4 bits are for use alone: save the model that they were made from.")


class PackedEmbedding(nn.Module):
    """`torch.nn.Embedding` that reads the rows of an output head of two planes. ``dtype``: of what it gives."""

    def __init__(self, head: PackedLinear, dtype: torch.dtype):
        super().__init__()
        self.head, self.dtype = head, dtype

    def forward(self, ids: Tensor) -> Tensor:
        """ids (…) int → (…, width)."""
        return self.rows(ids.flatten()).to(self.dtype).view(*ids.shape, -1)

    def rows(self, ids: Tensor) -> Tensor:
        """ids (M,) → (M, width) float32."""
        half, head = half_block(), self.head
        step, total = len(head.packed) // 2, torch.zeros(())
        for plane in range(2):
            place = ids + plane * step
            shift = (place // half % 2 * 4).to(torch.uint8)[:, None]
            blocks = head.packed.view(-1, head.in_features, half)
            codes = (blocks[place // (2 * half), :, place % half] >> shift) & 15
            scale, zero = head.scales[:, place].float().permute(2, 1, 0)[..., None]
            total = total + ((codes.view(len(ids), -1, GROUP).float() - 8) * scale + zero)
        return total.flatten(1)


def one_plane(codes: Tensor, scale: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
    """``packed`` and ``scales`` of weights code · scale + least: codes (N, K) uint8, the others (N, K / 32)."""
    zero = least.float() + 8 * scale.float()
    return pack(codes), torch.stack([scale.float(), zero], -1).transpose(0, 1).to(torch.bfloat16).contiguous()


def table_rows(codes: Tensor, scale: Tensor, least: Tensor) -> Tensor:
    """The weights of `one_plane`, (N, K / 32 · 20) uint8: of every 32 their codes, scale and minimum in float16, which
    PyTorch reads as a row of a table of embeddings."""
    groups = codes.unflatten(1, (-1, GROUP))
    halfs = torch.stack([scale, least], -1).half().view(torch.uint8)
    return torch.cat([groups[..., ::2] | groups[..., 1::2] << 4, halfs], -1).flatten(1)


def two_planes(codes: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """``packed`` and ``scales`` of weights code · scale: codes (N, K) int8, scale (N, K / 32); N is filled up to a
    multiple of 64."""
    missing = -len(codes) % ROWS
    codes, scale = F.pad(codes, (0, 0, 0, missing)), F.pad(scale.float(), (0, 0, 0, missing))
    high, low = (codes >> 4) + 8, codes & 15
    scales = torch.stack([torch.stack([16 * scale, torch.zeros_like(scale)], -1), torch.stack([scale, 8 * scale], -1)])
    return (
        torch.cat([pack(high), pack(low)]),
        scales.flatten(0, 1).transpose(0, 1).to(torch.bfloat16).contiguous(),
    )


def grouped(weight: Tensor) -> tuple[Tensor, Tensor]:
    """weight (N, K) → 8-bit codes (N, K) int8 with a scale (N, K / 32) float32 for every 32."""
    groups = weight.detach().float().unflatten(1, (-1, GROUP))
    scale = (groups.abs().amax(-1) / 127).clamp_min(1e-7)
    return (groups / scale[..., None]).round_().to(torch.int8).flatten(1), scale


def is_packed(model: nn.Module) -> bool:
    """Whether any of its layers is a `PackedLinear`."""
    return any(isinstance(module, PackedLinear) for module in model.modules())
