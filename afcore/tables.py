"""Tables that people bring: text with commas, semicolons or tabs, whose columns are known by name, in any case and
order."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator

from afcore.errors import BadRequest

SEPARATORS = ",;\t"
"""What separates the values of a row. Spreadsheets write semicolons where a comma is in numbers."""


def utf8(data: bytes, name: str) -> str:
    """The text of a file that is called ``name``: in UTF-8, or in UTF-16 where it begins with the mark of that, as
    spreadsheets write it; without the mark. Raises BadRequest."""
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRequest(f"{name} is not in UTF-8: save it as that, and try again.") from error


def rows_of(text: str) -> tuple[csv.DictReader[str], int]:
    """The rows of a CSV text as they are written, column to value, and how many lines stand before them. Its lines end
    as any system ends them.

    A first line ``sep=;`` says what separates the values. Else it is what separates the names in the first line, where
    quotes hold what is no separator.
    """
    text = io.StringIO(text, newline=None).read()
    separator, rows = _separated(text)
    return csv.DictReader(io.StringIO(rows), delimiter=separator), text.count("\n") - rows.count("\n")


def _separated(text: str) -> tuple[str, str]:
    first, _, rest = text.partition("\n")
    said = first.strip().strip('"')
    if said[:4].lower() == "sep=" and said[4:] in SEPARATORS and len(said) == 5:
        return said[4:], rest
    if first.startswith("sep=\t"):
        return "\t", rest
    bare = "".join(first.split('"')[::2])
    return max(SEPARATORS, key=bare.count), text


def number(text: str) -> float:
    """A number as people write it, with a point or a comma before its decimals. Raises ValueError."""
    text = text.strip()
    return float(text.replace(",", ".") if text.count(",") == 1 and "." not in text else text)


class Table:
    """A CSV text. ``columns``: their names, stripped and in lower case. Raises BadRequest, also while rows are read,
    where a value is larger than any that is meant to be one."""

    def __init__(self, text: str):
        self._rows, self._before = rows_of(text)
        try:
            columns = self._rows.fieldnames or ()
        except csv.Error as error:
            raise BadRequest("The names of the columns of this table cannot be read.") from error
        self._written = {(name or "").strip().lower(): name for name in columns}
        self.columns = list(self._written)

    @property
    def line(self) -> int:
        """Of the whole text, from 1: where the row that was read last ends."""
        return self._before + self._rows.line_num

    def need(self, name: str, *columns: str) -> None:
        """Raises BadRequest where the table, called ``name``, lacks one of ``columns``."""
        if lacking := [column for column in columns if column not in self._written]:
            needed = f"{', '.join(columns[:-1])} and {columns[-1]}"
            raise BadRequest(f"{name} has no column “{lacking[0]}”: it needs {needed}.")

    def __iter__(self) -> Iterator[dict[str, str]]:
        """The rows: column to value, stripped, '' where there is none."""
        try:
            for row in self._rows:
                yield {name: (row.get(written) or "").strip() for name, written in self._written.items()}
        except csv.Error as error:
            raise BadRequest(f"The table cannot be read beyond line {self.line}: a quote is left open.") from error
