"""Loading what conversion made of the published files."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from afcore.checkpoints import pretrained
from afcore.encoders.clapcap import ClapCap
from afcore.errors import MissingPart
from afcore.model import AudioFlamingo
from afcore.published.convert import CLAPCAP


def load_flamingo(
    folder: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.bfloat16
) -> AudioFlamingo:
    """The model in a folder that `convert_flamingo` wrote, in evaluation mode, never from the network.
    Raises MissingPart where there is none, CheckpointError where it does not fit."""
    if not (Path(folder) / "config.json").is_file():
        raise MissingPart(f"There is no converted model in {folder}: get or convert one first.")
    return pretrained.load_flamingo(folder, device, dtype, "The converted model", "; convert it again")


def load_converted(
    folder: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.bfloat16
) -> tuple[AudioFlamingo, PreTrainedTokenizerBase, ClapCap]:
    """Model, tokenizer and audio encoder from a converted folder with `clapcap.safetensors` in it."""
    model = load_flamingo(folder, device, dtype)
    tokenizer = pretrained.load_tokenizer(folder)
    clapcap = Path(folder) / CLAPCAP
    if not clapcap.is_file():
        raise MissingPart(f"The audio encoder {CLAPCAP} is missing in {folder}: get or convert it first.")
    return model, tokenizer, ClapCap.load(clapcap).to(device)
