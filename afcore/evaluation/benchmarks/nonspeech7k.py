"""NonSpeech7k (zenodo.org/records/6967442): coughs, laughs and five other sounds that people make."""

from __future__ import annotations

from pathlib import Path

from afcore.evaluation.benchmarks.item import LABEL, TEST, TRAIN, Benchmark, Item
from afcore.evaluation.benchmarks.layout import Layout
from afcore.evaluation.benchmarks.published_prompts import PROMPTS

LABELS = ("cough", "breath", "screaming", "laugh", "sneeze", "yawn", "crying")
MISSPELT = {"yawm": "yawn"}  # in the published table of the train set
TABLES = {
    TRAIN: ("metadata of train set .csv", "metadata of train set.csv"),  # published with a space before the point
    TEST: ("metadata of test set.csv", "metadata of test set .csv"),
}


def read(data: Path) -> list[Item]:
    """As `Benchmark.read`."""
    layout = Layout(data, "NonSpeech7k", "“metadata of test set.csv” (Filename, Classname), the folder test of WAVs")
    layout.file(*TABLES[TEST])
    items = []
    for split, names in TABLES.items():
        if not any((data / name).is_file() for name in names):
            continue
        table, folder = layout.file(*names), layout.folder(split)
        for row in layout.rows(table, ["filename", "classname"]):
            label = row["classname"].strip().lower()
            if MISSPELT.get(label, label) not in LABELS:
                raise layout.wrong(f"{table.name} has the class “{row['classname']}”")
            source = row.get("file id") or row.get("file_id") or ""
            name = row["filename"].strip()
            items.append(Item(f"{split}/{name}", folder / name, (MISSPELT.get(label, label),), split, source=source))
    return items


BENCHMARKS = (Benchmark("nonspeech7k", "NonSpeech7k", LABEL, PROMPTS["nonspeech7k"], read, LABELS),)
