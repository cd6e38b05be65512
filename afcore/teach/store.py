"""Where projects are: a folder per project, which can be moved, copied and looked into.

``<folder>/<project id>/project.sqlite`` and ``<folder>/<project id>/audio/…``. A new project is made under a hidden
name and renamed when it is whole; a removed one is renamed to a hidden name, so that a mistake can be mended by hand.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import threading
import unicodedata
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

from afcore import paths, safe_files
from afcore.errors import AfcoreError, BadRequest
from afcore.teach import media
from afcore.teach.changes import check_labels, check_name, check_who
from afcore.teach.project import Project
from afcore.teach.schema import Label, Settings, Summary, storage

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,79}")


class Store:
    """All projects of a folder: by default the variable AFCORE_PROJECTS, else ``paths.DATA/projects``."""

    def __init__(self, folder: str | Path | None = None):
        self.folder = (
            Path(folder or os.environ.get("AFCORE_PROJECTS") or paths.DATA / "projects").expanduser().resolve()
        )
        self._lock = threading.Lock()
        self._open: dict[str, Project] = {}

    def projects(self) -> list[Summary]:
        """What there is, the one changed last first; a folder that cannot be read as a project is left out here, and
        `open` says why."""
        if not self.folder.is_dir():
            return []
        found = []
        for folder in self.folder.iterdir():
            if _ID.fullmatch(folder.name) and (folder / "project.sqlite").exists():
                try:
                    found.append(self.open(folder.name).summary())
                except (AfcoreError, sqlite3.DatabaseError):
                    continue
        return sorted(found, key=lambda summary: -summary.at)

    def open(self, project_id: str) -> Project:
        """The project of that id, the same object each time. Raises BadRequest where there is none, MissingPart where
        it cannot be read."""
        if not _ID.fullmatch(project_id) or not (self.folder / project_id / "project.sqlite").exists():
            raise BadRequest(f"There is no project “{safe_files.shown_name(project_id)}” here.")
        with self._lock:
            if project_id not in self._open:
                self._open[project_id] = Project(self.folder / project_id)
                media.sweep(self.folder / project_id)
            return self._open[project_id]

    def create(
        self, name: str, labels: Iterable[Label | str] = (), who: str = "", settings: Settings = Settings()
    ) -> Project:
        """A new project. Raises BadRequest for a name or labels that cannot be, NoSpace, MissingPart."""
        who, name, labels = check_who(who), check_name(name), check_labels(labels)

        def fill(folder: Path) -> None:
            project = Project(folder, create=True)
            project.begin(name, labels, settings, who)
            project.close()

        return self.open(self.place(name, fill))

    def place(self, name: str, fill: Callable[[Path], None], wanted: str | None = None) -> str:
        """Lets ``fill(folder)`` make a project under a hidden name, then gives it an id: ``wanted`` if that is free,
        else one from ``name``. Whatever goes wrong leaves no trace."""
        with storage("the project"):
            self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.glob(".new-*"):  # by a process that was killed
            if media.abandoned(left):
                shutil.rmtree(left, ignore_errors=True)
        hidden = self.folder / f".new-{uuid.uuid4().hex}"
        try:
            with storage("the project"):
                hidden.mkdir()
                fill(hidden)
                media.flush_folder(hidden)
                project_id = wanted if wanted and _ID.fullmatch(wanted) else _slug(name)
                while True:
                    try:
                        if (self.folder / project_id).exists():
                            raise FileExistsError
                        hidden.rename(self.folder / project_id)  # fails on a folder with files in it
                        break
                    except OSError:
                        if not (self.folder / project_id).exists():
                            raise
                        project_id = _slug(name)
                media.flush_folder(self.folder)
            return project_id
        finally:
            shutil.rmtree(hidden, ignore_errors=True)

    def remove(self, project_id: str, who: str, for_good: bool = False) -> None:
        """Takes a project off the list. Its folder stays beside the others as ``.removed-…`` until somebody deletes
        it, or is deleted at once, ``for_good``."""
        project = self.open(project_id)
        project.note(check_who(who), "removed")
        with self._lock, storage("this"):
            self._open.pop(project_id, None)
            project.close()
            removed = self.folder / f".removed-{project_id}-{uuid.uuid4().hex[:8]}"
            (self.folder / project_id).rename(removed)
            if for_good:
                shutil.rmtree(removed)

    def close(self) -> None:
        """Closes all connections; `open` makes new ones."""
        with self._lock:
            for project in self._open.values():
                project.close()
            self._open.clear()


def _slug(name: str) -> str:
    """``Übung 3`` → ``ubung-3-1f9c02``."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return (re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40] or "project") + f"-{uuid.uuid4().hex[:6]}"
