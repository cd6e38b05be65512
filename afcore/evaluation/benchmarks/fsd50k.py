"""FSD50K (zenodo.org/records/4060432): Freesound clips with several of 200 labels, the specific one first."""

from __future__ import annotations

from pathlib import Path

from afcore.evaluation.benchmarks.item import LABELS_APPROXIMATE, TEST, TRAIN, VALIDATION, Benchmark, Item
from afcore.evaluation.benchmarks.layout import Layout, spaced
from afcore.evaluation.benchmarks.published_prompts import PROMPTS


def read(data: Path) -> list[Item]:
    """As `Benchmark.read`."""
    layout = Layout(
        data,
        "FSD50K",
        "FSD50K.ground_truth/eval.csv (fname, labels, mids) and the folder FSD50K.eval_audio, and the same with dev",
    )
    layout.file("FSD50K.ground_truth/eval.csv")
    items = []
    for name in ("dev", "eval"):
        table = data / "FSD50K.ground_truth" / f"{name}.csv"
        for row in layout.rows(table, ["fname", "labels"]) if table.is_file() else []:
            split = TEST if name == "eval" else VALIDATION if row.get("split") == "val" else TRAIN
            labels = tuple(spaced(label) for label in row["labels"].split(",") if label)
            file = layout.folder(f"FSD50K.{name}_audio") / f"{row['fname']}.wav"
            items.append(Item(f"{name}/{row['fname']}", file, labels, split, source=row["fname"]))
    return items


BENCHMARKS = (Benchmark("fsd50k", "FSD50K", LABELS_APPROXIMATE, PROMPTS["fsd50k"], read),)
