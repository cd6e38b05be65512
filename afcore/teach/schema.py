"""The tables of a project and the plain data that is read from them.

One SQLite file per project, in WAL mode so that readers never wait for writers, and with ``synchronous=FULL`` so that
what was committed survives a power cut. Times are seconds since 1970 (UTC).
"""

from __future__ import annotations

import errno
import json
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from afcore.audio.channels import AUTO
from afcore.audio.notices import SILENT, SILENT_PART, Notice
from afcore.errors import BadRequest, MissingPart

VERSION = 2
WAIT = 30.0  # seconds that a writer waits for another's transaction

OPEN, EXAMPLE, NONE, SKIPPED, TEST, CUT, GONE = "open", "example", "none", "skipped", "test", "cut", "gone"
"""States of a clip: waiting for a label; labelled, and so an example; judged to be none of the labels; put aside; part
of the labelled test set, never a shot; replaced by its segments; discarded (kept for the history)."""
STATES = (OPEN, EXAMPLE, NONE, SKIPPED, TEST, CUT, GONE)

TABLES = f"""
CREATE TABLE meta (
    key TEXT PRIMARY KEY, value TEXT NOT NULL, version INTEGER NOT NULL, who TEXT NOT NULL, at REAL NOT NULL);
CREATE TABLE clip (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, sha256 TEXT NOT NULL, name TEXT NOT NULL, start REAL NOT NULL,
    seconds REAL NOT NULL, source TEXT NOT NULL DEFAULT '', group_key TEXT NOT NULL DEFAULT '',
    state TEXT NOT NULL CHECK (state IN {STATES}), label TEXT, truth TEXT, fault TEXT,
    version INTEGER NOT NULL DEFAULT 1, who TEXT NOT NULL, at REAL NOT NULL, path TEXT NOT NULL DEFAULT '',
    notices TEXT NOT NULL DEFAULT '[]');
CREATE INDEX clip_state ON clip (state);
CREATE TABLE embedding (
    clip_id INTEGER NOT NULL REFERENCES clip (id), model TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('features', 'clap')), shape TEXT NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (clip_id, model, kind));
CREATE TABLE prediction (
    clip_id INTEGER PRIMARY KEY REFERENCES clip (id), basis TEXT NOT NULL, margin REAL NOT NULL, entropy REAL NOT NULL,
    at REAL NOT NULL, data TEXT NOT NULL);
CREATE TABLE lease (clip_id INTEGER PRIMARY KEY REFERENCES clip (id), reviewer TEXT NOT NULL, until REAL NOT NULL);
CREATE TABLE change (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, who TEXT NOT NULL, action TEXT NOT NULL,
    clip_id INTEGER REFERENCES clip (id), before TEXT NOT NULL, after TEXT NOT NULL,
    undone_by INTEGER REFERENCES change (id));
CREATE INDEX change_clip ON change (clip_id);
PRAGMA user_version = {VERSION};
"""


FROM_1 = f"""
ALTER TABLE clip ADD COLUMN path TEXT NOT NULL DEFAULT '';
ALTER TABLE clip ADD COLUMN notices TEXT NOT NULL DEFAULT '[]';
PRAGMA user_version = {VERSION};
"""
"""Makes a project of version 1 one of this version."""


class Changed(BadRequest):
    """Somebody else changed the same thing first; nothing was overwritten."""


class NoSpace(BadRequest):
    """The disk, or what may be used of it, is full; nothing half-made is left."""


@dataclass(frozen=True)
class Label:
    """A class that the user teaches; ``description`` helps people, and the text side of CLAP."""

    name: str
    description: str = ""


@dataclass(frozen=True)
class Settings:
    """What a project's predictions are made with."""

    method: str = "lm-shots"
    """A key of ``predict.METHODS``."""
    k: int = 4
    """Shots retrieved for each clip, by "lm-shots"."""
    reject_below: float | None = None
    """A clip whose best label is less probable than this is "none of these"; None: never."""
    reject_similarity: float | None = None
    """And one whose similarity to the nearest example is below this; None: never."""
    order: str = "margin"
    """The queue's uncertainty: "margin" between the two best labels, or "entropy"."""
    channels: str | int = AUTO
    """Which channel of its sounds is heard, examples and clips alike: a rule of `afcore.audio.channels`."""

    @property
    def mark(self) -> str:
        """Added to a model's name for what it makes of sounds that are heard by another rule than `AUTO`."""
        return "" if self.channels == AUTO else f" [{self.channels}]"


