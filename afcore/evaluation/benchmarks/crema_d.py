"""CREMA-D (github.com/CheyneyComputerScience/CREMA-D): twelve sentences in six emotions by 91 actors, no splits."""

from __future__ import annotations

from pathlib import Path

from afcore.evaluation.benchmarks.item import LABEL, Benchmark, Item
from afcore.evaluation.benchmarks.layout import Layout
from afcore.evaluation.benchmarks.published_prompts import PROMPTS

EMOTIONS = {"ANG": "angry", "DIS": "disgusted", "FEA": "fearful", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}


def read(data: Path) -> list[Item]:
    """As `Benchmark.read`: all sounds are tested; an actor is a fold, so examples are of other actors."""
    layout = Layout(data, "CREMA-D", "the folder AudioWAV with files such as 1001_DFA_ANG_XX.wav")
    items = []
    for file in layout.sounds(layout.folder("AudioWAV")):
        parts = file.stem.split("_")
        if len(parts) != 4 or parts[2] not in EMOTIONS:
            raise layout.wrong(f"there is {file.name}")
        items.append(Item(file.stem, file, (EMOTIONS[parts[2]],), fold=parts[0], source=parts[0]))
    return items


BENCHMARKS = (Benchmark("crema-d", "CREMA-D", LABEL, PROMPTS["crema-d"], read, tuple(EMOTIONS.values())),)
