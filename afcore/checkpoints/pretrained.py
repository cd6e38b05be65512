"""A whole model as `save_pretrained` wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from afcore.checkpoints import CheckpointError, without_progress_bars
from afcore.errors import MissingPart
from afcore.model import AudioFlamingo

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@without_progress_bars()
def load_flamingo(
    folder: str | Path,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.bfloat16,
    what: str = "The model",
    remedy: str = "",
) -> AudioFlamingo:
    """The model in ``folder``, in evaluation mode, never from the network; ``what`` and ``remedy`` are for sentences.

    Raises MissingPart where there is none, CheckpointError where it is damaged or does not fit."""
    from safetensors import SafetensorError

    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise MissingPart(f"There is no model in {folder}: config.json is missing.")
    try:
        loaded: Any = AudioFlamingo.from_pretrained(  # a pair, since its report is asked for
            folder, dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{what} in {folder} is damaged{remedy}.") from error
    model: AudioFlamingo = loaded[0]
    report: dict[str, Any] = loaded[1]
    wrong = [*report["missing_keys"], *report["unexpected_keys"], *report["mismatched_keys"]]
    if wrong:
        raise CheckpointError(f"{what} in {folder} does not fit this version ({wrong[0]}){remedy}.")
    return model.eval().to(device)


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer in ``folder``. Raises CheckpointError where it cannot be read."""
    from transformers import AutoTokenizer

    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"The tokenizer in {folder} is missing or damaged.") from error
    return tokenizer
