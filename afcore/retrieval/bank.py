"""The example bank: short labelled sounds with captions, sources, licences and embeddings.

A folder with `bank.sqlite` and the sounds by content: `audio/<first two hex digits>/<sha256>.ogg`. FAISS indices are
built from it (`afcore.retrieval.nearest`) and never stored.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from afcore import paths, prompts
from afcore.audio.channels import AUTO, check_rule
from afcore.audio.notices import Notice
from afcore.errors import AudioError, BadRequest, MissingPart
from afcore.hashing import sha256_of, sha256_of_file
from afcore.names import files_in, label_of_folder
from afcore.retrieval import ExampleBank
from afcore.retrieval.example import Example

SCHEMA = """
CREATE TABLE IF NOT EXISTS example (
    id INTEGER PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, label TEXT NOT NULL, caption TEXT NOT NULL, tags TEXT NOT NULL
    DEFAULT '[]', seconds REAL NOT NULL, package TEXT NOT NULL DEFAULT '', version TEXT NOT NULL DEFAULT '', path TEXT
    NOT NULL DEFAULT '', author TEXT NOT NULL DEFAULT '', licence TEXT NOT NULL DEFAULT '', source_url TEXT NOT NULL
    DEFAULT '', group_key TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS embedding (
    example_id INTEGER NOT NULL REFERENCES example(id) ON DELETE CASCADE, model TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('features', 'clap')), shape TEXT NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (example_id, model, kind));
"""
READING = "file time, notices"
"""How sounds are read; what was made of sounds that were read otherwise is made again."""
_COLUMNS = "id, label, caption, sha256, seconds, package, version, path, author, licence, source_url, group_key, tags"


class LabelledFile(NamedTuple):
    """A person's sound file with its label."""

    file: Path
    label: str
    path: str
    """As it is shown."""
    group_key: str
    """Takes of one source share it."""


