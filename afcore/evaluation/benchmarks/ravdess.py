"""RAVDESS (zenodo.org/records/1188976), its speech: two sentences in eight emotions by 24 actors, no splits."""

from __future__ import annotations

from pathlib import Path

from afcore.evaluation.benchmarks.item import LABEL, Benchmark, Item
from afcore.evaluation.benchmarks.layout import Layout, sounds_in
from afcore.evaluation.benchmarks.published_prompts import PROMPTS

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
"""In the order of the third number in a file's name, from 01."""


def read(data: Path) -> list[Item]:
    """As `Benchmark.read`: all sounds are tested; an actor is a fold, so examples are of other actors."""
    layout = Layout(data, "RAVDESS", "the folders Actor_01 … Actor_24 with files such as 03-01-05-01-02-01-12.wav")
    items = []
    for folder in sorted(data.glob("Actor_*")):
        for file in sounds_in(folder):
            parts = file.stem.split("-")
            if len(parts) != 7 or not parts[2].isdigit() or not 1 <= int(parts[2]) <= len(EMOTIONS):
                raise layout.wrong(f"there is {folder.name}/{file.name}")
            items.append(Item(file.stem, file, (EMOTIONS[int(parts[2]) - 1],), fold=parts[6], source=parts[6]))
    if not items:
        raise layout.wrong("there is no folder Actor_01 with sounds")
    return items


BENCHMARKS = (Benchmark("ravdess", "RAVDESS", LABEL, PROMPTS["ravdess"], read, EMOTIONS),)
