"""The published models as engines, and what each was trained with.

Source: Audio Flamingo (arXiv 2402.01831) and the published configurations (NVIDIA/audio-flamingo, branch
``legacy_audio_flamingo_1``: ``chat/configs/chat.yaml``, ``foundation/configs``).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import torch

from afcore import paths
from afcore.audio.recording import Clip
from afcore.checkpoints import CheckpointError
from afcore.clap import Clap
from afcore.clap.laion import LaionClap
from afcore.clap.mini import MiniClap
from afcore.encoders.mini import MiniEncoder
from afcore.engine import model_folder, own_models, precision
from afcore.engine.calibration import Calibration
from afcore.engine.engine import Engine
from afcore.engine.hearing import listen
from afcore.engine.language import FlamingoText
from afcore.engine.loading import Progress
from afcore.engine.model_folder import Facts, Source
from afcore.engine.precision import Precision
from afcore.errors import BadRequest, MissingPart
from afcore.hashing import sha256_of_file
from afcore.prompts import BENCHMARK, DEMO
from afcore.published.converted import load_converted
from afcore.published.folders import folder_of, laion_file, name_of
from afcore.retrieval import ExampleBank
from afcore.retrieval.bank import Bank

FLOAT32_ROOM = 12e9  # bytes of memory that a published model in float32 needs with everything around it


@dataclass(frozen=True)
class Kind:
    """What a published model was trained with."""

    max_shots: int
    padded: Mapping[str, Callable[[int], int]]
    """Number of audios in a sample -> with padding, as in the configurations that it was run with: that of the demo
    and that of the benchmarks."""
    calibration: Calibration


KINDS = {
    # Chat was trained on 4 audios in a sample, and never on options in a question.
    "chat": Kind(3, {DEMO: lambda audios: 4, BENCHMARK: lambda audios: 4}, Calibration(options=False)),
    # foundation.pt is the 8-shot fine-tune: with examples a sample always had 8 audios. The demo gave it a single clip
    # alone, the benchmarks padded that to 8 too.
    "foundation": Kind(7, {DEMO: lambda audios: 1 if audios == 1 else 8, BENCHMARK: lambda audios: 8}, Calibration()),
}


def choose_precision(device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> Precision:
    """As `afcore.engine.precision.choose_precision`, but for a model of 2.2 B: bfloat16 on a CPU that has no room for
    it in float32, and float16 on a GPU without bfloat16 (before Ampere), where what hears stays in float32."""
    chosen = precision.choose_precision(device, dtype)
    if dtype is None and chosen.device.type == "cuda" and chosen.dtype == torch.float32:
        reason = "float16, since this GPU has no bfloat16; what hears is in float32."
        return replace(chosen, dtype=torch.float16, reason=reason)
    small = chosen.device.type == "cpu" and psutil.virtual_memory().available < FLOAT32_ROOM
    if dtype is None and chosen.dtype == torch.float32 and small:
        reason = "bfloat16, since float32 needs more memory than there is."
        return replace(chosen, dtype=torch.bfloat16, reason=reason)
    return chosen


def load_published_engine(
    folder: str | Path,
    kind: str,
    precision: Precision,
    progress: Progress | None = None,
    bank: ExampleBank | None = None,
    laion: str | Path | None = None,
    facts: Facts | None = None,
    name: str | None = None,
) -> Engine:
    """The engine of a converted ``folder`` (`load_converted`); ``kind``: a key of `KINDS`; ``facts``: where they are
    not those of the kind; ``name``: the engine's, by default that of the kind.

    ``laion``: the checkpoint of LAION-CLAP, by default `laion_file`. Where it cannot run, retrieval is by mini CLAP,
    and
    ``Engine.retrieval_notice`` says why. Raises BadRequest for another kind, MissingPart where a file is absent,
    CheckpointError where one is damaged.
    """
    if kind not in KINDS:
        raise BadRequest(f"There is no published model of the kind “{kind}”: choose {' or '.join(KINDS)}.")
    progress = progress or (lambda stage, fraction: None)
    progress("Loading the model", 0.05)
    model, tokenizer, encoder = load_converted(folder, precision.device, precision.dtype)
    progress("Loading the retrieval", 0.4)
    clap, notice = retrieval_clap(laion, precision.device)
    trained = KINDS[kind]
    most, calibration = (facts.max_shots, facts.calibration) if facts else (trained.max_shots, trained.calibration)
    language = FlamingoText(model, tokenizer, kind, encoder.silence, trained.padded, most)
    source = Source("published", Path(folder))
    return Engine(name or name_of(kind), language, encoder, clap, bank, calibration, precision, notice, source=source)


def load_folder(
    folder: Path, device: str | torch.device | None, dtype: torch.dtype | None, progress: Progress
) -> Engine:
    """A saved model in the published layout (`afcore.engine.model_folder`), over the shipped bank.

    Raises MissingPart, CheckpointError.
    """
    chosen, facts = choose_precision(device, dtype), model_folder.read(folder)
    bank, name = own_bank(), own_models.name_of(folder)
    return load_published_engine(folder, facts.kind, chosen, progress, bank, facts=facts, name=name)


def load_chat(device: str | torch.device | None, dtype: torch.dtype | None, progress: Progress) -> Engine:
    """The chat model as `afcore get` left it, over the shipped bank."""
    return _load("chat", device, dtype, progress)


def load_foundation(device: str | torch.device | None, dtype: torch.dtype | None, progress: Progress) -> Engine:
    """The foundation model as `afcore get` left it, over the shipped bank."""
    return _load("foundation", device, dtype, progress)


def _load(kind: str, device: str | torch.device | None, dtype: torch.dtype | None, progress: Progress) -> Engine:
    precision = choose_precision(device, dtype)
    return load_published_engine(folder_of(kind), kind, precision, progress, own_bank())


def retrieval_clap(file: str | Path | None = None, device: str | torch.device = "cpu") -> tuple[Clap, str]:
    """LAION-CLAP from ``file``, by default `laion_file`, and ""; where it cannot run, mini CLAP and a sentence why.

    Raises MissingPart where mini's files are absent too.
    """
    try:
        return LaionClap(file or laion_file(), device), ""
    except (MissingPart, CheckpointError) as error:
        return EarClap(), f"Examples are found by mini CLAP, not by LAION-CLAP as in the paper. {error}"


class EarClap(Clap):
    """Mini CLAP beside another model's encoder: it brings mini's encoder along, and a bank's vectors hold for both."""

    def __init__(self) -> None:
        for name in ("encoder.safetensors", "clap.safetensors"):
            if not (paths.MINI / name).exists():
                raise MissingPart(f"Mini CLAP is missing ({name}): restore the folder assets/mini from the repository.")
        self.encoder = MiniEncoder.load(paths.MINI, "cpu")
        self.mini = MiniClap.load(paths.MINI)
        self.name, self.width = self.mini.name, self.mini.width

    def text(self, texts: list[str]) -> np.ndarray:
        """k sentences -> (k, 1024) float32 unit vectors."""
        return self.mini.text(texts)

    def audio(self, clip: Clip) -> np.ndarray:
        """A clip -> (1024,) float32 unit vector."""
        _, features = listen(self.encoder, clip)
        return self.mini.audio_from_features(features)


class OwnBank(Bank):
    """The shipped example bank with a database of this machine, which takes the embeddings of other encoders: the
    shipped one is only read."""

    def __init__(self, shipped: Path):
        source = shipped / "bank.sqlite"
        folder = paths.DATA / "banks" / f"shipped-{sha256_of_file(source)[:12]}"
        if not (folder / "bank.sqlite").exists():
            folder.mkdir(parents=True, exist_ok=True)
            partial = folder / f"bank.sqlite.{os.getpid()}.partial"
            shutil.copyfile(source, partial)
            partial.replace(folder / "bank.sqlite")
        self.shipped = shipped
        super().__init__(folder)

    def _file(self, sha: str) -> Path:
        return self.shipped / "audio" / sha[:2] / f"{sha}.ogg"


def own_bank() -> Bank | None:
    """`OwnBank` of the shipped bank, if there is one."""
    return OwnBank(paths.BANK) if (paths.BANK / "bank.sqlite").exists() else None
