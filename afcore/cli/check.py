"""``python -m afcore check``: says whether what lies on the disk is whole: weights, own models, banks, projects, kept
sessions, shared results."""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from afcore import paths
from afcore.cli.shared import REFUSED, print_json
from afcore.errors import AfcoreError
from afcore.hashing import sha256_of_file
from afcore.names import escaped
from afcore.published import sums
from afcore.published.folders import home
from afcore.teach.media import sound_file
from afcore.teach.store import Store

if TYPE_CHECKING:
    from afcore.cli.shared import Commands

HEADER = 8  # bytes of the length of a safetensors file's header


@dataclass(frozen=True)
class Checked:
    """One thing on the disk."""

    what: str
    """"data", "weights", "model", "bank", "project", "session", "share", "compared" or "thumbs"."""
    place: str
    holds: str
    """What was looked at, in a few words."""
    wrong: tuple[str, ...] = ()
    """A sentence for each thing that is not as it should be; empty: it is whole."""


def add_check(commands: Commands) -> None:
    """Adds ``check`` to the command line."""
    help = "say whether weights, models, banks, projects, kept sessions and shared results are whole"
    parser = commands.add_parser("check", help=help, description=help[0].upper() + help[1:] + ".")
    parser.add_argument("--json", action="store_true", help="one JSON object for each, on a line of its own")
    parser.add_argument("--record", action="store_true", help="for whoever made new weights: write their hashes first")
    parser.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> int:
    wrong = 0
    if options.record:
        sums.record(paths.MINI)
    for one in everything():
        wrong += bool(one.wrong)
        if options.json:
            print_json({**asdict(one), "whole": not one.wrong})
            continue
        print(f"{'DAMAGED' if one.wrong else 'whole':8} {one.what:8} {escaped(one.place)}: {one.holds}", flush=True)
        for sentence in one.wrong:
            print(f"{'':17} {escaped(sentence)}", flush=True)
    return REFUSED if wrong else 0


def everything() -> Iterator[Checked]:
    """All that there is, of the folders that `afcore.paths` names now."""
    yield data_folder(paths.DATA)
    for folder in (paths.MINI, paths.DATA / "mini-lm", paths.DATA / "ready", *sorted(home().glob("audio-flamingo-*"))):
        if folder.is_dir():
            yield weights(folder)
    for folder in dict.fromkeys((paths.SHIPPED_BANK, paths.BANK)):
        if (folder / "bank.sqlite").exists():
            yield bank(folder)
    yield from of_data(paths.DATA, Store().folder)


def of_data(data: Path, projects: Path | None = None) -> Iterator[Checked]:
    """What people made, in the folder ``data``; ``projects``: where its projects are, if not in it."""
    for folder in sorted((data / "models").glob("[!.]*/")):
        yield model(folder)
    for banks in ("banks", "own-banks"):
        for file in sorted((data / banks).glob("[!.]*/bank.sqlite")):
            yield bank(file.parent, keeps=banks == "own-banks")
    for file in sorted((projects or data / "projects").glob("[!.]*/project.sqlite")):
        yield project(file.parent)
    for file in sorted((data / "sessions").glob("*.json")):
        yield session(file)
    for file in sorted((data / "shares").glob("*.json")):
        yield share(file)
    for file in sorted((data / "comparisons").glob("*.json")):
        said = () if _is_object(file.read_text(encoding="utf-8", errors="replace")) else ("It cannot be read.",)
        yield Checked("compared", str(file), "settings and answers", said)
    if (data / "feedback.jsonl").exists():
        yield thumbs(data / "feedback.jsonl")


def data_folder(folder: Path) -> Checked:
    """Whether it can be written."""
    if not folder.exists():
        return Checked("data", str(folder), "nothing yet")
    wrong = () if os.access(folder, os.W_OK) else ("It cannot be written, so nothing new is saved.",)
    return Checked("data", str(folder), "can be written" if not wrong else "cannot be written", wrong)


def weights(folder: Path) -> Checked:
    """Each file against its recorded hash, and its header, which says how long it must be, against its length."""
    files = sorted(folder.glob("*.safetensors"))
    wrong = sums.differing(folder) + [f"{file.name} is cut off or no file of weights." for file in files if _cut(file)]
    recorded = ", hashes as recorded" if (folder / sums.NAME).is_file() and not wrong else ""
    return Checked("weights", str(folder), f"{len(files)} files of weights{recorded}", tuple(wrong))


