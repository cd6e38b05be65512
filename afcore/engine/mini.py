"""Mini as an engine."""

from __future__ import annotations

import torch

from afcore import paths
from afcore.checkpoints.mini import load_mini
from afcore.engine.calibration import Calibration
from afcore.engine.engine import Engine
from afcore.engine.language import FlamingoText
from afcore.engine.loading import Progress
from afcore.engine.precision import choose_precision
from afcore.retrieval.bank import Bank


def load(device: str | torch.device | None, dtype: torch.dtype | None, progress: Progress) -> Engine:
    """Mini from `paths.MINI`, with the bank in `paths.BANK` where there is one. Raises MissingPart."""
    precision = choose_precision(device, dtype)
    model, tokenizer, encoder, clap, calibration = load_mini(paths.MINI, precision.device, precision.dtype, progress)
    language = FlamingoText(model, tokenizer, "mini", encoder.silence)
    bank = Bank(paths.BANK) if (paths.BANK / "bank.sqlite").exists() else None
    return Engine("mini", language, encoder, clap, bank, Calibration.from_dict(calibration), precision)
