"""AudioSet (research.google.com/audioset): ten seconds of a video with several of 527 labels; the sounds are fetched by
whoever has them."""

from __future__ import annotations

import csv
from pathlib import Path

from afcore.evaluation.benchmarks.item import LABELS, TEST, TRAIN, Benchmark, Item
from afcore.evaluation.benchmarks.layout import Layout, first_there
from afcore.evaluation.benchmarks.published_prompts import PROMPTS

SPLITS = {TRAIN: "balanced_train", TEST: "eval"}


def read(data: Path) -> list[Item]:
    """As `Benchmark.read`. Commas within a label's name go, since answers have them between labels."""
    expected = "eval_segments.csv, class_labels_indices.csv (index, mid, display_name), sounds as audio/eval/YTID.wav"
    layout = Layout(data, "AudioSet", expected)
    layout.file("eval_segments.csv")
    names = {
        row["mid"]: row["display_name"].replace(",", "")
        for row in layout.rows(layout.file("class_labels_indices.csv"), ["mid", "display_name"])
    }
    items = []
    for split, name in SPLITS.items():
        table = data / f"{name}_segments.csv"
        lines = table.read_text(encoding="utf-8").splitlines() if table.is_file() else []
        rows = csv.reader((line for line in lines if line and not line.startswith("#")), skipinitialspace=True)
        folder = layout.folder("audio") / name
        for row in rows:
            if len(row) != 4 or not all(mid in names for mid in row[3].split(",")):
                raise layout.wrong(f"{table.name} has a line that is not YTID, start, end and labels")
            video, start = row[0], row[1]
            file = first_there(folder, [video, f"Y{video}", f"{video}_{start}"])
            labels = tuple(names[mid] for mid in row[3].split(","))
            items.append(Item(f"{name}/{video}", file, labels, split, source=video))
    return items


BENCHMARKS = (Benchmark("audioset", "AudioSet", LABELS, PROMPTS["audioset"], read),)
