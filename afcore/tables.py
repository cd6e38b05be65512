"""Tables that people bring: UTF-8 text with commas, whose columns are known by name, in any case and order."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from afcore.errors import BadRequest


def utf8(data: bytes, name: str) -> str:
    """The text of a file that is called ``name``, without the mark that some programs begin it with. Raises
    BadRequest."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRequest(f"{name} is not in UTF-8: save it as that, and try again.") from error


class Table:
    """A CSV text. ``columns``: their names, stripped and in lower case."""

    def __init__(self, text: str):
        self._rows = csv.DictReader(io.StringIO(text, newline=None))  # lines end as any system ends them
        self._written = {(name or "").strip().lower(): name for name in self._rows.fieldnames or ()}
        self.columns = list(self._written)

    def need(self, name: str, *columns: str) -> None:
        """Raises BadRequest where the table, called ``name``, lacks one of ``columns``."""
        if lacking := [column for column in columns if column not in self._written]:
            needed = f"{', '.join(columns[:-1])} and {columns[-1]}"
            raise BadRequest(f"{name} has no column “{lacking[0]}”: it needs {needed}.")

    def __iter__(self) -> Iterator[dict[str, str]]:
        """The rows: column to value, stripped, '' where there is none."""
        for row in self._rows:
            yield {name: (row.get(written) or "").strip() for name, written in self._written.items()}
