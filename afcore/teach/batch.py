"""``python -m afcore label PROJECT FOLDER --out labels.csv``: a folder of sounds labelled by a project, without the
app.

What is done is noted line by line beside the output (``labels.csv.progress.jsonl``) by the content of each file and all
that its label depends on, so that the same command takes up where it was cut off, and does only what is new or has
changed.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from afcore.audio.recording import read_file
from afcore.errors import AudioError, BadRequest
from afcore.hashing import sha256_of
from afcore.published.weights import weights_of
from afcore.teach import exports
from afcore.teach.changes import check_settings
from afcore.teach.exports import LabelledSpan
from afcore.teach.labeller import FileLabeller, How, MakeEngine, failed, prepared
from afcore.teach.media import files_in_folder
from afcore.teach.schema import EXAMPLE, Settings, storage

if TYPE_CHECKING:
    from afcore.teach.project import Project

WHO = "command line"
NOTED = ".progress.jsonl"
"""Added to the output's name: where what is done is noted."""
READING = "file time, channels by rule"
"""How sounds are read; labels of sounds that were read otherwise are made again."""
FORMATS: dict[str, Callable[[list[LabelledSpan]], str]] = {".csv": exports.to_csv, ".jsonl": exports.to_jsonl}

Progress = Callable[[int, int], None]
"""Hears (files done, files in all)."""


class Done:
    """Rows of files that were labelled, kept in a file of JSON lines: {"basis", "sha256", "rows"}.

    A line is written at once, so a kill loses no file but the one in hand; a line that was cut off is passed over.
    """

    def __init__(self, file: Path, basis: str):
        self.file, self.basis = file, basis
        self._rows: dict[str, list[LabelledSpan]] = {}
        self._out: TextIO | None = None

    @contextmanager
    def opened(self) -> Iterator[Done]:
        """Reads what is there; raises BadRequest while another run writes to it, NoSpace."""
        with storage(self.file.name), self.file.open("a+", encoding="utf-8") as out:
            try:
                fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BadRequest(f"Another run is at work on {self.file.name} just now.") from error
            out.seek(0)
            text = out.read()
            for line in text.splitlines():
                self._take(line)
            if text and not text.endswith("\n"):
                out.write("\n")
            self._out = out
            yield self

    def _take(self, line: str) -> None:
        try:
            data = json.loads(line)
            if data["basis"] == self.basis:
                self._rows[data["sha256"]] = [LabelledSpan(**row) for row in data["rows"]]
        except (ValueError, KeyError, TypeError):  # cut off by a kill, or not ours: done again
            return

    def get(self, sha256: str, name: str) -> list[LabelledSpan] | None:
        """The rows of a file with that content, which may have had another name; None where there are none."""
        found = self._rows.get(sha256)
        return None if found is None else [replace(row, file=name) for row in found]

    def add(self, sha256: str, rows: list[LabelledSpan]) -> None:
        """Keeps the rows of a file."""
        self._rows[sha256] = rows
        line = json.dumps(
            {"basis": self.basis, "sha256": sha256, "rows": [asdict(row) for row in rows]}, ensure_ascii=False
        )
        assert self._out is not None, "opened"
        self._out.write(line + "\n")
        self._out.flush()


