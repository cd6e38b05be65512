"""Mini as an engine: its parts, and the judges that stand on its encoder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from afcore import paths
from afcore.checkpoints.mini import build_mini
from afcore.clap.mini import MiniClap
from afcore.encoders.mini import MiniEncoder
from afcore.engine.calibration import Calibration
from afcore.engine.engine import Engine
from afcore.engine.judges import ByClassMeans, ByName, ByNeighbours, ByText, JudgesFile
from afcore.engine.language import FlamingoText
from afcore.engine.loading import Progress
from afcore.engine.precision import choose_precision
from afcore.engine.scoring import EQUAL, Judge, JudgeWeights
from afcore.errors import MissingPart
from afcore.knowledge.names import NameJudge
from afcore.retrieval.bank import Bank

FILES = "encoder.safetensors", "clap.safetensors", "flamingo.safetensors", "audioset.json"
JUDGES = "judges.safetensors", "judges.json"


def load(
    device: str | torch.device | None, dtype: torch.dtype | None, progress: Progress, alone: bool = False
) -> Engine:
    """Mini from `paths.MINI`, with the bank in `paths.BANK` where there is one. Raises MissingPart.

    ``alone``: without the judges beside the language side, which are made with it.
    """
    folder, precision = paths.MINI, choose_precision(device, dtype)
    for name in FILES if alone else (*FILES, *JUDGES):
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
    judges, weights = ([], EQUAL) if alone else load_judges(folder, encoder, clap)
    return Engine("mini", language, encoder, clap, bank, calibration, precision, judges=judges, weights=weights)


def load_judges(folder: Path, encoder: MiniEncoder, clap: MiniClap) -> tuple[list[Judge], JudgeWeights]:
    """The judges beside the language side and the weights of all, from ``judges.safetensors`` and ``judges.json``.

    Raises FileNotFoundError; ValueError where they do not fit.
    """
    known = JudgesFile.load(folder / JUDGES[0])
    settings = json.loads((folder / JUDGES[1]).read_text())
    heat = settings["temperature"]

    def embed(texts: list[str]) -> np.ndarray:
        return clap.sentences(texts).numpy()  # the sentence model is loaded when a label is first asked about

    judges: list[Judge] = [
        ByName(NameJudge(embed, known.reference, vectors=known.vectors), encoder, heat["names"]),
        ByText(clap, heat["text"]),
        ByClassMeans(known.whitening, encoder.name, encoder.embedding_of, heat["examples"]),
        ByNeighbours(clap.name, heat["neighbours"]),
    ]
    return judges, JudgeWeights(settings["alone"], settings["with_examples"])