class Bank(ExampleBank):
    """Examples in SQLite, sounds in files. One instance may be used from several threads.

    ``files``: where the sounds lie under their own names, for a bank that keeps none itself. Raises MissingPart where
    ``folder`` holds no bank and ``create`` is not set, or a file that is no bank of this form.
    """

    def __init__(self, folder: str | Path, create: bool = False, files: Path | None = None):
        self.folder, self._files = Path(folder), files
        self._own: dict[str, Path] = {}  # sha256 -> a person's file, however it is called
        self._notices: dict[str, tuple[Notice, ...]] = {}  # sha256 -> what is unusual about a person's file
        self._channels: str | int = AUTO
        self.left_out: dict[str, str] = {}
        """Path -> why it is not in the bank, in a sentence; of a bank from a folder."""
        file = self.folder / "bank.sqlite"
        if not file.exists() and not create:
            raise MissingPart(f"There is no example bank in {self.folder}.")
        if create:
            self.folder.mkdir(parents=True, exist_ok=True)
        self._open(file)

    def _open(self, file: str | Path) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(file, check_same_thread=False)
        weakref.finalize(self, self._database.close)  # also where nobody calls `close`
        self._database.execute("PRAGMA foreign_keys = ON")
        try:
            tables = {name for (name,) in self._database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not {"example", "embedding"} <= tables:  # nothing is written on opening: a shipped bank may be read-only
                self._database.executescript(SCHEMA)
            if {"reading", "told"} <= tables:
                self._read_told()
        except (sqlite3.DatabaseError, ValueError, TypeError, KeyError) as error:
            raise MissingPart(f"The example bank {file} cannot be read: {error}.") from error

    @classmethod
    def from_folder(cls, folder: str | Path, channels: str | int = AUTO) -> Bank:
        """A person's own bank: a subfolder per label, sounds inside. Embeddings are cached under `paths.DATA/banks`.

        The label is the subfolder's name with spaces for underscores. What is no sound, silent, damaged, in no
        subfolder or under two labels is named in `left_out`, and the rest is used. ``channels``: which of them is
        heard.

        Raises BadRequest where the folder is missing or has no labelled sounds.
        """
        root = Path(folder).expanduser().resolve()
        found, left_out = _labelled_files(root)
        cache = paths.DATA / "banks" / sha256_of(os.fsencode(root))[:16]
        bank = cls(cache, create=True, files=root)
        bank.follow(channels)
        bank._adopt(found, left_out)
        bank.left_out = left_out
        if not bank.examples():
            raise BadRequest(f"The folder {root} has no subfolders with sounds: each label needs one.")
        return bank

    @classmethod
    def of_files(cls, folder: Path, files: dict[str, LabelledFile], channels: str | int = AUTO) -> Bank:
        """A bank of files that lie anywhere, by the sha256 of their bytes; embeddings are kept in ``folder``.

        What is no sound, silent or damaged is named in `left_out`. ``channels``: which of them is heard.
        """
        bank = cls(folder, create=True, files=folder)
        bank.follow(channels)
        bank._adopt(files, bank.left_out)
        return bank

    def _read_told(self) -> None:
        """By which rule its sounds were heard when they went in, and what was unusual about each."""
        row = self._database.execute("SELECT rule FROM reading").fetchone()
        if row is not None:
            self._channels = check_rule(row[0].rpartition(", ")[2])
        rows = self._database.execute("SELECT sha256, notices FROM told").fetchall()
        self._notices = {sha: tuple(map(Notice.from_json, json.loads(told))) for sha, told in rows}

    def follow(self, channels: str | int, keep: bool = False) -> None:
        """Lets ``channels`` be heard of every sound; what was made by another rule is dropped, unless it is to ``keep``
        all, as a bank has to that holds the only copy of its sounds."""
        rule = f"{READING}, {channels}"
        with self._lock, self._database:
            self._database.execute("CREATE TABLE IF NOT EXISTS reading (rule TEXT NOT NULL)")
            self._database.execute("CREATE TABLE IF NOT EXISTS told (sha256 TEXT PRIMARY KEY, notices TEXT NOT NULL)")
            old = self._database.execute("SELECT rule FROM reading").fetchone()
            if old is None or old[0] != rule:
                if not keep:  # embeddings too: what is silent may be another sound now
                    self._database.execute("DELETE FROM example")
                    self._database.execute("DELETE FROM told")
                self._database.execute("DELETE FROM reading")
                self._database.execute("INSERT INTO reading VALUES (?)", (rule,))
        self._channels = channels

    def channels(self) -> str | int:
        """Which channel of its sounds is heard: a rule of `afcore.audio.channels`. Queries follow the same."""
        return self._channels

    def _adopt(self, found: dict[str, LabelledFile], left_out: dict[str, str]) -> None:
        """Makes the database agree with ``found``, as `_labelled_files` gives it; what is no sound is put into
        ``left_out``."""
        from afcore.audio.recording import open_recording

        self._own = {sha: one.file for sha, one in found.items()}
        known = {example.sha256: example for example in self.examples()}
        with self._lock, self._database:
            for sha in known.keys() - found.keys():
                self._database.execute("DELETE FROM example WHERE sha256 = ?", (sha,))
        for sha, (file, label, path, group_key) in found.items():
            if sha in known:
                with self._lock, self._database:
                    self._database.execute(
                        "UPDATE example SET label = ?, caption = ?, path = ?, group_key = ? WHERE sha256 = ?",
                        (label, label, path, group_key, sha),
                    )
                continue
            try:
                prompts.check_labels([label])
                recording = open_recording(file, path, self._channels)
            except (AudioError, BadRequest) as error:  # about this one alone
                left_out[path] = str(error)
                continue
            if recording.silent:
                left_out[path] = f"“{path}” holds nothing to hear, so it is no example of anything."
                continue
            self._insert(
                sha256=sha,
                label=label,
                caption=label,
                seconds=recording.duration,
                path=path,
                group_key=group_key,
            )
            self.tell(sha, recording.notices)
        with self._lock:
            self._read_told()

    def tell(self, sha256: str, notices: Sequence[Notice]) -> None:
        """Keeps what is unusual about the file with that hash; `follow` has been called before."""
        told = json.dumps([notice.to_json() for notice in notices], ensure_ascii=False)
        with self._lock, self._database:
            self._database.execute("INSERT OR REPLACE INTO told VALUES (?, ?)", (sha256, told))
        self._notices[sha256] = tuple(notices)

    def examples(self) -> list[Example]:
        """All examples, by id."""
        with self._lock:
            rows = self._database.execute(f"SELECT {_COLUMNS} FROM example ORDER BY id").fetchall()
        return [self._example(row) for row in rows]

    def example(self, example_id: int) -> Example:
        """Raises BadRequest where there is none of that id."""
        with self._lock:
            row = self._database.execute(f"SELECT {_COLUMNS} FROM example WHERE id = ?", (example_id,)).fetchone()
        if row is None:
            raise BadRequest(f"The bank has no example {example_id}.")
        return self._example(row)

    def _example(self, row: tuple[Any, ...]) -> Example:
        """From a row of `_COLUMNS`."""
        found = Example(*row[:-1])
        return replace(found, tags=tuple(json.loads(row[-1])), notices=self._notices.get(found.sha256, ()))

    def labels(self) -> list[str]:
        """Distinct labels, sorted."""
        with self._lock:
            return [label for (label,) in self._database.execute("SELECT DISTINCT label FROM example ORDER BY label")]

    def add(
        self, sound: bytes, label: str, caption: str, seconds: float, tags: Iterable[str] = (), **source: str
    ) -> int:
        """Stores an encoded sound (Ogg) under its hash and returns its id; `source`: package, version, path, author,
        licence, source_url, group_key. Raises BadRequest where the bank has the same bytes already.
        """
        sha = sha256_of(sound)
        example_id = self._insert(
            sha256=sha, label=label, caption=caption, seconds=seconds, tags=json.dumps(list(tags)), **source
        )
        file = self._file(sha)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(sound)
        return example_id

    def _insert(self, **values: str | float) -> int:
        columns = ", ".join(values)
        try:
            with self._lock, self._database:
                added = self._database.execute(
                    f"INSERT INTO example ({columns}) VALUES ({', '.join('?' * len(values))})", tuple(values.values())
                )
        except sqlite3.IntegrityError as error:
            raise BadRequest(f"The bank has this sound already, so it was not added as “{values['label']}”.") from error
        assert added.lastrowid is not None  # a row was inserted
        return added.lastrowid

    def _file(self, sha: str) -> Path:
        return self.folder / "audio" / sha[:2] / f"{sha}.ogg"

    def audio_path(self, example_id: int) -> Path:
        """The sound's file. Raises BadRequest for an unknown id, MissingPart where the file is gone."""
        example = self.example(example_id)
        file = self._file(example.sha256)
        if self._files:
            file = self._own.get(example.sha256, self._files / example.path)
        if not file.exists():
            raise MissingPart(f"The sound {file} of the example bank is missing.")
        return file

    def takes_embeddings(self) -> bool:
        """Yes: what an encoder or a CLAP makes of its sounds is kept beside them."""
        return True

    def set_embedding(self, example_id: int, model: str, kind: str, array: np.ndarray) -> None:
        """Keeps an embedding as float16: kind "features" (n windows, E), or "clap" (d,), unit length."""
        array = np.asarray(array, np.float16)
        with self._lock, self._database:
            self._database.execute(
                "INSERT OR REPLACE INTO embedding VALUES (?, ?, ?, ?, ?)",
                (example_id, model, kind, json.dumps(array.shape), array.tobytes()),
            )

    def features(self, example_id: int, model: str) -> np.ndarray | None:
        """Window features (n, E) float32, or None where they have not been set."""
        with self._lock:
            row = self._database.execute(
                "SELECT shape, data FROM embedding WHERE example_id = ? AND model = ? AND kind = 'features'",
                (example_id, model),
            ).fetchone()
        return None if row is None else _array(*row)

    def clap_matrix(self, model: str) -> tuple[list[int], np.ndarray]:
        """(ids, (N, d) float32) of the examples that have a CLAP embedding of that name; ([], (0, 1)) for none."""
        with self._lock:
            rows = self._database.execute(
                "SELECT example_id, shape, data FROM embedding WHERE model = ? AND kind = 'clap' ORDER BY example_id",
                (model,),
            ).fetchall()
        if not rows:
            return [], np.zeros((0, 1), np.float32)
        return [i for i, _, _ in rows], np.stack([_array(shape, data) for _, shape, data in rows])

    def claps(self) -> dict[str, int]:
        """By which CLAPs its sounds can be found: name -> of how many sounds there is a vector."""
        with self._lock:
            rows = self._database.execute(
                "SELECT model, COUNT(*) FROM embedding WHERE kind = 'clap' GROUP BY model ORDER BY model"
            ).fetchall()
        return dict(rows)

    def clear_embeddings(self) -> None:
        """Drops all embeddings, those of models that are gone too; whoever loads the bank next makes them anew."""
        with self._lock, self._database:
            self._database.execute("DELETE FROM embedding")

    def compact(self) -> None:
        """Shrinks the database file to what it holds."""
        with self._lock:
            self._database.execute("VACUUM")

    def close(self) -> None:
        self._database.close()


def _labelled_files(root: Path) -> tuple[dict[str, LabelledFile], dict[str, str]]:
    """sha256 → the file, whose path is that within ``root``, of all files in its subfolders but hidden ones, and
    path → why something was left out."""
    if not root.is_dir():
        raise BadRequest(f"There is no folder {root}.")
    found: dict[str, LabelledFile] = {}
    listed = files_in(root)
    left_out, torn = dict(listed.left_out), set()
    for path, file in listed.files.items():
        if "/" not in path:
            left_out[path] = f"“{path}” stands in no subfolder, so it has no label."
            continue
        label = label_of_folder(path.split("/")[0])
        try:
            sha = sha256_of_file(file)
        except OSError as error:
            left_out[path] = f"“{path}” cannot be opened: {error.strerror}."
            continue
        entry = LabelledFile(file, label, path, Path(path).stem.rstrip("0123456789 _-"))
        first = found.setdefault(sha, entry)
        if first.label != label:
            torn.add(sha)
            labels = f"“{first.label}” and “{label}”"
            why = f"The same sound stands under two labels, {labels}, so it is an example of neither:"
            left_out[first.path], left_out[path] = f"{why} “{first.path}”.", f"{why} “{path}”."
    return {sha: entry for sha, entry in found.items() if sha not in torn}, left_out


def _array(shape: str, data: bytes) -> np.ndarray:
    """A stored embedding as float32; older banks hold CLAP's in four bytes a number."""
    sizes: list[int] = json.loads(shape)
    kind = np.float16 if len(data) == 2 * math.prod(sizes) else np.float32
    return np.frombuffer(data, kind).reshape(sizes).astype(np.float32)
