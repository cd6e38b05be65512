"""The example bank: short labelled sounds with captions, sources, licences and embeddings.

A folder with `bank.sqlite` and the sounds by content: `audio/<first two hex digits>/<sha256>.ogg`. FAISS indices are
built from it (`afcore.retrieval.nearest`) and never stored.
"""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from afcore import paths
from afcore.errors import BadRequest, MissingPart
from afcore.retrieval import ExampleBank

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
SOUNDS = {
    ".wav",
    ".flac",
    ".ogg",
    ".oga",
    ".opus",
    ".mp3",
    ".m4a",
    ".aac",
    ".aiff",
    ".aif",
    ".webm",
    ".mp4",
    ".mkv",
    ".mov",
}
"""Endings of files that `Bank.from_folder` takes; anything else in the folder is left alone."""


@dataclass(frozen=True)
class Example:
    """One sound of a bank."""

    id: int
    label: str
    caption: str
    sha256: str
    """Of the file's bytes."""
    seconds: float
    package: str = ""
    """Debian package that it comes from, '' for a person's own."""
    version: str = ""
    path: str = ""
    """In the package; in a bank from a folder: in that folder."""
    author: str = ""
    licence: str = ""
    source_url: str = ""
    group_key: str = ""
    """Takes of one source share it."""
    tags: tuple[str, ...] = field(default=())
    """AudioSet classes heard in it."""


_COLUMNS = "id, label, caption, sha256, seconds, package, version, path, author, licence, source_url, group_key, tags"


class Bank(ExampleBank):
    """Examples in SQLite, sounds in files. One instance may be used from several threads.

    ``files``: where the sounds lie under their own names, for a bank that keeps none itself. Raises MissingPart where
    ``folder`` holds no bank and ``create`` is not set, or a file that is no bank of this form.
    """

    def __init__(self, folder: str | Path, create: bool = False, files: Path | None = None):
        self.folder, self._files = Path(folder), files
        file = self.folder / "bank.sqlite"
        if not file.exists() and not create:
            raise MissingPart(f"There is no example bank in {self.folder}.")
        if create:
            self.folder.mkdir(parents=True, exist_ok=True)
        self._open(file)

    def _open(self, file: str | Path) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(file, check_same_thread=False)
        self._database.execute("PRAGMA foreign_keys = ON")
        try:
            tables = {name for (name,) in self._database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not {"example", "embedding"} <= tables:  # nothing is written on opening: a shipped bank may be read-only
                self._database.executescript(SCHEMA)
        except sqlite3.DatabaseError as error:
            raise MissingPart(f"The example bank {file} cannot be read: {error}.") from error

    @classmethod
    def from_folder(cls, folder: str | Path) -> Bank:
        """A person's own bank: a subfolder per label, sounds inside. Embeddings are cached under `paths.DATA/banks`.

        The label is the subfolder's name with spaces for underscores. Raises BadRequest where the folder is missing,
        has no labelled sounds, or has one sound under two labels.
        """
        root = Path(folder).expanduser().resolve()
        found = _labelled_files(root)
        cache = paths.DATA / "banks" / hashlib.sha256(str(root).encode()).hexdigest()[:16]
        bank = cls(cache, create=True, files=root)
        bank._adopt(found, root)
        return bank

    def _adopt(self, found: dict[str, tuple[Path, str]], root: Path) -> None:
        """Makes the database agree with ``found``: sha256 → (file under ``root``, label)."""
        from afcore.audio.recording import open_recording

        known = {example.sha256: example for example in self.examples()}
        with self._lock, self._database:
            for sha in known.keys() - found.keys():
                self._database.execute("DELETE FROM example WHERE sha256 = ?", (sha,))
        for sha, (file, label) in found.items():
            path = file.relative_to(root).as_posix()
            if sha in known:
                with self._lock, self._database:
                    self._database.execute(
                        "UPDATE example SET label = ?, caption = ?, path = ? WHERE sha256 = ?",
                        (label, label, path, sha),
                    )
            else:
                self._insert(
                    sha256=sha,
                    label=label,
                    caption=label,
                    seconds=open_recording(file).duration,
                    path=path,
                    group_key=file.stem.rstrip("0123456789 _-"),
                )

    def examples(self) -> list[Example]:
        """All examples, by id."""
        with self._lock:
            rows = self._database.execute(f"SELECT {_COLUMNS} FROM example ORDER BY id").fetchall()
        return [_example(row) for row in rows]

    def example(self, example_id: int) -> Example:
        """Raises BadRequest where there is none of that id."""
        with self._lock:
            row = self._database.execute(f"SELECT {_COLUMNS} FROM example WHERE id = ?", (example_id,)).fetchone()
        if row is None:
            raise BadRequest(f"The bank has no example {example_id}.")
        return _example(row)

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
        sha = hashlib.sha256(sound).hexdigest()
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
        file = self._files / example.path if self._files else self._file(example.sha256)
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


def _labelled_files(root: Path) -> dict[str, tuple[Path, str]]:
    """sha256 → (file, label) of all sounds in the subfolders of `root`."""
    if not root.is_dir():
        raise BadRequest(f"There is no folder {root}.")
    found: dict[str, tuple[Path, str]] = {}
    for folder in sorted(p for p in root.iterdir() if p.is_dir()):
        label = folder.name.replace("_", " ").strip()
        for file in sorted(folder.rglob("*")):
            if file.suffix.lower() not in SOUNDS or not file.is_file():
                continue
            sha = hashlib.sha256(file.read_bytes()).hexdigest()
            if sha in found and found[sha][1] != label:
                raise BadRequest(f"The sound {file.name} stands under two labels, “{found[sha][1]}” and “{label}”.")
            found.setdefault(sha, (file, label))
    if not found:
        raise BadRequest(f"The folder {root} has no subfolders with sounds: each label needs one.")
    return found


def _array(shape: str, data: bytes) -> np.ndarray:
    """A stored embedding as float32; older banks hold CLAP's in four bytes a number."""
    sizes: list[int] = json.loads(shape)
    kind = np.float16 if len(data) == 2 * math.prod(sizes) else np.float32
    return np.frombuffer(data, kind).reshape(sizes).astype(np.float32)


def _example(row: tuple[Any, ...]) -> Example:
    """From a row of `_COLUMNS`."""
    return replace(Example(*row[:-1]), tags=tuple(json.loads(row[-1])))
