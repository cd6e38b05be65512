"""Which device a model runs on and in which number format, with the reason for people to read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from afcore.errors import BadRequest, MissingPart
from afcore.model.four_bits import half_block

VARIABLE = "AFCORE_PRECISION"
"""Names the environment variable that asks for a format of `FORMATS`, for `FOUR_BITS` or for `EIGHT_BITS`, for the app
and every command."""
FORMATS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
EIGHT_BITS = "8bit"
FOUR_BITS = "4bit"

DRIVER = Path("/proc/driver/nvidia/gpus")
"""Where the driver of NVIDIA lists its GPUs on Linux."""


@dataclass(frozen=True)
class Precision:
    """Where and in what a model computes."""

    device: torch.device
    dtype: torch.dtype
    reason: str
    """One sentence."""
    notice: str = ""
    """Where a GPU is there but not used: why, and what to install."""
    eight_bits: bool = False
    """Whether the decoder's weights are rounded to 8 bits (`afcore.checkpoints.eight_bits`)."""
    four_bits: bool = False
    """Whether the decoder's weights are the 4-bit integers of its package (`afcore.model.four_bits`)."""

    @property
    def name(self) -> str:
        """The format in words: "bfloat16", or "bfloat16, weights in 4 bits"."""
        bits = ", weights in 8 bits" if self.eight_bits else ", weights in 4 bits" if self.four_bits else ""
        return _name(self.dtype) + bits


def choose_precision(
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    eight_bits: bool = False,
    four_bits: bool = False,
) -> Precision:
    """``device`` and ``dtype`` as asked for; where None, the accelerator that PyTorch finds (a CUDA GPU, Apple's by
    "mps", Intel's by "xpu") if there is one, and the format that decodes fastest there.

    Decoding one token at a time is bound by reading the weights, so half the bytes is nearly twice the speed, but on a
    CPU only where it multiplies bfloat16 in hardware: elsewhere every weight would be widened first, which costs more
    than it saves. Without ``dtype`` the environment variable `VARIABLE` may ask for a format; weights in 8 bits are for
    a CPU and for models that can have them (``eight_bits``), and others are as where nothing is asked. So are
    weights in 4 bits, for a model that was shipped in them (``four_bits``) on a CPU that multiplies them quickly.

    Raises MissingPart for a device that is not there, BadRequest for a format that the variable may not name.
    """
    found = accelerator()
    notice = unused_gpu() if device is None and found is None else ""
    device = torch.device(device or found or "cpu")
    if device.type != "cpu" and device.type != found:
        named = "CUDA GPU" if device.type == "cuda" else f"device “{device.type}”"
        why = unused_gpu() if device.type == "cuda" else ""
        raise MissingPart(why or f"There is no {named} that PyTorch can use here: choose the CPU.")
    asked = "" if dtype else _asked()
    dtype = dtype or FORMATS.get(asked)
    if dtype is not None:
        return Precision(device, dtype, f"{_name(dtype)}, as asked for.")
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Precision(device, torch.bfloat16, "bfloat16, which this GPU computes in hardware.")
        return Precision(device, torch.float32, "float32, since this GPU has no bfloat16.")
    if device.type != "cpu":
        return Precision(device, torch.float32, "float32, which every accelerator computes in.")
    eight_bits = eight_bits and asked == EIGHT_BITS
    four_bits = four_bits and asked == FOUR_BITS and half_block() > 0
    rounded = ", with the decoder's weights in 8 bits, as asked for" if eight_bits else ""
    rounded = ", with the decoder's weights in 4 bits, as asked for" if four_bits else rounded
    if cpu_has_bfloat16():
        reason = f"bfloat16, which this CPU multiplies in hardware{rounded}."
        return Precision(device, torch.bfloat16, reason, notice, eight_bits, four_bits)
    reason = f"float32, since this CPU has no bfloat16 instructions{rounded}."
    return Precision(device, torch.float32, reason, notice, eight_bits, four_bits)


def accelerator() -> str | None:
    """What PyTorch can compute on beside the CPU: "cuda", "mps", "xpu" or the like; None where there is nothing."""
    found = torch.accelerator.current_accelerator(check_available=True)
    return None if found is None else found.type


def unused_gpu() -> str:
    """Where NVIDIA's driver reports a GPU that PyTorch cannot use: what to install, in a sentence or two; else ''."""
    cards = [file for file in DRIVER.glob("*/information") if file.is_file()]
    if not cards or torch.cuda.is_available():
        return ""
    lines = cards[0].read_text(encoding="utf-8", errors="replace").splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("Model:")), "an NVIDIA GPU")
    found = f"The driver reports a GPU ({model}), but PyTorch cannot use it, so the CPU computes."
    if torch.version.cuda is None:
        return f"{found} This PyTorch is built for the CPU alone: remove the folder .venv and run `make run` again."
    return f"{found} This PyTorch needs a driver for CUDA {torch.version.cuda}: install a newer driver of NVIDIA."


def cpu_has_bfloat16() -> bool:
    """Whether the CPU has instructions for bfloat16 products: AVX-512 BF16 or AMX on x86, BF16 on ARM."""
    has = torch.cpu.get_capabilities()
    return any(has.get(flag, False) for flag in ("avx512_bf16", "amx_bf16", "bf16"))


def _asked() -> str:
    """What the environment variable asks for; empty where nothing."""
    name = os.environ.get(VARIABLE, "")
    if name and name not in (*FORMATS, EIGHT_BITS, FOUR_BITS):
        raise BadRequest(
            f"{VARIABLE} is “{name}”: set it to {', '.join(FORMATS)}, {EIGHT_BITS} or {FOUR_BITS}, or leave it out."
        )
    return name


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
