"""Banks of a person's own sounds: made from a folder, a zip or a CSV, kept in the data folder, checked and handed on.

    a folder, or a zip of one, with a subfolder for each label
    a CSV, alone or in a zip, with the columns file and label (and, where there are any, caption and source)

What is left out is named with its reason. Takes of one source, the CSV's own or files of one folder that differ by
their number, share a ``group_key``, by which they never stand as shots for each other.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import re
import shutil
import threading
import zipfile
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from afcore import paths, prompts
from afcore.audio.channels import AUTO
from afcore.audio.recording import MAX_BYTES, open_recording, read_file
from afcore.errors import AudioError, BadRequest, Cancelled, MissingPart
from afcore.hashing import sha256_of, sha256_of_file
from afcore.names import files_in, is_hidden, label_of_folder, shown_name, shown_path
from afcore.retrieval.bank import Bank
from afcore.safe_files import Unpacking, is_unsafe, member_name, opened_zip, write_json
from afcore.tables import Table, utf8

Progress = Callable[[str, float], None]
NAME = re.compile(r"[^\W_][\w .-]{0,63}")
"""What a bank may be called."""
LEFT_OUT = "left_out.json"
_MOST_TABLE = 20 * 2**20  # bytes of a CSV


@dataclass(frozen=True)
class Listed:
    """A sound that may go into a bank."""

    path: str
    """Within the source, as it is shown."""
    read: Callable[[], bytes]
    """Its bytes. Raises AudioError, BadRequest."""
    label: str
    caption: str = ""
    source: str = ""


@dataclass
class Listing:
    """What a folder, zip or CSV holds."""

    sounds: list[Listed] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    """Path -> why, in a sentence."""

    def sentence(self) -> str:
        """How many of what."""
        labels = {sound.label for sound in self.sounds}
        left = f", {len(self.left_out)} left out" if self.left_out else ""
        return f"{len(self.sounds)} sounds with {len(labels)} labels{left}."


# Where they are


def home() -> Path:
    """The folder of all of them."""
    return paths.DATA / "own-banks"


def names() -> list[str]:
    """What there is, by the alphabet."""
    return sorted(file.parent.name for file in home().glob("[!.]*/bank.sqlite"))


def is_there(name: str) -> bool:
    """Whether `names` has it, without a look at the other banks."""
    return NAME.fullmatch(name) is not None and (home() / name / "bank.sqlite").is_file()


def check_name(name: str) -> str:
    """The name without white space around it. Raises BadRequest for one that no bank can have."""
    name = name.strip()
    if not NAME.fullmatch(name):
        raise BadRequest("A bank's name has letters, digits, spaces, points and dashes, at most 64 of them.")
    return name


def find(name: str) -> Path | None:
    """The folder of the bank ``name``, or of the bank in the folder ``name``; None where there is none."""
    if is_there(name):
        return home() / name
    folder = Path(name).expanduser()
    return folder if (folder / "bank.sqlite").is_file() else None


def open_own(name: str) -> Bank:
    """The bank ``name``, with what was left out when it was made. Raises BadRequest where there is none."""
    folder = find(name)
    if folder is None:
        there = names()
        raise BadRequest(f"There is no bank “{name}”" + (f": there are {', '.join(there)}." if there else "."))
    bank = Bank(folder)
    file = folder / LEFT_OUT
    if file.is_file():
        try:
            bank.left_out = dict(json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError):
            bank.left_out = {}
    return bank


def remove(name: str) -> None:
    """Deletes the bank ``name`` of `home`. Raises BadRequest where there is none."""
    folder = home() / check_name(name)
    if not (folder / "bank.sqlite").is_file():
        raise BadRequest(f"There is no bank “{name}”.")
    shutil.rmtree(folder)


# What goes in


def listed(source: Path | bytes, stack: ExitStack, name: str = "", code_page: str = "cp437") -> Listing:
    """What ``source`` holds, a folder, a zip (a path or its bytes) or a CSV; ``stack`` keeps a zip open while its
    sounds are read. ``code_page``: of a zip's names that are not UTF-8, see `member_name`. Raises BadRequest where it
    is none of these, or holds no labelled sound."""
    if isinstance(source, bytes) or source.suffix.lower() == ".zip":
        found = _of_zip(source, stack, name or "The zip", code_page)
    elif source.is_dir():
        found = _of_folder(source.resolve())
    elif source.suffix.lower() == ".csv" and source.is_file():
        found = _of_csv_beside(source.resolve())
    else:
        raise BadRequest(f"{source} is no folder, zip or CSV that can be read.")
    if not found.sounds:
        raise BadRequest(
            "No labelled sounds were found: a bank needs a subfolder for each label, or a CSV with the columns file "
            "and label."
        )
    return found


def _of_folder(root: Path) -> Listing:
    found = files_in(root)
    files = {path: partial(read_file, file, shown_name(file.name)) for path, file in found.files.items()}
    return _by_folder(files, found.left_out)


def _by_folder(files: Mapping[str, Callable[[], bytes]], left_out: Mapping[str, str]) -> Listing:
    """Labels are the folders that hold the sounds; what stands beside them has none, which is said."""
    found = Listing([], dict(left_out))
    for path, read in files.items():
        folder, _, _ = path.rpartition("/")
        if folder:
            found.sounds.append(Listed(path, read, label_of_folder(folder.rpartition("/")[2]), "", _take_of(path)))
        elif path.lower().endswith((".csv", ".jsonl")):
            found.left_out[path] = f"“{path}” is a table: to take labels from it, give it instead of its folder."
        else:
            found.left_out[path] = f"“{path}” stands in no folder, so it has no label."
    return found


def _take_of(path: str) -> str:
    """The source of a file in a folder: its name without the number, '' for a number alone."""
    folder, _, name = path.rpartition("/")
    take = Path(name).stem.rstrip("0123456789 _-")
    return f"{folder}/{take}" if take else ""


def _of_zip(source: Path | bytes, stack: ExitStack, name: str, code_page: str) -> Listing:
    opened = stack.enter_context(opened_zip(source, name))
    unpacking, left_out = Unpacking(opened, name), {}
    files: dict[str, Callable[[], bytes]] = {}
    tables: list[tuple[str, zipfile.ZipInfo]] = []
    for info in opened.infolist():
        path = member_name(info, code_page)
        if info.is_dir() or is_hidden(path):
            continue
        shown = shown_path(path)
        if is_unsafe(path):
            left_out[shown] = f"“{shown_name(path)}” points out of the zip, so it was left out."
        elif path.lower().endswith(".csv"):
            tables.append((shown, info))
        else:
            # Two members may have one name, or one that reads the same.
            files[_unused(shown, files)] = partial(unpacking.read, info, MAX_BYTES)
    if len(tables) == 1:
        shown, info = tables[0]
        folder = shown.rpartition("/")[0]
        found = _of_csv(
            utf8(unpacking.read(info, _MOST_TABLE), shown), shown, lambda path: _member(files, folder, path)
        )
    else:
        found = _by_folder(files, {})
    return Listing(found.sounds, left_out | found.left_out)


def _unused(path: str, known: Container[str]) -> str:
    """``path``, or with a number after it where it is among ``known``: ``dog/1.wav (2)``."""
    numbered = (f"{path} ({number})" for number in itertools.count(2))
    return next(one for one in itertools.chain([path], numbered) if one not in known)


def _member(files: dict[str, Callable[[], bytes]], folder: str, path: str) -> Callable[[], bytes] | None:
    return files.get(f"{folder}/{path}" if folder else path) or files.get(path)


def _of_csv_beside(file: Path) -> Listing:
    def place(path: str) -> Callable[[], bytes] | None:
        sound = file.parent / path
        return partial(read_file, sound, shown_name(sound.name)) if sound.is_file() else None

    try:
        return _of_csv(utf8(file.read_bytes(), file.name), file.name, place)
    except OSError as error:
        raise BadRequest(f"{file} cannot be opened: {error.strerror}.") from error


def _of_csv(text: str, name: str, place: Callable[[str], Callable[[], bytes] | None]) -> Listing:
    table, found = Table(text), Listing()
    table.need(name, "file", "label")
    for values in table:
        number = table.line
        path = shown_path(values["file"])
        if not path or not values["label"]:
            found.left_out[f"line {number}"] = f"Line {number} of {name} lacks a file or a label."
            continue
        read = place(values["file"])
        if read is None:
            found.left_out[path] = f"Line {number} of {name} names “{shown_name(path)}”, which is not there."
            continue
        source = values.get("source") or _take_of(path)
        found.sounds.append(Listed(path, read, values["label"], values.get("caption", ""), source))
    return found


# Making one


def build(
    listing: Listing,
    folder: Path,
    progress: Progress = lambda stage, share: None,
    stop: threading.Event | None = None,
    channels: str | int = AUTO,
) -> Bank:
    """The bank in ``folder``, with all of ``listing`` that can be heard; what it has already stays, so the same call
    goes on where it was stopped. What is left out is in its ``left_out``, and kept. ``channels``: which of them is
    heard, of its sounds and of what is compared with them.

    Raises Cancelled once ``stop`` is set, BadRequest where nothing can be heard or the bank hears other channels.
    """
    bank = Bank(folder, create=True)
    if bank.examples() and bank.channels() != channels:
        before = bank.channels()
        bank.close()
        raise BadRequest(f"That bank was made with the channels “{before}”: make another, under another name.")
    bank.follow(channels, keep=True)
    left_out = dict(listing.left_out)
    known = {example.sha256: example for example in bank.examples()}
    mine: dict[str, str] = {}
    for number, sound in enumerate(listing.sounds):
        progress("Reading the sounds", number / len(listing.sounds))
        if stop is not None and stop.is_set():
            bank.close()
            raise Cancelled()
        shown = f"“{shown_name(sound.path)}”"
        try:
            prompts.check_labels([sound.label])
            data = sound.read()
            sha = sha256_of(data)
            if sha in mine:
                same = mine[sha] == sound.label
                also = "twice" if same else f"also under “{mine[sha]}”"
                raise BadRequest(f"{shown} stands there {also}, so it was left out.")
            mine[sha] = sound.label
            if sha in known:
                if known[sha].label != sound.label:
                    raise BadRequest(f"{shown} is in the bank already, as “{known[sha].label}”.")
                continue
            recording = open_recording(data, sound.path, channels)
            if recording.silent:
                raise BadRequest(f"{shown} holds nothing to hear, so it is no example of anything.")
            caption = sound.caption or sound.label
            source = {"path": sound.path, "group_key": sound.source}
            bank.add(data, sound.label, caption, recording.duration, **source)
            bank.tell(sha, recording.notices)
        except (AudioError, BadRequest) as error:
            left_out[sound.path] = str(error)
    if not bank.examples():
        bank.close()
        raise BadRequest(f"None of the sounds can be heard. {next(iter(left_out.values()), '')}".strip())
    write_json(folder / LEFT_OUT, left_out)
    bank.left_out = left_out
    return bank


# Looking at one, and handing it on


def check(bank: Bank, models: Iterable[tuple[str, str]] = ()) -> list[str]:
    """What is wrong with ``bank``, in sentences: sounds that are gone or changed, labels whose sounds are all of one
    source, sounds that a model, (CLAP's name, encoder's name), has not heard."""
    said, examples = [], bank.examples()
    for example in examples:
        shown = f"“{shown_name(example.path or example.label)}”"
        try:
            if sha256_of_file(bank.audio_path(example.id)) != example.sha256:
                said.append(f"The sound {shown} was changed after it went in.")
        except (MissingPart, OSError):
            said.append(f"The sound {shown} is missing.")
    sources: dict[str, set[str]] = {}
    for example in examples:
        sources.setdefault(example.label, set()).add(example.group_key or example.sha256)
    alone = sorted(label for label, found in sources.items() if len(found) == 1)
    if alone:
        said.append(f"All sounds of {', '.join(f'“{label}”' for label in alone)} are of one source.")
    for clap, encoder in models:
        heard = set(bank.clap_matrix(clap)[0])
        lacking = [e for e in examples if e.id not in heard or bank.features(e.id, encoder) is None]
        if lacking:
            said.append(
                f"{len(lacking)} of {len(examples)} sounds are not heard yet by {clap}; that is made when used."
            )
    return said


def summary(bank: Bank) -> str:
    """A line about it."""
    examples = bank.examples()
    labels = Counter(example.label for example in examples)
    sources = {example.group_key or example.sha256 for example in examples}
    most = ", ".join(f"{label} ({count})" for label, count in labels.most_common(5))
    rule = "" if bank.channels() == AUTO else f" Of several channels “{bank.channels()}” is heard."
    return f"{len(examples)} sounds of {len(sources)} sources with {len(labels)} labels: {most}.{rule}"


def export(bank: Bank, file: Path) -> int:
    """Writes ``bank`` as a zip that `listed` reads: a CSV and the sounds as they were given; returns how many."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("file", "label", "caption", "source"))
    partial_file = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        with zipfile.ZipFile(partial_file, "w") as out:
            for example in bank.examples():
                name = f"sounds/{example.id}{Path(example.path).suffix or '.ogg'}"
                out.write(bank.audio_path(example.id), name)
                writer.writerow((name, example.label, example.caption, example.group_key))
            out.writestr("bank.csv", table.getvalue())
        os.replace(partial_file, file)
    except OSError as error:
        raise BadRequest(f"{file} cannot be written: {error.strerror}.") from error
    finally:
        partial_file.unlink(missing_ok=True)
    return len(bank.examples())
