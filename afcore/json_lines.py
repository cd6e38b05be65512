"""What a long run has done, line by line, so that a kill loses no more than what was in hand."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from afcore.errors import BadRequest


class JsonLines:
    """A file of JSON objects, one on a line, added to and read by key.

    ``key``: names an object among the others; None for one that is not ours. Of several with the same key the last
    counts. A line that was cut off is passed over.
    """

    def __init__(self, file: Path, key: Callable[[dict[str, Any]], str | None]):
        self.file, self._key = file, key
        self._known: dict[str, dict[str, Any]] = {}
        self._out: TextIO | None = None

    @contextmanager
    def opened(self) -> Iterator[JsonLines]:
        """Reads what is there and holds the file. Raises BadRequest while another run writes to it."""
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            out = self.file.open("a+", encoding="utf-8")
        except OSError as error:
            raise BadRequest(f"{self.file} cannot be written: {error.strerror}.") from error
        with out:
            try:
                fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BadRequest(f"Another run is at work on {self.file} just now.") from error
            out.seek(0)
            text = out.read()
            for line in text.split("\n"):
                self._take(line)
            if text and not text.endswith("\n"):
                out.write("\n")
            self._out = out
            yield self
            self._out = None

    def _take(self, line: str) -> None:
        try:
            record = json.loads(line)
            key = self._key(record) if isinstance(record, dict) else None
        except (ValueError, KeyError, TypeError):
            return
        if key is not None:
            self._known[key] = record

    def get(self, key: str) -> dict[str, Any] | None:
        """The object of that key, if there is one."""
        return self._known.get(key)

    def add(self, record: dict[str, Any]) -> None:
        """Writes an object at once."""
        assert self._out is not None, "opened"
        key = self._key(record)
        assert key is not None, "ours"
        self._known[key] = record
        self._out.write(json.dumps(record, ensure_ascii=False) + "\n")
        self._out.flush()


def read_lines(file: Path) -> list[dict[str, Any]]:
    """All whole objects of a file of JSON lines, in its order. Raises BadRequest where it cannot be read."""
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"{file} cannot be read.") from error
    found = []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            found.append(record)
    return found