def _cut(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(HEADER), "little")
            header = json.loads(opened.read(min(length, 2**26)))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        return file.stat().st_size != HEADER + length + max(ends, default=0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return True


def model(folder: Path) -> Checked:
    """A person's own: every file as it was written, by the hashes in its description."""
    from afcore.engine import model_folder

    try:
        facts = model_folder.read(folder)
    except AfcoreError as error:
        return Checked("model", str(folder), "its files", (str(error),))
    return Checked("model", str(folder), f"{facts.layout}, hashes as recorded")


def bank(folder: Path, keeps: bool = True) -> Checked:
    """Its database, and where it ``keeps`` its sounds each against its hash. Otherwise they are a person's, who may
    change them."""
    file = folder / "bank.sqlite"
    wrong = _database(file)
    if wrong:
        return Checked("bank", str(folder), "its database", tuple(wrong))
    with closing(_opened(file)) as db:
        hashes = [sha for (sha,) in db.execute("SELECT sha256 FROM example")]
    if keeps:
        wrong = [why for sha in hashes for why in _sound(folder / "audio" / sha[:2] / f"{sha}.ogg", sha)]
    return Checked("bank", str(folder), f"{len(hashes)} sounds" + " (of a folder)" * (not keeps), tuple(wrong))


def project(folder: Path) -> Checked:
    """Its database, and each sound against its hash."""
    file = folder / "project.sqlite"
    wrong = _database(file)
    if wrong:
        return Checked("project", str(folder), "its database", tuple(wrong))
    with closing(_opened(file)) as db:
        hashes = [sha for (sha,) in db.execute("SELECT DISTINCT sha256 FROM clip")]
        (changes,) = db.execute("SELECT count(*) FROM change").fetchone()
    wrong = [why for sha in hashes for why in _sound(sound_file(folder, sha), sha)]
    return Checked("project", str(folder), f"{len(hashes)} sounds, {changes} changes", tuple(wrong))


def session(file: Path) -> Checked:
    """Its description, and its sound against its hash."""
    try:
        sha = json.loads(file.read_bytes())["sha256"]
        wrong = _sound(sound_file(file.parent, sha), sha)
    except (OSError, ValueError, KeyError, TypeError):
        wrong = ["Its description cannot be read."]
    return Checked("session", str(file), "a sound and its chat", tuple(wrong))


def share(file: Path) -> Checked:
    """A shared result: its description, and its sound, where it has one, against its hash."""
    try:
        sha = json.loads(file.read_bytes())["sound"]
        wrong = _sound(sound_file(file.parent, sha), sha) if sha else []
    except (OSError, ValueError, KeyError, TypeError):
        wrong = ["Its description cannot be read."]
    return Checked("share", str(file), "a shared result", tuple(wrong))


def thumbs(file: Path) -> Checked:
    """Each line. The last may be cut off where the machine went down: it is passed over."""
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    odd = [number for number, line in enumerate(lines[:-1], 1) if not _is_object(line)]
    return Checked("thumbs", str(file), f"{len(lines)} lines", tuple(f"Line {n} cannot be read." for n in odd))


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _sound(file: Path, sha256: str) -> list[str]:
    try:
        return [] if sha256_of_file(file) == sha256 else [f"The sound {sha256[:12]} is not the one that was saved."]
    except OSError:
        return [f"The sound {sha256[:12]} is missing."]


def _database(file: Path) -> list[str]:
    """What SQLite itself finds wrong: pages, indexes, rows that refer to none."""
    try:
        with closing(_opened(file)) as db:
            found = [said for (said,) in db.execute("PRAGMA integrity_check(10)") if said != "ok"]
            if db.execute("PRAGMA foreign_key_check").fetchone():
                found.append("A row refers to one that is not there.")
    except sqlite3.DatabaseError as error:
        found = [str(error)]
    return [f"{file.name}: {said}" for said in found]


def _opened(file: Path) -> sqlite3.Connection:
    """For reading; a shipped bank may lie where nothing can be written."""
    mode = "ro" if os.access(file.parent, os.W_OK) else "ro&immutable=1"
    return sqlite3.connect(f"{file.resolve().as_uri()}?mode={mode}", uri=True)
