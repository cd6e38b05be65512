"""ESC-50 (github.com/karolpiczak/ESC-50): five seconds of one of fifty sounds, in five folds."""

from __future__ import annotations

from pathlib import Path

from afcore.evaluation.benchmarks.item import LABEL, Benchmark, Item
from afcore.evaluation.benchmarks.layout import Layout, spaced
from afcore.evaluation.benchmarks.published_prompts import PROMPTS


def read(data: Path) -> list[Item]:
    """As `Benchmark.read`: all folds are tested, examples are of the other folds."""
    layout = Layout(data, "ESC-50", "meta/esc50.csv (filename, fold, category, src_file) and the folder audio")
    table, audio = layout.file("meta/esc50.csv"), layout.folder("audio")
    return [
        Item(
            row["filename"],
            audio / row["filename"],
            (spaced(row["category"]),),
            fold=row["fold"],
            source=row["src_file"],
        )
        for row in layout.rows(table, ["filename", "fold", "category", "src_file"])
    ]


BENCHMARKS = (Benchmark("esc-50", "ESC-50", LABEL, PROMPTS["esc-50"], read),)
