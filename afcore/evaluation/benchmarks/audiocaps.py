"""AudioCaps (github.com/cdjkim/audiocaps): captions of ten seconds of AudioSet's videos; the sounds are fetched by
whoever has them."""

from __future__ import annotations

from pathlib import Path

from afcore.evaluation.benchmarks.item import CAPTION, TEST, TRAIN, VALIDATION, Benchmark, Item
from afcore.evaluation.benchmarks.layout import Layout, first_there
from afcore.evaluation.benchmarks.published_prompts import PROMPTS

SPLITS = {TRAIN: "train", VALIDATION: "val", TEST: "test"}


def read(data: Path) -> list[Item]:
    """As `Benchmark.read`."""
    names = "YOUTUBEID.wav, YOUTUBEID_START.wav or YYOUTUBEID.wav"
    expected = f"test.csv (audiocap_id, youtube_id, start_time, caption), sounds as {names} in audio/test or audio"
    layout = Layout(data, "AudioCaps", expected)
    tables = data if (data / "test.csv").is_file() else data / "dataset"
    if not (tables / "test.csv").is_file():
        raise layout.wrong("there is no test.csv")
    audio, items = layout.folder("audio"), []
    for split, name in SPLITS.items():
        table = tables / f"{name}.csv"
        captions: dict[tuple[str, str], list[str]] = {}
        for row in layout.rows(table, ["youtube_id", "start_time", "caption"]) if table.is_file() else []:
            captions.setdefault((row["youtube_id"], row["start_time"]), []).append(row["caption"])
        folder = audio / name if (audio / name).is_dir() else audio
        for (video, start), told in captions.items():
            file = first_there(folder, [video, f"{video}_{start}", f"Y{video}"])
            items.append(Item(f"{name}/{video}/{start}", file, tuple(told), split, source=video))
    return items


BENCHMARKS = (Benchmark("audiocaps", "AudioCaps", CAPTION, PROMPTS["audiocaps"], read),)