def label_folder(
    project: Project,
    folder: Path,
    out: Path,
    make_engine: MakeEngine,
    how: How,
    model: str = "mini",
    ray: str | None = None,
    progress: Progress | None = None,
) -> list[LabelledSpan]:
    """Labels every file in ``folder`` and the folders in it, writes ``out`` (.csv or .jsonl) and returns its rows, by
    file.

    ``make_engine`` is only called where something is to be done. ``ray``: the address of a Ray cluster, or "local".
    Raises BadRequest where there is no folder, sound, label or example, MissingPart, NoSpace.
    """
    if out.suffix.lower() not in FORMATS:
        raise BadRequest(f"The output ends with {' or '.join(FORMATS)}, not “{out.suffix}”.")
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise BadRequest(f"There is no folder {out.parent} that {out.name} can be written to.")
    basis, parts, noted = basis_of(project, how, model), out.with_suffix(".parquet"), out.with_name(out.name + NOTED)
    own = {path.resolve() for path in (out, parts, noted)}
    found = files_in_folder(folder, lambda path: own.isdisjoint([path, *path.parents]))
    files = found.files
    rows: dict[str, list[LabelledSpan]] = {
        name: [LabelledSpan(name, 0.0, 0.0, None, error=why)] for name, why in found.left_out.items()
    }
    keys: dict[str, str] = {}  # name -> sha256, of files that can be read
    waiting: dict[str, tuple[str, str, str]] = {}  # sha256 -> sha256, name and path of a file for Ray
    labeller = None
    with Done(noted, basis).opened() as done:
        _absorb(parts, done)
        for number, (name, file) in enumerate(files.items()):
            try:
                data = read_file(file, name)
            except AudioError as error:
                rows[name] = [failed(name, error)]
                continue
            sha256 = keys[name] = sha256_of(data)
            if done.get(sha256, name) is None:
                if ray is not None:
                    waiting.setdefault(sha256, (sha256, name, str(file.resolve())))
                    continue
                labeller = labeller or local_labeller(project, make_engine, how)
                done.add(sha256, labeller.rows(data, name))
            if progress is not None:
                progress(number + 1, len(files))
        if waiting and ray is not None:
            from afcore.teach.ray_batch import label_with_ray

            label_with_ray(list(waiting.values()), folder, project, make_engine, how, model, basis, parts, ray)
            _absorb(parts, done)
        gone = AudioError("A sound changed or vanished while the run was under way: run the same command again.")
        rows |= {name: done.get(sha256, name) or [failed(name, gone)] for name, sha256 in keys.items()}
        ordered = [row for name in sorted(rows) for row in rows[name]]
        exports.save(out, FORMATS[out.suffix.lower()](ordered))
    return ordered


def local_labeller(project: Project, make_engine: MakeEngine, how: How) -> FileLabeller:
    """With a model in this process."""
    engine = make_engine()
    return FileLabeller(engine, prepared(project, engine, how.settings), how)


def basis_of(project: Project, how: How, model: str) -> str:
    """Names all that a file's label depends on beside its content: model and weights, labels, examples, method."""
    with project.db.read():
        labels = [asdict(label) for label in project.labels]
        examples = sorted((clip.key, clip.label) for clip in project.items(EXAMPLE))
    settings = asdict(replace(how.settings, order=Settings.order))
    parts = [READING, model, weights_of(model), labels, examples, settings, how.segments]
    parts += [how.track, how.even_silence]
    if how.padding is not None:  # rows of runs that did not ask for one stay valid
        parts.append(how.padding)
    return sha256_of(json.dumps(parts, sort_keys=True))[:32]


@contextmanager
def open_project(named: str) -> Iterator[Project]:
    """A project by its name or id, its folder, or its exported zip (imported for this time alone).

    Raises BadRequest where there is none, MissingPart where it cannot be read.
    """
    from afcore.teach.project import Project
    from afcore.teach.store import Store
    from afcore.teach.transfer import import_project

    path = Path(named).expanduser()
    if path.is_file():
        with tempfile.TemporaryDirectory() as folder:
            store = Store(folder)
            try:
                yield import_project(store, path, WHO)
            finally:
                store.close()
        return
    if (path / "project.sqlite").is_file():
        project = Project(path)
        try:
            yield project
        finally:
            project.close()
        return
    store = Store()
    known = store.projects()
    found = [one.id for one in known if one.id == named] or [one.id for one in known if one.name == named]
    if not found:
        names = ", ".join(f"“{one.name}”" for one in known) or "none"
        raise BadRequest(f"There is no project “{named}” in {store.folder}; there are: {names}.")
    if len(found) > 1:
        raise BadRequest(f"Several projects are called “{named}”: say which by its id, {', '.join(found)}.")
    try:
        yield store.open(found[0])
    finally:
        store.close()


def chosen(settings: Settings, method: str | None, shots: int | None, channels: str | int | None = None) -> Settings:
    """The project's settings with what was asked for on the command line. Raises BadRequest."""
    if shots is not None:
        method = method or ("lm-shots" if shots else "lm-zero")
        if method != "lm-shots" and shots:
            raise BadRequest(f"The method “{method}” takes no examples into a prompt: leave --shots out.")
        settings = replace(settings, k=shots or settings.k)
    settings = replace(settings, method=method or settings.method, channels=channels or settings.channels)
    check_settings(settings)
    return settings


def _absorb(parts: Path, done: Done) -> None:
    """Takes over what a run on Ray has written, also one that was cut off."""
    if not parts.is_dir():
        return
    from afcore.teach.ray_batch import read_parts

    for sha256, rows in read_parts(parts, done.basis).items():
        if done.get(sha256, "") is None:
            done.add(sha256, rows)
