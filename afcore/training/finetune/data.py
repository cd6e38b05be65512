"""A person's own questions about sounds: read, looked at, and split by source.

    a CSV with the columns file, question, answer (and, where there are any, source and start)
    JSON lines: {"audio": "dog.ogg", "messages": [{"role": "user", "content": "What is it?"},
                                                  {"role": "assistant", "content": "A dog."}], "source": "yard"}

Files are paths from the folder of the CSV or JSON lines. Sounds of one source never stand on both sides of the split;
where no source is given, takes that differ by their number ("bell-1.wav", "bell-2.wav") are one.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jsonschema

from afcore import prompts
from afcore.audio.recording import MAX_BYTES, MAX_SECONDS, open_recording
from afcore.errors import AudioError, BadRequest
from afcore.hashing import sha256_of, sha256_of_file
from afcore.names import is_hidden, shown_name
from afcore.safe_files import Unpacking, is_unsafe, member_name, opened_zip
from afcore.tables import Table, utf8
from afcore.tables import number as seconds

HELD_OUT = 0.2  # share of the questions that are asked before and after, and not trained on
FEWEST = 4  # questions
_MOST_TABLE = 64 * 2**20  # bytes of the file with the questions
_TEXT = {"type": "string", "minLength": 1, "maxLength": 20_000}
LINE = {
    "type": "object",
    "required": ["audio", "messages"],
    "additionalProperties": False,
    "properties": {
        "audio": _TEXT,
        "source": {"type": "string"},
        "start": {"type": "number", "minimum": 0},
        "messages": {
            "type": "array",
            "minItems": 2,
            "items": {
                "type": "object",
                "required": ["role", "content"],
                "properties": {"role": {"enum": ["user", "assistant"]}, "content": _TEXT},
            },
        },
    },
}


@dataclass(frozen=True)
class Item:
    """One sound and what is asked about it."""

    file: Path
    turns: tuple[tuple[str, str], ...]
    """(question, answer), in order."""
    source: str
    """Takes of one recording share it."""
    dialogue: bool = False
    """Whether it is a conversation, whatever its length."""
    start: float = 0.0
    """Where in the file it begins, in seconds."""
    name: str = ""
    """What people call the file, where that is not its own name."""

    @property
    def shown(self) -> str:
        """What it is called in sentences and reports."""
        return shown_name(self.name or self.file.name)


@dataclass
class Look:
    """What was found in the data, before anything is trained."""

    training: list[Item]
    held_out: list[Item]
    left_out: dict[str, str]
    """What is not used -> why, in a sentence."""
    notes: list[str] = field(default_factory=list)
    """What to know of the rest, in sentences."""

    @property
    def items(self) -> list[Item]:
        """All that is used."""
        return [*self.training, *self.held_out]

    @property
    def questions(self) -> int:
        """How many are used."""
        return sum(len(item.turns) for item in self.items)

    def sentences(self) -> list[str]:
        """Counts first, then what is unusual."""
        sounds = len({(item.file, item.start) for item in self.items})
        sources = len({item.source for item in self.items})
        answers = {answer.lower() for item in self.items for _, answer in item.turns}
        first = (
            f"{self.questions} questions about {sounds} sounds of {sources} sources, with {len(answers)} different "
            f"answers."
        )
        second = (
            f"{_questions(self.training)} to train on, {_questions(self.held_out)} of other sources to ask before and "
            "after."
        )
        left = [f"{len(self.left_out)} left out."] if self.left_out else []
        return [first, second, *left, *self.notes]

    def to_json(self) -> dict[str, Any]:
        """Plain data, for the command line's ``--json``."""
        return {
            "training": _questions(self.training),
            "held_out": _questions(self.held_out),
            "left_out": self.left_out,
            "notes": self.notes,
        }


def read(file: Path) -> tuple[list[Item], dict[str, str]]:
    """The items of a ``.csv`` or ``.jsonl`` file, and for each line that is left out why, in a sentence.

    Raises BadRequest for another kind of file, one that cannot be read, or one without the columns.
    """
    file = file.expanduser().resolve()
    readers = {".csv": _read_csv, ".jsonl": _read_jsonl}
    if file.suffix.lower() not in readers:
        raise BadRequest(f"{file.name} is neither a .csv nor a .jsonl file.")
    try:
        text = utf8(file.read_bytes(), file.name)
    except OSError as error:
        raise BadRequest(f"{file} cannot be opened: {error.strerror}.") from error
    return readers[file.suffix.lower()](text, file)


