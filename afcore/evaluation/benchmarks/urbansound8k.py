"""UrbanSound8K (zenodo.org/records/1203745): up to four seconds of one of ten sounds, in ten folds."""

from __future__ import annotations

from pathlib import Path

from afcore.evaluation.benchmarks.item import LABEL, Benchmark, Item
from afcore.evaluation.benchmarks.layout import Layout, spaced
from afcore.evaluation.benchmarks.published_prompts import PROMPTS

LABELS = (
    "air conditioner",
    "car horn",
    "children playing",
    "dog bark",
    "drilling",
    "engine idling",
    "gun shot",
    "jackhammer",
    "siren",
    "street music",
)


def read(data: Path) -> list[Item]:
    """As `Benchmark.read`: all folds are tested, examples are of the other folds."""
    layout = Layout(
        data, "UrbanSound8K", "metadata/UrbanSound8K.csv (slice_file_name, fsID, fold, class) and audio/fold1 … fold10"
    )
    table, audio = layout.file("metadata/UrbanSound8K.csv"), layout.folder("audio")
    return [
        Item(
            row["slice_file_name"],
            audio / f"fold{row['fold']}" / row["slice_file_name"],
            (spaced(row["class"]),),
            fold=row["fold"],
            source=row["fsid"],
        )
        for row in layout.rows(table, ["slice_file_name", "fsid", "fold", "class"])
    ]


BENCHMARKS = (Benchmark("urbansound8k", "UrbanSound8K", LABEL, PROMPTS["urbansound8k"], read, LABELS),)
