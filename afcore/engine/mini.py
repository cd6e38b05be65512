"""Mini as an engine."""

from __future__ import annotations

import json

import torch

from afcore import paths
from afcore.checkpoints.mini import build_mini
from afcore.clap.mini import MiniClap
from afcore.encoders.mini import MiniEncoder
from afcore.engine.calibration import Calibration
from afcore.engine.engine import Engine
from afcore.engine.language import FlamingoText
from afcore.engine.loading import Progress
from afcore.engine.precision import choose_precision
from afcore.errors import MissingPart
from afcore.retrieval.bank import Bank

FILES = "encoder.safetensors", "clap.safetensors", "flamingo.safetensors", "audioset.json"


def load(device: str | torch.device | None, dtype: torch.dtype | None, progress: Progress) -> Engine:
    """Mini from `paths.MINI`, with the bank in `paths.BANK` where there is one. Raises MissingPart."""
    folder, precision = paths.MINI, choose_precision(device, dtype)
    for name in FILES:
        if not (folder / name).exists():
            raise MissingPart(
                f"Mini's weights are missing ({name}): restore the folder assets/mini from the repository."
            )
    model, tokenizer = build_mini(folder, {}, folder, progress, precision.dtype)
    progress("Loading the audio encoder", 0.8)
    encoder, clap = MiniEncoder.load(folder, precision.device), MiniClap.load(folder)
    calibration = Calibration.from_dict(json.loads((folder / "config.json").read_text())["calibration"])
    language = FlamingoText(model.eval().to(precision.device), tokenizer, "mini", encoder.silence)
    bank = Bank(paths.BANK) if (paths.BANK / "bank.sqlite").exists() else None
    return Engine("mini", language, encoder, clap, bank, calibration, precision)
