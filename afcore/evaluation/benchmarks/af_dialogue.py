"""AF-Dialogue-AudioSetSL and AF-Dialogue-MusicCaps: dialogues of several turns that GPT-4 wrote about a sound."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from afcore.evaluation.benchmarks.item import DIALOGUE, TEST, TRAIN, VALIDATION, Benchmark, Item
from afcore.evaluation.benchmarks.layout import Layout
from afcore.evaluation.benchmarks.published_prompts import PROMPTS

TITLES = {"audiosetsl": "AF-Dialogue-AudioSetSL", "musiccaps": "AF-Dialogue-MusicCaps"}
SPLITS = {TRAIN: "train", VALIDATION: "val", TEST: "test"}


def read(data: Path, which: str) -> list[Item]:
    """As `Benchmark.read`: the manifest of the published code, where the sounds lie under ``split_path``."""
    turns = '{"split_path": …, "data": {"0": {"name": …, "dialogue": [{"user": …, "assistant": …}, …]}}}'
    layout = Layout(data, TITLES[which], f"test.json as {turns}")
    layout.file("test.json")
    items = []
    for split, name in SPLITS.items():
        manifest = layout.json(data / f"{name}.json") if (data / f"{name}.json").is_file() else {"data": {}}
        try:
            folder = data / str(manifest.get("split_path", "audio")).lstrip("/")
            for number, entry in manifest["data"].items():
                asked = tuple(str(turn["user"]) for turn in entry["dialogue"])
                answers = tuple(str(turn["assistant"]) for turn in entry["dialogue"])
                file = folder / str(entry["name"])
                items.append(
                    Item(f"{name}/{number}", file, answers, split, source=file.stem, questions=asked) if asked else None
                )
        except (AttributeError, KeyError, TypeError) as error:
            raise layout.wrong(f"{name}.json is not such a manifest") from error
    return [item for item in items if item is not None]


BENCHMARKS = tuple(
    Benchmark(f"af-dialogue-{which}", title, DIALOGUE, PROMPTS[f"af-dialogue-{which}"], partial(read, which=which))
    for which, title in TITLES.items()
)
