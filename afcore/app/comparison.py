"""Two to four settings side by side, on one sound or many; kept as a file that anyone can open.

A `Setup` is a column: model, examples, prompt, decoding, channel. A `Comparison` has a `Cell` for each sound and
column.
"""

from __future__ import annotations

import difflib
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from afcore.app.feedback import Thumb
from afcore.app.model_host import NoRoom
from afcore.audio.notices import NOTHING_SENTENCE
from afcore.audio.recording import MAX_SECONDS, Recording, open_recording
from afcore.errors import AfcoreError, BadRequest, Cancelled, MissingPart
from afcore.jobs import Job
from afcore.model.generation import PRESETS, GenerationSettings
from afcore.prompts import asks_for_class, check_labels, with_texts
from afcore.retrieval.nearest import prompt_order
from afcore.safe_files import read_description

if TYPE_CHECKING:
    from afcore.engine.engine import Engine

COLUMNS = 2, 4
"""The fewest and the most."""
MOST_SOUNDS = 60
GREEDY = "likeliest words"
DECODINGS: dict[str, GenerationSettings] = {
    GREEDY: GenerationSettings(),
    "3 beams, as the benchmarks": PRESETS["benchmark"],
    "drawn, as the foundation demo": replace(PRESETS["foundation"], seed=0),
    "drawn, as the chat demo": replace(PRESETS["chat"], seed=0),
}
"""Ways to decode by name; what is drawn has a seed, so that it can be drawn again."""
CHANNELS: dict[str, str | int] = {"by itself": "auto", "the first": "one", "all mixed": "mix"}
FORMAT, VERSION = "audio-flamingo comparison", 1
TEXT = {"type": "string", "maxLength": 20_000}
NUMBER = {"type": "number"}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["setups", "sounds", "cells", "labels"],
    "properties": {
        "setups": {
            "type": "array",
            "minItems": COLUMNS[0],
            "maxItems": COLUMNS[1],
            "items": {
                "type": "object",
                "required": ["model", "shots", "prompt", "decoding", "channel"],
                "additionalProperties": False,
                "properties": {
                    "model": TEXT,
                    "shots": {"type": "integer", "minimum": 0, "maximum": 16},
                    "prompt": TEXT,
                    "decoding": {"enum": list(DECODINGS)},
                    "channel": {"enum": list(CHANNELS)},
                    "text_only": {"type": "boolean"},
                },
            },
        },
        "sounds": {
            "type": "array",
            "maxItems": MOST_SOUNDS,
            "items": {
                "type": "object",
                "required": ["sha256", "name"],
                "properties": {"sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"}, "name": TEXT},
            },
        },
        "labels": {"type": "array", "maxItems": 50, "items": TEXT},
        "cells": {
            "type": "array",
            "maxItems": MOST_SOUNDS * COLUMNS[1],
            "items": {
                "type": "object",
                "required": ["sound", "column"],
                "additionalProperties": False,
                "properties": {
                    "sound": TEXT,
                    "column": {"type": "integer", "minimum": 0, "maximum": COLUMNS[1] - 1},
                    "answer": TEXT,
                    "prompt": TEXT,
                    "examples": {"type": "array", "maxItems": 16, "items": TEXT},
                    "probabilities": {"type": "object", "maxProperties": 50, "additionalProperties": NUMBER},
                    "first_token": NUMBER,
                    "tokens_per_second": NUMBER,
                    "error": TEXT,
                    "thumb": {"enum": ["", "up", "down"]},
                },
            },
        },
    },
}


@dataclass(frozen=True)
class Setup:
    """A column: who is asked, and how."""

    model: str = "mini"
    shots: int = 0
    prompt: str = "What is this sound?"
    decoding: str = GREEDY
    channel: str = "by itself"
    text_only: bool = False
    """Whether the examples' answers stand in the prompt without their sounds (RECAP's idea)."""

    @property
    def title(self) -> str:
        """What tells it apart, in a line."""
        parts = [self.model, f"{self.shots} examples" if self.shots else "no examples"]
        parts += ["as text only"] * (self.text_only and self.shots > 0)
        parts += [self.decoding] * (self.decoding != GREEDY) + [f"channel: {self.channel}"] * (
            self.channel != "by itself"
        )
        return ", ".join(parts)


@dataclass
class Cell:
    """What one column says of one sound."""

    sound: str
    """The recording's sha256."""
    column: int
    answer: str = ""
    prompt: str = ""
    examples: list[str] = field(default_factory=list)
    """Labels of the examples, the nearest last."""
    probabilities: dict[str, float] = field(default_factory=dict)
    first_token: float = 0.0
    """Seconds from the question to the first token."""
    tokens_per_second: float = 0.0
    """After the first."""
    error: str = ""
    thumb: str = ""
    """"up", "down" or ''."""


