"""MusicAVQA (gewu-lab.github.io/MUSIC-AVQA), its questions about what is heard alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from afcore.evaluation.benchmarks.item import ANSWER, TEST, TRAIN, VALIDATION, Benchmark, Item
from afcore.evaluation.benchmarks.layout import Layout, first_there
from afcore.evaluation.benchmarks.published_prompts import PROMPTS

SPLITS = {TRAIN: "train", VALIDATION: "val", TEST: "test"}


def read(data: Path) -> list[Item]:
    """As `Benchmark.read`. Only questions whose type begins with Audio (and not Audio-Visual) are asked."""
    expected = "json/avqa-test.json (video_id, question_content, templ_values, anser, type), audio or videos"
    layout = Layout(data, "MusicAVQA", expected)
    layout.file("json/avqa-test.json")
    folder, items = layout.folder("audio", "videos"), []
    for split, name in SPLITS.items():
        table = data / "json" / f"avqa-{name}.json"
        for row in layout.json(table) if table.is_file() else []:
            try:
                modality, kind = _list(row["type"])
                question = filled(row["question_content"], _list(row["templ_values"]))
                video, answer, number = str(row["video_id"]), str(row["anser"]), row["question_id"]
            except (KeyError, TypeError, ValueError) as error:
                raise layout.wrong(f"a question in {table.name} is not whole") from error
            if modality == "Audio":
                prompt = PROMPTS["music-avqa"].text.format(question=question)
                file, id = first_there(folder, [video]), f"{name}/{number}"
                items.append(Item(id, file, (answer,), split, prompt, (str(kind).lower(),), source=video))
    return items


def _list(text: Any) -> list[Any]:
    found = json.loads(text) if isinstance(text, str) else text
    if not isinstance(found, list):
        raise ValueError("no list")
    return found


def filled(question: str, values: list[Any]) -> str:
    """``How many <Object> …`` with the values in the places of the words in brackets."""
    left = iter(values)
    return re.sub(r"<[^>]*>", lambda _: str(next(left, "")), question)


BENCHMARKS = (Benchmark("music-avqa", "MusicAVQA (audio only)", ANSWER, PROMPTS["music-avqa"], read),)
