"""How a benchmark is run."""

from __future__ import annotations

from dataclasses import dataclass, field

from afcore.errors import BadRequest
from afcore.evaluation.benchmarks.item import TEST
from afcore.model.generation import GenerationSettings
from afcore.prompts import BENCHMARK

KNN, RANDOM = "knn", "random"
SOUNDS, TEXT = "sounds", "text"
PUBLISHED_CHANNEL = "one"
SMALLEST = 16_000
"""Bytes of a file below which the published manifests leave it out."""
MOST_SHOTS = 8


@dataclass(frozen=True)
class Setting:
    """How a benchmark is run."""

    shots: int = 0
    retrieval: str = KNN
    examples: str = SOUNDS
    """`TEXT`: the neighbours' answers stand in the prompt, their sounds do not (RECAP's idea)."""
    decoding: GenerationSettings = field(default_factory=GenerationSettings)
    likelihood: bool = False
    """Whether options are also compared by how likely each is as the answer."""
    judges: bool = False
    """Whether all judges of the engine, as in the app, also name an option."""
    channels: str | int = PUBLISHED_CHANNEL
    split: str = TEST
    limit: int | None = None
    """Only so many items, drawn with a fixed seed."""
    bank_limit: int | None = None
    folds: int | None = None
    """Into how many folds items are dealt by their source where they have none."""
    leave_out_small: bool = False
    """Whether files below `SMALLEST` bytes are left out, as in the published manifests."""
    padding: str = BENCHMARK
    """How a model that pads samples does it (`Engine.paddings`); another has nothing to pad."""
    batch: int = 1
    """How many prompts are answered together."""

    def __post_init__(self) -> None:
        if not 0 <= self.shots <= MOST_SHOTS:
            raise BadRequest(f"There can be 0 to {MOST_SHOTS} examples.")


DEFAULT = Setting()
"""Without examples, greedy."""
