"""Manifests: one JSON object per line.

    {"audio": "dog.ogg", "prompt": "classify this sound.", "answer": "dog barking", "task": "event classification"}
    {"audio": "rain.ogg", "turns": [["What do you hear?", "Rain."], ["Is it heavy?", "No."]], "task": "dialog"}
    {"audio": "cat.ogg", "prompt": …, "answer": …, "similar": true, "shots": [{"audio": …, "prompt": …, "answer": …},
    …]}

`audio` is a path from the dataset's `root`, `start` where to begin in seconds. Shots can stand in the manifest as
above, or be drawn from the dataset itself, nearest neighbours or random ("NAME:knn", "NAME:random" in a stage's
mix)."""

from __future__ import annotations

import argparse
import json
import os
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

from afcore import paths, prompts
from afcore.errors import AfcoreError, BadRequest
from afcore.retrieval.bank import Bank
from afcore.training.recipe.config import Data, check

_TEXT = {"type": "string", "minLength": 1}
# What is a mark in a prompt must not stand in a text, as `prompts` would refuse it in the middle of a run.
_SAID = _TEXT | {"pattern": r"^((?!<audio>|<SEP>|<\|[a-z_]+\|>|</?s>)[\s\S])*$"}
_SHOT = {"audio": _TEXT, "start": {"type": "number", "minimum": 0}, "prompt": _SAID, "answer": _SAID}
ROW = {
    "type": "object",
    "properties": {
        **_SHOT,
        "task": _TEXT,
        "options": {"type": "array", "items": _SAID, "minItems": 2},
        "similar": {"type": "boolean"},
        "turns": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "array", "items": _SAID, "minItems": 2, "maxItems": 2},
        },
        "shots": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": _SHOT,
                "additionalProperties": False,
                "required": ["audio", "prompt", "answer"],
            },
        },
    },
    "required": ["audio"],
    "oneOf": [{"required": ["turns"]}, {"required": ["prompt", "answer"]}],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Sound:
    """Where a sound is: the file, and where in it to begin in seconds."""

    file: Path
    start: float = 0.0


@dataclass(frozen=True)
class ManifestRow:
    """One line. A dialogue has `turns` and neither prompt nor answer."""

    sound: Sound
    prompt: str = ""
    answer: str = ""
    task: str = ""
    options: tuple[str, ...] = ()
    turns: tuple[tuple[str, str], ...] = ()
    shots: tuple[ManifestRow, ...] = ()
    similar: bool = True

    @property
    def sounds(self) -> list[Sound]:
        return [shot.sound for shot in self.shots] + [self.sound]


def read(data: Data) -> list[ManifestRow]:
    """The rows of a dataset, with its own prompt and task where it has any. Raises BadRequest naming the line."""
    assert data.manifest is not None, "the config says so"
    try:
        lines = data.manifest.read_text().splitlines()
    except OSError as error:
        raise BadRequest(f"The manifest {data.manifest} of {data.name} cannot be opened: {error.strerror}.") from error
    rows = [_row(line, number, data, data.manifest.name) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise BadRequest(f"The manifest {data.manifest} of {data.name} has no rows.")
    return rows


def _row(line: str, number: int, data: Data, file: str) -> ManifestRow:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise BadRequest(f"Line {number} of {file} is not JSON: {error}.") from error
    check(row, ROW, f"Line {number} of {file}")

    def make(entry: dict) -> Sound:
        assert data.root is not None, "a manifest has one"
        return Sound(data.root / entry["audio"], float(entry.get("start", 0)))

    if "turns" in row:
        return ManifestRow(
            make(row), task=data.task or row.get("task", prompts.DIALOG), turns=tuple((q, a) for q, a in row["turns"])
        )
    prompt = data.prompt or row["prompt"]
    task = data.task or row.get("task") or prompts.task_of(prompt)
    shots = tuple(ManifestRow(make(s), s["prompt"], s["answer"]) for s in row.get("shots", ()))
    return ManifestRow(
        make(row), prompt, row["answer"], task, tuple(row.get("options", ())), (), shots, row.get("similar", True)
    )


def write(file: Path, rows: list[dict]) -> None:
    """Writes a manifest; an interrupted run leaves the old one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(file.name + ".partial")
    partial.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    os.replace(partial, file)


def from_bank(bank: Bank, out: Path, per_label: int = 0) -> dict[str, int]:
    """An example bank as manifests in `out`: `labels.jsonl`, `captions.jsonl`, `held_out.jsonl` (labels of every fifth
    source, which the others lack) and `facts.jsonl` for dialogues. `per_label`: at most so many sounds of a label.
    Returns the counts."""
    files: dict[str, list[dict]] = {"labels": [], "captions": [], "held_out": [], "facts": []}
    taken: dict[str, int] = {}
    for example in bank.examples():
        taken[example.label] = taken.get(example.label, 0) + 1
        if per_label and taken[example.label] > per_label:
            continue
        audio = os.path.relpath(bank.audio_path(example.id), out)
        labelled = {
            "audio": audio,
            "prompt": prompts.CLASSIFY,
            "answer": prompts.answer_of(example.label),
            "task": prompts.EVENTS,
        }
        if zlib.crc32((example.group_key or example.sha256).encode()) % 5 == 0:
            files["held_out"].append(labelled)
            continue
        files["labels"].append(labelled)
        files["captions"].append(
            {"audio": audio, "prompt": prompts.CAPTION, "answer": example.caption, "task": prompts.CAPTIONING}
        )
        files["facts"].append(
            {"audio": audio, "label": example.label, "caption": example.caption, "tags": list(example.tags)}
        )
    for name, rows in files.items():
        write(out / f"{name}.jsonl", rows)
    return {name: len(rows) for name, rows in files.items()}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m afcore.training.recipe.manifests", description=from_bank.__doc__)
    parser.add_argument(
        "--bank", type=Path, default=paths.BANK, help="folder of an example bank (default: the shipped one)"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the manifests")
    parser.add_argument("--per-label", type=int, default=0, help="at most so many sounds of a label (default: all)")
    options = parser.parse_args(arguments)
    try:
        counts = from_bank(Bank(options.bank), options.out.resolve(), options.per_label)
    except AfcoreError as error:
        sys.exit(str(error))
    print(", ".join(f"{count} rows in {name}.jsonl" for name, count in counts.items()))


if __name__ == "__main__":
    main()