@dataclass(frozen=True)
class ProjectClip:
    """A clip of a project: a sound file, or the stretch of one from ``start`` for ``seconds``."""

    id: int
    key: str
    """64 hex digits that name the content."""
    sha256: str
    """Of the file."""
    name: str
    """Of the file as it was uploaded; for show, never a path."""
    start: float
    """Seconds."""
    seconds: float
    source: str
    """Where it is from and its licence, for sounds of the bank."""
    group_key: str
    """Takes of one source share it."""
    state: str
    """One of ``STATES``."""
    label: str | None
    """What a person said, for examples and test clips."""
    truth: str | None
    """Known beforehand and hidden from the reviewer (tutorial)."""
    fault: str | None
    """Why it cannot be heard, in one sentence."""
    version: int
    """Grows with each change; give it back with a judgement, so that nothing is overwritten."""
    who: str
    """Changed it last."""
    at: float
    path: str = ""
    """Within the folder or zip that it came from; '' for a single file."""
    notices_json: str = "[]"

    @property
    def notices(self) -> list[Notice]:
        """What is unusual about the file."""
        return [Notice.from_json(data) for data in json.loads(self.notices_json)]

    @property
    def silent(self) -> bool:
        """Whether there is nothing to hear in it."""
        return any(notice.code in (SILENT, SILENT_PART) for notice in self.notices)

    @property
    def origin(self) -> str:
        """`path`, or `name` where there is none: what exports call the file."""
        return self.path or self.name

    @property
    def known_label(self) -> str:
        """`label`, of an example or test clip. Raises ValueError for a clip without one."""
        if self.label is None:
            raise ValueError(f"clip {self.id} has no label")
        return self.label


def notices_json(notices: Iterable[Notice]) -> str:
    """As `ProjectClip.notices_json` has them."""
    return json.dumps([notice.to_json() for notice in notices], ensure_ascii=False)


CLIP_COLUMNS = (
    "id, key, sha256, name, start, seconds, source, group_key, state, label, truth, fault, version, who, at, "
    "path, notices"
)


@dataclass(frozen=True)
class Change:
    """One line of a project's history."""

    id: int
    at: float
    who: str
    action: str
    clip_id: int | None
    before: dict[str, Any]
    after: dict[str, Any]
    undone_by: int | None
    """The change that took it back."""


@dataclass(frozen=True)
class Counts:
    """How many clips are in each state; ``faulty`` cannot be heard, whatever their state; ``predicted`` have a
    prediction."""

    open: int = 0
    example: int = 0
    none: int = 0
    skipped: int = 0
    test: int = 0
    faulty: int = 0
    predicted: int = 0


@dataclass(frozen=True)
class Summary:
    """A line of the list of projects."""

    id: str
    name: str
    labels: tuple[str, ...]
    counts: Counts
    who: str
    """Changed something last,"""
    action: str
    """what,"""
    at: float
    """and when."""


def is_none_of_these(
    probability: float, similarity: float, reject_below: float | None, reject_similarity: float | None
) -> bool:
    """Whether a clip is rejected by a limit of `Settings`: its best label's probability or its nearest example's
    cosine."""
    return (reject_below is not None and probability < reject_below) or (
        reject_similarity is not None and similarity < reject_similarity
    )


