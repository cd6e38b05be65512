"""Comparisons behind a link: kept as files in the data folder, under ids that nobody can guess, for a month."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from afcore.app.comparison import Comparison
from afcore.app.secret_ids import is_id, new_id
from afcore.app.shares import MONTH, MOST
from afcore.errors import BadRequest
from afcore.teach.media import write_whole
from afcore.teach.schema import storage


class KeptComparisons:
    """Those in ``folder``; each is gone ``seconds`` after it was kept. No sound is in them, only names and hashes."""

    def __init__(self, folder: Path, seconds: float = MONTH, now: Callable[[], float] = time.time) -> None:
        self.folder, self.seconds, self._now = folder, seconds, now

    def keep(self, run: Comparison) -> str:
        """Keep it as it is now; returns its id. Raises NoSpace, and BadRequest where there are too many."""
        files = [file for file in self.folder.glob("*.json") if not self._gone(file)]
        if len(files) >= MOST:
            raise BadRequest("This server keeps as many comparisons as it may: keep yours as a file.")
        name = new_id()
        with storage("this comparison"):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self.folder / f"{name}.json", run.to_json().encode())
        return name

    def find(self, name: str) -> Comparison | None:
        """The comparison of that id; None where there is none (any more)."""
        file = self.folder / f"{name}.json"
        try:
            return Comparison.from_json(file.read_bytes()) if is_id(name) and not self._gone(file) else None
        except (OSError, BadRequest):
            return None

    def delete(self, name: str) -> None:
        """Remove it; what is gone already is no matter."""
        if is_id(name):
            (self.folder / f"{name}.json").unlink(missing_ok=True)

    def _gone(self, file: Path) -> bool:
        """Whether its time is over; then it is removed."""
        try:
            over = self._now() - file.stat().st_mtime > self.seconds
        except OSError:
            return True
        if over:
            file.unlink(missing_ok=True)
        return over
