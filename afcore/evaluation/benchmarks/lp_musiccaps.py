"""LP-MusicCaps (huggingface.co/datasets/seungheondoh): captions that a language model wrote from tags; -MC of
MusicCaps, -MTT of MagnaTagATune."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from afcore.evaluation.benchmarks.item import CAPTION, TEST, TRAIN, VALIDATION, Benchmark, Item
from afcore.evaluation.benchmarks.layout import Layout, first_there
from afcore.evaluation.benchmarks.published_prompts import PROMPTS

SPLITS = {TRAIN: "train", VALIDATION: "valid", TEST: "test"}
SOUNDS = {"mc": "ytid", "mtt": "path"}
"""The column that names the sound."""
CAPTIONS = "caption_writing", "texts"
"""The column that is the reference; the first that is there."""


def read(data: Path, part: str) -> list[Item]:
    """As `Benchmark.read`; ``part``: mc or mtt."""
    sound = SOUNDS[part]
    expected = f"data/test*.parquet with the columns {sound} and {' or '.join(CAPTIONS)}, sounds in the folder audio"
    layout = Layout(data, f"LP-MusicCaps-{part.upper()}", expected)
    tables, audio, items = layout.folder("data"), layout.folder("audio"), []
    if not list(tables.glob("test*.parquet")):
        raise layout.wrong("there is no data/test*.parquet")
    for split, name in SPLITS.items():
        for row in layout.parquet(sorted(tables.glob(f"{name}*.parquet")), sound, CAPTIONS):
            captions = _texts(row["caption"])
            if captions:
                file = audio / row[sound] if part == "mtt" else first_there(audio, [row[sound]])
                items.append(Item(f"{name}/{row[sound]}", file, captions, split, source=Path(row[sound]).stem))
    return items


def _texts(value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value or []
    return tuple(text for text in texts if isinstance(text, str) and text.strip())


BENCHMARKS = tuple(
    Benchmark(
        f"lp-musiccaps-{part}",
        f"LP-MusicCaps-{part.upper()}",
        CAPTION,
        PROMPTS[f"lp-musiccaps-{part}"],
        partial(read, part=part),
    )
    for part in SOUNDS
)