def _read_csv(text: str, file: Path) -> tuple[list[Item], dict[str, str]]:
    table, items, left_out = Table(text), [], {}
    table.need(file.name, "file", "question", "answer")
    for values in table:
        number = table.line
        if not all(values[name] for name in ("file", "question", "answer")):
            left_out[f"line {number}"] = f"Line {number} of {file.name} lacks a file, a question or an answer."
            continue
        try:
            start = seconds(values.get("start") or "0")
        except ValueError:
            left_out[f"line {number}"] = f"Line {number} of {file.name} has a start that is no number of seconds."
            continue
        turns = ((values["question"], values["answer"]),)
        sound = file.parent / values["file"]
        source = values.get("source") or source_of(values["file"])
        items.append(Item(sound, turns, source, False, start, values.get("name", "")))
    return items, left_out


def _read_jsonl(text: str, file: Path) -> tuple[list[Item], dict[str, str]]:
    items, left_out = [], {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            jsonschema.validate(row, LINE)
            said = row["messages"]
            roles = [message["role"] for message in said]
            if roles != ["user", "assistant"] * (len(said) // 2):
                raise ValueError("user and assistant must take turns, the user first")
        except jsonschema.ValidationError as error:
            left_out[f"line {number}"] = f"Line {number} of {file.name} is not right: {error.message[:120]}."
            continue
        except (ValueError, RecursionError) as error:
            left_out[f"line {number}"] = f"Line {number} of {file.name} is not right: {str(error)[:120]}."
            continue
        texts = [message["content"].strip() for message in said]
        turns = tuple(zip(texts[::2], texts[1::2], strict=True))
        source = row.get("source") or source_of(row["audio"])
        items.append(Item(file.parent / row["audio"], turns, source, True, float(row.get("start", 0))))
    return items, left_out


def unpack(source: bytes, folder: Path) -> Path:
    """Puts a zip with one CSV or JSON lines file and its sounds into ``folder``; returns the path of that file, in
    which the sounds have the names under which they lie now. Raises BadRequest for anything else."""
    folder.mkdir(parents=True, exist_ok=True)
    with opened_zip(source) as opened:
        unpacking, tables, files = Unpacking(opened, "The zip"), [], {}
        for info in opened.infolist():
            name = member_name(info)
            if info.is_dir() or is_hidden(name) or is_unsafe(name):
                continue
            if name.lower().endswith((".csv", ".jsonl")):
                tables.append((name, unpacking.read(info, _MOST_TABLE)))
            else:
                sound = unpacking.read(info, MAX_BYTES)
                place = folder / f"{sha256_of(sound)}{_suffix(name)}"
                if not place.exists():
                    place.write_bytes(sound)
                files[name] = place.name
    if len(tables) != 1:
        raise BadRequest(f"The zip must hold one .csv or .jsonl file beside the sounds, and it holds {len(tables)}.")
    [(name, content)] = tables
    text = utf8(content, shown_name(name))
    beside = name.rpartition("/")[0]

    def place_of(path: str) -> str:
        """The name in the folder; of what the zip lacks one that is nowhere, never a path of this machine."""
        found = files.get(f"{beside}/{path}" if beside else path) or files.get(path)
        return found or f"not in the zip/{shown_name(path)}"

    out = folder / f"data{Path(name).suffix.lower()}"
    rewrite = _csv_with if out.suffix == ".csv" else _jsonl_with
    out.write_text(rewrite(text, place_of), encoding="utf-8")
    return out


def _suffix(name: str) -> str:
    suffix = Path(name).suffix.lower()
    return suffix if re.fullmatch(r"\.[a-z0-9]{1,8}", suffix) else ""


def _csv_with(text: str, place_of: Callable[[str], str]) -> str:
    """The table with each file's new name; what it was called before decides its source where none is given."""
    table = Table(text)
    if "file" not in table.columns:
        return text
    out = io.StringIO()
    columns = [*table.columns, *({"source", "name"} - set(table.columns))]
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    for values in table:
        file = values["file"]
        known = {"source": values.get("source") or source_of(file), "name": Path(file).name}
        writer.writerow(values | known | {"file": place_of(file) if file else ""})
    return out.getvalue()


def _jsonl_with(text: str, place_of: Callable[[str], str]) -> str:
    lines = []
    for line in text.splitlines():
        try:
            row = json.loads(line)
            path = row["audio"]
            row |= {"audio": place_of(path), "source": row.get("source") or source_of(path)}
            line = json.dumps(row, ensure_ascii=False)
        except (ValueError, TypeError, KeyError, RecursionError):  # `read` says what is wrong with it
            pass
        lines.append(line)
    return "\n".join(lines)


def source_of(path: str) -> str:
    """Which source a file without one is taken for: its path without the number at the end."""
    place = Path(path)
    return str(place.parent / (place.stem.rstrip("0123456789 _-") or place.stem))


def look(
    items: Iterable[Item],
    left_out: dict[str, str],
    kind: str,
    count_tokens: Callable[[str], int],
    most_tokens: int,
    progress: Callable[[str, float], None] = lambda stage, share: None,
) -> Look:
    """Opens every sound and reads every text, takes out what cannot be used, and splits the rest by source.

    ``kind``: whose prompts; ``count_tokens`` of a text, of which a sample may have ``most_tokens``. Raises BadRequest
    where what is left is too little.
    """
    given, left_out = list(items), dict(left_out)
    notes: list[str] = []
    heard = _heard({item.file: item.shown for item in given}, left_out, notes, progress)
    kept: list[Item] = []
    seen: set[tuple] = set()
    twice = 0
    for item in given:
        if item.file not in heard:
            continue
        try:
            tokens = count_tokens(sample_text(item, kind))
        except BadRequest as error:  # a mark in it
            left_out[f"{item.shown}: {item.turns[0][0]}"] = str(error)
            continue
        if tokens > most_tokens:
            left_out[f"{item.shown}: {item.turns[0][0]}"] = (
                f"The text about {item.shown} has {tokens} tokens, more than the {most_tokens} that are read."
            )
            continue
        key = (heard[item.file], item.start, tuple((q.lower(), a.lower()) for q, a in item.turns))
        twice += key in seen
        if key not in seen:
            kept.append(item)
        seen.add(key)
    if twice:
        notes.append(f"{twice} questions stand there twice with the same answer; each is used once.")
    notes += _contradictions(kept, heard)
    kept, leaks = _joined_sources(kept, heard)
    if leaks:
        notes.append(f"{leaks} sounds stand under several sources; these sources are taken for one.")
    training, held_out = split(kept)
    return Look(training, held_out, left_out, notes)


def _heard(
    files: dict[Path, str], left_out: dict[str, str], notes: list[str], progress: Callable[[str, float], None]
) -> dict[Path, str]:
    """The SHA-256 of every sound that can be heard."""
    heard: dict[Path, str] = {}
    long = 0
    for number, (file, shown) in enumerate(files.items()):
        progress("Opening the sounds", number / len(files))
        try:
            if not file.is_file():
                raise AudioError(f"There is no file {shown}.")
            recording = open_recording(file, shown)
            if recording.silent:
                raise AudioError(f"{shown} holds nothing to hear.")
            heard[file] = sha256_of_file(file)
            long += recording.duration > MAX_SECONDS + 0.5
        except (AudioError, BadRequest) as error:
            left_out[shown] = str(error)
        except OSError as error:
            left_out[shown] = f"{shown} cannot be opened: {error.strerror}."
    if long:
        notes.append(f"{long} sounds are longer than {MAX_SECONDS} s; only that much from their start is heard.")
    return heard


def sample_text(item: Item, kind: str) -> str:
    """The whole training text of ``item`` as a dialogue, for its length. Raises BadRequest for a mark in a text."""
    *before, (question, answer) = item.turns
    return prompts.completed(prompts.chat(before, question, kind=kind), answer)


def _contradictions(items: list[Item], heard: dict[Path, str]) -> list[str]:
    answers: dict[tuple, set[str]] = {}
    for item in items:
        if len(item.turns) == 1:
            [(question, answer)] = item.turns
            answers.setdefault((heard[item.file], item.start, question.lower()), set()).add(answer.lower())
    count = sum(len(found) > 1 for found in answers.values())
    return [f"{count} questions about one sound have different answers; all are used."] if count else []


def _joined_sources(items: list[Item], heard: dict[Path, str]) -> tuple[list[Item], int]:
    """The items with one name for all sources that share a sound, and how many sounds are so shared."""
    root: dict[str, str] = {item.source: item.source for item in items}

    def top(name: str) -> str:
        while root[name] != name:
            name = root[name]
        return name

    sources: dict[str, set[str]] = {}
    for item in items:
        sources.setdefault(heard[item.file], set()).add(item.source)
    for shared in sources.values():
        first, *others = sorted(shared)
        for other in others:
            root[top(other)] = top(first)
    leaks = sum(len(shared) > 1 for shared in sources.values())
    return [replace(item, source=top(item.source)) for item in items], leaks


def split(items: list[Item], share: float = HELD_OUT) -> tuple[list[Item], list[Item]]:
    """(to train on, held out), whole sources each, the same for the same data. Raises BadRequest for too little."""
    counts = Counter(item.source for item in items)
    if len(items) < FEWEST or len(counts) < 2:
        raise BadRequest(
            f"There are {len(items)} questions of {len(counts)} sources that can be used: it takes at least {FEWEST} "
            "of 2 sources, since held-out questions are of other sources than those trained on."
        )
    held: set[str] = set()
    for source in sorted(counts, key=sha256_of):
        taken = sum(counts[name] for name in held)
        # Never the larger part, where a source is large.
        if taken < share * len(items) and taken + counts[source] <= len(items) / 2:
            held.add(source)
    if not held:
        held = {min(counts, key=lambda name: (counts[name], name))}
    return [i for i in items if i.source not in held], [i for i in items if i.source in held]


def _questions(items: list[Item]) -> int:
    return sum(len(item.turns) for item in items)
