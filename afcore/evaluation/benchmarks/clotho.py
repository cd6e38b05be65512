"""Clotho-v2 (zenodo.org/records/4783391): five captions for each sound of 15 to 30 s."""

from __future__ import annotations

from pathlib import Path

from afcore.evaluation.benchmarks.item import CAPTION, TEST, TRAIN, VALIDATION, Benchmark, Item
from afcore.evaluation.benchmarks.layout import Layout
from afcore.evaluation.benchmarks.published_prompts import PROMPTS

SPLITS = {TRAIN: "development", VALIDATION: "validation", TEST: "evaluation"}


def read(data: Path) -> list[Item]:
    """As `Benchmark.read`."""
    expected = "clotho_captions_evaluation.csv (file_name, caption_1 … caption_5) beside the folder evaluation of WAVs"
    layout = Layout(data, "Clotho-v2", f"{expected}, and the same with development for examples")
    layout.file("clotho_captions_evaluation.csv")
    items = []
    for split, name in SPLITS.items():
        if (data / f"clotho_captions_{name}.csv").is_file():
            columns = [f"caption_{n}" for n in range(1, 6)]
            folder = layout.folder(name)
            for row in layout.rows(data / f"clotho_captions_{name}.csv", ["file_name", *columns]):
                captions = tuple(row[column] for column in columns if row[column])
                file = row["file_name"]
                items.append(Item(f"{name}/{file}", folder / file, captions, split, source=file))
    return items


BENCHMARKS = (Benchmark("clotho-v2", "Clotho-v2", CAPTION, PROMPTS["clotho-v2"], read),)