@dataclass
class Comparison:
    """A run: its columns, its sounds, and what was said by now."""

    setups: tuple[Setup, ...]
    sounds: dict[str, str]
    """sha256 -> name."""
    labels: tuple[str, ...] = ()
    cells: dict[tuple[str, int], Cell] = field(default_factory=dict)
    partial: str = ""
    """What has come of the answer under way."""
    now: tuple[str, int] | None = None
    """The cell under way."""

    def __post_init__(self) -> None:
        if not COLUMNS[0] <= len(self.setups) <= COLUMNS[1]:
            raise BadRequest(f"There can be {COLUMNS[0]} to {COLUMNS[1]} columns.")
        if not self.sounds:
            raise BadRequest("Choose at least one sound.")
        if self.labels:
            check_labels(self.labels)

    def rows(self) -> Iterator[tuple[str, list[Cell | None]]]:
        """(sha256, a cell for each column or None) of each sound."""
        for sha256 in self.sounds:
            yield sha256, [self.cells.get((sha256, column)) for column in range(len(self.setups))]

    def thumbs(self, column: int) -> tuple[int, int]:
        """(up, down) of a column."""
        given = [cell.thumb for (_, number), cell in self.cells.items() if number == column]
        return given.count("up"), given.count("down")

    def mean(self, column: int, value: Callable[[Cell], float]) -> float | None:
        """Of a column's answers; None where there are none."""
        found = [value(cell) for (_, number), cell in self.cells.items() if number == column and not cell.error]
        return sum(found) / len(found) if found else None

    def agreeing(self, column: int) -> tuple[int, int]:
        """(answers that are the same as the first column's, answers that both gave)."""
        pairs = [
            (first, cell)
            for sha256 in self.sounds
            if (first := self.cells.get((sha256, 0))) and (cell := self.cells.get((sha256, column)))
        ]
        pairs = [(a, b) for a, b in pairs if not a.error and not b.error]
        return sum(words(a.answer) == words(b.answer) for a, b in pairs), len(pairs)

    def run(self, job: Job, recordings: dict[str, Recording], here: Engine, load: Callable[[str, bool], Job]) -> None:
        """The work of a job: fills the cells that are empty, sound by sound, by all models for which there is room
        together; those for which there is none come after them, each in its turn.

        ``load``: of a model other than ``here`` the loading, as `ModelHost.beside` without the session.
        """
        missing = [
            (sha256, column)
            for sha256 in self.sounds
            for column in range(len(self.setups))
            if sha256 in recordings and (sha256, column) not in self.cells
        ]
        together: list[str] = []
        later: list[list[str]] = []
        for model in dict.fromkeys(self.setups[column].model for _, column in missing):
            try:
                self._engine(job, model, here, load)
                together.append(model)
            except NoRoom:
                later.append([model])
            except Cancelled:
                return
            except AfcoreError as error:
                self.cells |= {
                    (s, c): Cell(s, c, error=str(error)) for s, c in missing if self.setups[c].model == model
                }
        asked = 0
        for group in (together, *later):
            for sha256, column in missing:
                if (model := self.setups[column].model) not in group or (sha256, column) in self.cells:
                    continue
                job.report(f"{model}: {asked + 1} of {len(missing)}", asked / len(missing))
                asked += 1
                try:
                    engine = self._engine(job, model, here, load, in_turn=group is not together)
                except Cancelled:
                    return
                except AfcoreError as error:
                    self.cells[sha256, column] = Cell(sha256, column, error=str(error))
                    continue
                self._ask(job, engine, recordings[sha256], sha256, column)

    def _engine(
        self,
        job: Job,
        model: str,
        here: Engine,
        load: Callable[[str, bool], Job],
        in_turn: bool = False,
    ) -> Engine:
        """The engine of ``model``, once it is loaded. Raises Cancelled when the job is stopped meanwhile, and what
        keeps the model from being had."""
        if job.stopping.is_set():
            raise Cancelled()
        if model == here.name:
            return here
        loading = load(model, in_turn)
        while not loading.wait(0.2):
            if job.stopping.is_set():
                raise Cancelled()
            job.report(f"Loading {model}: {loading.stage}" if loading.stage else f"Loading {model}", 0.0)
        engine: Engine | None = loading.result
        if engine is None:
            raise MissingPart(loading.error or f"{model} was put away for another model just now. Ask again.")
        return engine

    def _ask(self, job: Job, engine: Engine, recording: Recording, sha256: str, column: int) -> None:
        setup, cell = self.setups[column], Cell(sha256, column)
        self.partial, self.now = "", (sha256, column)
        with engine.turns.wait(stop=job.stopping):
            try:
                self._fill(cell, job, engine, recording, setup)
            except AfcoreError as error:
                cell.error = str(error)
        self.now = None
        if not job.stopping.is_set():
            self.cells[sha256, column] = cell
            job.show(cell)

    def _fill(self, cell: Cell, job: Job, engine: Engine, recording: Recording, setup: Setup) -> None:
        from afcore.engine.engine import answer_of_shot  # which imports torch

        rule = CHANNELS[setup.channel]
        if recording.channels > 1 and recording.heard.rule != rule:
            recording = open_recording(recording.data, recording.name, rule)
        heard = replace(engine.hear(recording.clip(0.0, MAX_SECONDS)), in_passing=True)
        if heard.silent:
            cell.answer = NOTHING_SENTENCE
            return
        shots = prompt_order(engine.neighbours(heard, setup.shots)) if setup.shots else []
        cell.examples, question = [shot.example.label for shot in shots], setup.prompt
        if setup.text_only and shots:
            by_label = asks_for_class(question)
            question, shots = with_texts(question, [answer_of_shot(shot, by_label) for shot in shots]), []
        prompt = engine.build_prompt(heard, question, shots)
        cell.prompt = prompt.text
        timings: dict[str, float] = {}
        pieces = 0
        for piece in engine.stream(heard, prompt, DECODINGS[setup.decoding], job.stopping, timings):
            self.partial += piece
            pieces += 1
        cell.answer = self.partial.strip()
        cell.first_token = timings["first_token"]
        after = engine.language.tokens(cell.answer) - 1
        seconds = timings["generate"] - timings["first_token"]
        cell.tokens_per_second = after / seconds if after > 0 and pieces > 1 else 0.0  # at once: no speed
        if self.labels:
            cell.probabilities = engine.score(heard, self.labels, shots, question).probabilities

    def thumb(self, cell: Cell, up: bool | None) -> Thumb | None:
        """Keeps a thumb of an answer, or takes it back; returns what the server keeps of it."""
        cell.thumb = "" if up is None else "up" if up else "down"
        if up is None:
            return None
        setup = self.setups[cell.column]
        name = self.sounds[cell.sound]
        return Thumb(cell.thumb, name, cell.sound, 0.0, setup.model, setup.prompt, cell.answer, cell.prompt)

    def to_json(self) -> str:
        """As a file: no sound is in it, only names and hashes."""
        content = {
            "format": FORMAT,
            "version": VERSION,
            "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "setups": [asdict(setup) for setup in self.setups],
            "labels": list(self.labels),
            "sounds": [{"sha256": sha256, "name": name} for sha256, name in self.sounds.items()],
            "cells": [asdict(cell) for cell in self.cells.values()],
        }
        return json.dumps(content, indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, data: bytes) -> Comparison:
        """Opens such a file. Raises BadRequest where it is another."""
        content = read_description(data, "comparison", FORMAT, VERSION, SCHEMA)
        setups = tuple(Setup(**setup) for setup in content["setups"])
        sounds = {sound["sha256"]: sound["name"] for sound in content["sounds"]}
        cells = [Cell(**cell) for cell in content["cells"]]
        known = {(c.sound, c.column): c for c in cells if c.sound in sounds and c.column < len(setups)}
        return cls(setups, sounds, tuple(content["labels"]), known)


