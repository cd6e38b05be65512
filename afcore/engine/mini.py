"""Mini as an engine: its parts, and the judges that stand on its encoder."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import torch

from afcore import paths
from afcore.checkpoints.eight_bits import round_
from afcore.checkpoints.mini import build_mini, pack_, ready_mini
from afcore.checkpoints.pretrained import load_flamingo, load_tokenizer
from afcore.clap.mini import MiniClap
from afcore.encoders.mini import MiniEncoder
from afcore.engine import own_models
from afcore.engine.calibration import Calibration
from afcore.engine.engine import Engine
from afcore.engine.judges import ByClassMeans, ByName, ByNeighbours, ByText, JudgesFile
from afcore.engine.language import FlamingoText
from afcore.engine.loading import Progress
from afcore.engine.memory import trim
from afcore.engine.model_folder import JUDGES, Source, read
from afcore.engine.precision import Precision, choose_precision
from afcore.engine.scoring import EQUAL, Judge, JudgeWeights
from afcore.errors import MissingPart
from afcore.model import AudioFlamingo
from afcore.retrieval.bank import Bank

FILES = "encoder.safetensors", "clap.safetensors", "flamingo.safetensors", "audioset.json"


def load(
    device: str | torch.device | None, dtype: torch.dtype | None, progress: Progress, alone: bool = False
) -> Engine:
    """Mini from `paths.MINI`, with the bank in `paths.BANK` where there is one. Raises MissingPart.

    ``alone``: without the judges beside the language side, which are made with it.
    """
    folder, precision = paths.MINI, choose_precision(device, dtype, eight_bits=True, four_bits=True)
    for name in FILES if alone else (*FILES, *JUDGES):
        if not (folder / name).exists():
            raise MissingPart(
                f"Mini's weights are missing ({name}): restore the folder assets/mini from the repository."
            )
    if precision.eight_bits or precision.four_bits:  # what is mapped would stay in memory beside what is made of it
        model, tokenizer = build_mini(folder, {}, folder, progress, precision.dtype)
    else:
        model, tokenizer = ready_mini(folder, progress, precision.dtype)
    trim()
    if precision.eight_bits:
        round_(model, trim)
    elif precision.four_bits:
        pack_(model, folder, trim)
    progress("Loading the audio encoder", 0.8)
    encoder, clap = MiniEncoder.load(folder, precision.device), MiniClap.load(folder)
    calibration = Calibration.from_dict(json.loads((folder / "config.json").read_text())["calibration"])
    model = model.eval().to(precision.device)
    language = FlamingoText(model, tokenizer, "mini", encoder.silence, as_stored=partial(_mini, precision.dtype))
    judges, weights = ([], EQUAL) if alone else load_judges(folder, encoder, clap)
    return _engine("mini", language, encoder, clap, calibration, precision, judges, weights, folder)


def _mini(dtype: torch.dtype) -> AudioFlamingo:
    model, _ = build_mini(paths.MINI, {}, paths.MINI, dtype=dtype)
    return model.eval()


def load_folder(
    folder: Path, device: str | torch.device | None, dtype: torch.dtype | None, progress: Progress
) -> Engine:
    """A saved model of mini's kind (`afcore.engine.model_folder`), with the bank in `paths.BANK` where there is one.

    Raises MissingPart, CheckpointError.
    """
    precision, facts = choose_precision(device, dtype, eight_bits=True), read(folder)
    progress("Loading the model", 0.3)
    model = load_flamingo(folder, precision.device, precision.dtype)
    if precision.eight_bits:
        round_(model, trim)
    tokenizer = load_tokenizer(folder)
    progress("Loading the audio encoder", 0.5)
    encoder, clap = MiniEncoder.load(folder, precision.device), MiniClap.load(folder)
    as_stored = partial(load_flamingo, folder, "cpu", precision.dtype)
    language = FlamingoText(model, tokenizer, facts.kind, encoder.silence, None, facts.max_shots, as_stored)
    known = all((folder / name).is_file() for name in JUDGES)
    judges, weights = load_judges(folder, encoder, clap) if known else ([], EQUAL)
    name = own_models.name_of(folder)
    return _engine(name, language, encoder, clap, facts.calibration, precision, judges, weights, folder)


def _engine(
    name: str,
    language: FlamingoText,
    encoder: MiniEncoder,
    clap: MiniClap,
    calibration: Calibration,
    precision: Precision,
    judges: list[Judge],
    weights: JudgeWeights,
    folder: Path,
) -> Engine:
    bank = Bank(paths.BANK) if (paths.BANK / "bank.sqlite").exists() else None
    source = Source("mini", folder)
    return Engine(name, language, encoder, clap, bank, calibration, precision, "", judges, weights, source)


def load_judges(folder: Path, encoder: MiniEncoder, clap: MiniClap) -> tuple[list[Judge], JudgeWeights]:
    """The judges beside the language side and the weights of all, from ``judges.safetensors`` and ``judges.json``.

    Raises FileNotFoundError; ValueError where they do not fit.
    """
    known = JudgesFile.load(folder / JUDGES[0])
    settings = json.loads((folder / JUDGES[1]).read_text())
    heat = settings["temperature"]

    judges: list[Judge] = [
        ByName(known.name_judge(clap), encoder, heat["names"]),
        ByText(clap, heat["text"]),
        ByClassMeans(known.whitening, encoder.name, encoder.embedding_of, heat["examples"]),
        ByNeighbours(clap.name, heat["neighbours"]),
    ]
    return judges, JudgeWeights(settings["alone"], settings["with_examples"])
