"""Which device a model runs on and in which number format, with the reason for people to read."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from afcore.errors import MissingPart


@dataclass(frozen=True)
class Precision:
    """Where and in what a model computes."""

    device: torch.device
    dtype: torch.dtype
    reason: str
    """One sentence."""


def choose_precision(device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> Precision:
    """``device`` and ``dtype`` as asked for; where None, a GPU if there is one and the format that decodes fastest
    there.

    Decoding one token at a time is bound by reading the weights, so half the bytes is nearly twice the speed, but on a
    CPU only where it multiplies bfloat16 in hardware: elsewhere every weight would be widened first, which costs more
    than it saves. Raises MissingPart for a GPU that is not there.
    """
    gpu = torch.cuda.is_available()
    device = torch.device(device or ("cuda" if gpu else "cpu"))
    if device.type == "cuda" and not gpu:
        raise MissingPart("There is no CUDA GPU that PyTorch can use here: choose the CPU.")
    if dtype is not None:
        return Precision(device, dtype, f"{_name(dtype)}, as asked for.")
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Precision(device, torch.bfloat16, "bfloat16, which this GPU computes in hardware.")
        return Precision(device, torch.float32, "float32, since this GPU has no bfloat16.")
    if cpu_has_bfloat16():
        return Precision(device, torch.bfloat16, "bfloat16, which this CPU multiplies in hardware.")
    return Precision(device, torch.float32, "float32, since this CPU has no bfloat16 instructions.")


def cpu_has_bfloat16() -> bool:
    """Whether the CPU has instructions for bfloat16 products: AVX-512 BF16 or AMX on x86, BF16 on ARM."""
    has = torch.cpu.get_capabilities()
    return any(has.get(flag, False) for flag in ("avx512_bf16", "amx_bf16", "bf16"))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
