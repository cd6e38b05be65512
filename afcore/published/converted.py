"""Loading what conversion made of the published files."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from afcore.checkpoints import CheckpointError, without_progress_bars
from afcore.encoders.clapcap import ClapCap
from afcore.errors import MissingPart
from afcore.model import AudioFlamingo
from afcore.published.convert import CLAPCAP


@without_progress_bars()
def load_flamingo(
    folder: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.bfloat16
) -> AudioFlamingo:
    """The model in a folder that `convert_flamingo` wrote, in evaluation mode, never from the network.
    Raises MissingPart where there is none, CheckpointError where it does not fit."""
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise MissingPart(f"There is no converted model in {folder}: get or convert one first.")
    try:
        model, report = AudioFlamingo.from_pretrained(
            folder, dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"The converted model in {folder} is damaged; convert it again.") from error
    wrong = [*report["missing_keys"], *report["unexpected_keys"], *report["mismatched_keys"]]
    if wrong:
        raise CheckpointError(
            f"The converted model in {folder} does not fit this version ({wrong[0]}); convert it again."
        )
    return model.eval().to(device)


def load_converted(
    folder: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.bfloat16
) -> tuple[AudioFlamingo, PreTrainedTokenizerBase, ClapCap]:
    """Model, tokenizer and audio encoder from a converted folder with `clapcap.safetensors` in it."""
    model = load_flamingo(folder, device, dtype)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    clapcap = Path(folder) / CLAPCAP
    if not clapcap.is_file():
        raise MissingPart(f"The audio encoder {CLAPCAP} is missing in {folder}: get or convert it first.")
    return model, tokenizer, ClapCap.load(clapcap).to(device)
