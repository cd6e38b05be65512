"""MusicCaps (huggingface.co/datasets/google/MusicCaps): a musician's paragraph about ten seconds of a video."""

from __future__ import annotations

from pathlib import Path

from afcore.evaluation.benchmarks.item import CAPTION, TEST, TRAIN, Benchmark, Item
from afcore.evaluation.benchmarks.layout import Layout, first_there
from afcore.evaluation.benchmarks.published_prompts import PROMPTS


def read(data: Path) -> list[Item]:
    """As `Benchmark.read`. Tested is what comes from AudioSet's evaluation set."""
    layout = Layout(
        data, "MusicCaps", "musiccaps-public.csv (ytid, start_s, end_s, caption, is_audioset_eval), audio/YTID.wav"
    )
    folder, items = layout.folder("audio"), []
    columns = ["ytid", "start_s", "end_s", "caption", "is_audioset_eval"]
    for row in layout.rows(layout.file("musiccaps-public.csv"), columns):
        video, start, end = row["ytid"], row["start_s"], row["end_s"]
        split = TEST if row["is_audioset_eval"].strip().lower() == "true" else TRAIN
        file = first_there(folder, [video, f"{video}-[{start}-{end}]", f"[{video}]-[{start}-{end}]"])
        items.append(Item(f"{video}/{start}", file, (row["caption"],), split, source=video))
    return items


BENCHMARKS = (Benchmark("musiccaps", "MusicCaps", CAPTION, PROMPTS["musiccaps"], read),)