def words(text: str) -> list[str]:
    """Words as they are compared: without case and punctuation."""
    return re.findall(r"\w+(?:['’-]\w+)*", text.lower())


def marked(first: str, other: str) -> list[tuple[str, bool]]:
    """The words of ``other`` with what stands around them, and whether each differs from ``first``."""
    pieces = other.split()
    mine = [" ".join(words(piece)) for piece in pieces]
    theirs = [" ".join(words(piece)) for piece in first.split()]
    same: set[int] = set()
    for block in difflib.SequenceMatcher(None, theirs, mine, autojunk=False).get_matching_blocks():
        same |= set(range(block.b, block.b + block.size))
    return [(piece, number not in same and bool(mine[number])) for number, piece in enumerate(pieces)]


def to_table(comparison: Comparison) -> list[dict[str, Any]]:
    """A row for each sound, a column for each setting; where labels were weighed, one more with the likeliest."""
    rows = []
    for sha256, cells in comparison.rows():
        row: dict[str, Any] = {"sound": comparison.sounds[sha256]}
        for setup, cell in zip(named(comparison.setups), cells, strict=True):
            row[setup] = "" if cell is None else cell.error or cell.answer
            if comparison.labels:
                best = max(cell.probabilities.items(), key=lambda entry: entry[1], default=None) if cell else None
                row[f"{setup[0]}: likeliest"] = f"{best[0]} {100 * best[1]:.0f} %" if best else ""
        rows.append(row)
    return rows


def named(setups: Sequence[Setup]) -> list[str]:
    """A name for each column, A to D, with what tells it apart."""
    return [f"{letter}: {setup.title}" for letter, setup in zip("ABCD", setups, strict=False)]