@dataclass(frozen=True)
class Prediction:
    """What a method says about a clip, with everything that led to it."""

    method: str
    k: int
    probabilities: dict[str, float]
    """Label to probability; they sum to 1."""
    shots: tuple[dict[str, Any], ...] = ()
    """``id`` (of the clip), ``label``, ``similarity``; nearest first."""
    prompts: tuple[str, ...] = ()
    """The text sent, one for each pass through the model."""
    note: str = ""
    """A sentence about how it was made, where that needs saying: several passes, no examples yet."""
    baselines: dict[str, dict[str, float]] = field(default_factory=dict)
    """"clap-nn" and "clap-text": the same as ``probabilities`` by these plain methods."""
    similarity: float | None = None
    """Cosine with the nearest example, -1 to 1; None where there is none."""
    model: str = ""
    basis: str = ""
    """Names what it depends on; differs from the present basis: stale."""
    seconds: float = 0.0
    """That it took."""
    at: float = 0.0
    clip_id: int | None = None

    @property
    def top(self) -> list[tuple[str, float]]:
        """The three best labels."""
        return sorted(self.probabilities.items(), key=lambda pair: -pair[1])[:3]

    @property
    def label(self) -> str:
        """The best label."""
        return self.top[0][0]

    def verdict(self, reject_below: float | None, reject_similarity: float | None = None) -> str | None:
        """The best label, or None for "none of these": as `Settings` of these names say."""
        label, p = self.top[0]
        nearest = -1.0 if self.similarity is None else self.similarity
        return None if is_none_of_these(p, nearest, reject_below, reject_similarity) else label

    def to_json(self) -> str:
        """As stored; the clip and the time have columns of their own."""
        data = asdict(self)
        for column in ("basis", "at", "clip_id"):
            del data[column]
        return json.dumps(data, ensure_ascii=False)

    @classmethod
    def from_row(cls, clip_id: int, basis: str, at: float, data: str) -> Prediction:
        """From a row of the table ``prediction``."""
        values = json.loads(data)
        values["shots"], values["prompts"] = tuple(values["shots"]), tuple(values["prompts"])
        return cls(**values, basis=basis, at=at, clip_id=clip_id)


FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def storage(what: str = "This") -> Iterator[None]:
    """Turns the ways in which a disk fails into sentences: NoSpace, MissingPart."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise NoSpace(f"The disk is full: {what} was not saved, what was saved before is safe.") from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise MissingPart(f"The projects' folder cannot be written, so {what} was not saved.") from error
        raise
    except sqlite3.OperationalError as error:
        if "full" in str(error) or "disk I/O" in str(error):
            raise NoSpace(
                f"The disk is full or failing: {what} was not saved, what was saved before is safe."
            ) from error
        if "readonly" in str(error) or "read-only" in str(error):
            raise MissingPart(f"The projects' folder cannot be written, so {what} was not saved.") from error
        if "locked" in str(error):
            raise Changed(
                f"Somebody else is saving much just now, so {what} was not saved; please try again."
            ) from error
        raise


class Database:
    """One connection to a project's file, shared by this process's threads; other processes have their own.

    Raises MissingPart for a file that is no project, or one of a newer version.
    """

    def __init__(self, file: Path, create: bool = False, wait: float = WAIT):
        if not create and not file.exists():
            raise MissingPart(f"There is no project in {file.parent}.")
        self.file = file
        self._lock = threading.RLock()
        try:
            self._connection = sqlite3.connect(file, check_same_thread=False, isolation_level=None, timeout=wait)
            weakref.finalize(self, self._connection.close)  # also where nobody calls `close`
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA foreign_keys = ON")
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        except sqlite3.DatabaseError as error:
            raise MissingPart(f"The project {file.parent.name} cannot be read: {error}.") from error
        if create and version == 0:
            self._connection.executescript(f"BEGIN IMMEDIATE; {TABLES} COMMIT;")
        elif version == 1:
            self._renew()
        elif version != VERSION:
            found = "by a newer version of this program" if version > VERSION else "by something else"
            raise MissingPart(f"The project {file.parent.name} was made {found} and cannot be opened here.")

    def _renew(self) -> None:
        """From version 1; another process may do the same just now."""
        with self.write("the project's new form") as db:
            if db.execute("PRAGMA user_version").fetchone()[0] == 1:
                for statement in FROM_1.strip().split(";")[:-1]:
                    db.execute(statement)

    @contextmanager
    def write(self, what: str = "this") -> Iterator[sqlite3.Connection]:
        """One transaction that is on the disk when the context is left, and undone where it raises."""
        with self._lock, storage(what):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """One consistent view of the whole file."""
        with self._lock:
            inside = self._connection.in_transaction  # within a write: its own view
            if not inside:
                self._connection.execute("BEGIN")
            try:
                yield self._connection
            finally:
                if not inside:
                    self._connection.execute("COMMIT")

    def close(self) -> None:
        """Closes the connection; another `Database` may go on."""
        with self._lock:
            self._connection.close()


def now() -> float:
    """Seconds since 1970."""
    return time.time()
