"""GTZAN: 30 seconds of one of ten genres, no splits."""

from __future__ import annotations

from pathlib import Path

from afcore.evaluation.benchmarks.item import LABEL, Benchmark, Item
from afcore.evaluation.benchmarks.layout import Layout, sounds_in
from afcore.evaluation.benchmarks.published_prompts import PROMPTS

GENRES = "blues classical country disco hiphop jazz metal pop reggae rock".split()
ENDINGS = (".wav", ".au")


def read(data: Path) -> list[Item]:
    """As `Benchmark.read`: all sounds are tested, each with the others as examples."""
    layout = Layout(
        data, "GTZAN", "the folder genres with a folder for each genre, such as genres/blues/blues.00000.wav"
    )
    root, items = layout.folder("genres", "genres_original", "Data/genres_original"), []
    for genre in GENRES:
        folder = root / genre
        files = sounds_in(folder) + sorted(folder.glob("*.au")) if folder.is_dir() else []
        items += [Item(file.stem, file, (genre,), source=file.stem) for file in files]
    if not items:
        raise layout.wrong(f"there are no sounds in {root.name}/blues and the others")
    return items


BENCHMARKS = (Benchmark("gtzan", "GTZAN", LABEL, PROMPTS["gtzan"], read, GENRES),)
