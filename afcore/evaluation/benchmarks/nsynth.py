"""NSynth (magenta.tensorflow.org/datasets/nsynth): four seconds of one note; instrument, source and qualities."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from afcore.evaluation.benchmarks.item import LABEL, LABELS, TEST, TRAIN, VALIDATION, Benchmark, Item
from afcore.evaluation.benchmarks.layout import Layout, spaced
from afcore.evaluation.benchmarks.published_prompts import PROMPTS

SPLITS = {TRAIN: "nsynth-train", VALIDATION: "nsynth-valid", TEST: "nsynth-test"}
INSTRUMENTS = "organ mallet brass vocal keyboard reed flute guitar bass synth_lead string".split()
SOURCES = "synthetic electronic acoustic".split()
KEYS = {"instrument": "instrument_family_str", "source": "instrument_source_str", "quality": "qualities_str"}


def read(data: Path, what: str) -> list[Item]:
    """As `Benchmark.read`; ``what``: instrument, source or quality. A note without any quality is no item of that."""
    layout = Layout(data, "NSynth", "the folder nsynth-test with examples.json and audio of WAVs")
    layout.file("nsynth-test/examples.json")
    items = []
    for split, name in SPLITS.items():
        table = data / name / "examples.json"
        notes = layout.json(table) if table.is_file() else {}
        if not isinstance(notes, dict):
            raise layout.wrong(f"{name}/examples.json is no object of notes")
        for note, facts in notes.items():
            answers = _answers(layout, name, facts, what)
            if answers:
                file = data / name / "audio" / f"{note}.wav"
                items.append(Item(f"{name}/{note}", file, answers, split, source=str(facts.get("instrument_str", ""))))
    return items


def _answers(layout: Layout, name: str, facts: Any, what: str) -> tuple[str, ...]:
    if not isinstance(facts, dict) or KEYS[what] not in facts:
        raise layout.wrong(f"a note in {name}/examples.json has no {KEYS[what]}")
    found = facts[KEYS[what]]
    return tuple(map(spaced, found)) if what == "quality" else (str(found),)


BENCHMARKS = (
    Benchmark(
        "nsynth-instrument",
        "NSynth, instrument",
        LABEL,
        PROMPTS["nsynth-instrument"],
        partial(read, what="instrument"),
        INSTRUMENTS,
    ),
    Benchmark(
        "nsynth-source", "NSynth, source", LABEL, PROMPTS["nsynth-source"], partial(read, what="source"), SOURCES
    ),
    Benchmark("nsynth-quality", "NSynth, quality", LABELS, PROMPTS["nsynth-quality"], partial(read, what="quality")),
)
