"""Reading official layouts: tables and folders, and a sentence where something else lies there."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from afcore.errors import BadRequest

SOUND_ENDINGS = (".wav", ".flac", ".mp3", ".ogg", ".m4a", ".mp4", ".opus", ".aif", ".aiff")


class Layout:
    """A folder that should hold the dataset ``title``; ``expected`` says in a few words what lies in it."""

    def __init__(self, root: Path, title: str, expected: str):
        self.root, self.title, self.expected = root, title, expected
        if not root.is_dir():
            raise BadRequest(f"There is no folder {root}.")

    def wrong(self, found: str) -> BadRequest:
        """The error for a folder that is another, or not whole."""
        return BadRequest(f"{self.root} is not laid out as {self.title}: {found}; expected is {self.expected}.")

    def file(self, *names: str) -> Path:
        """The first of these that is there. Raises BadRequest."""
        for name in names:
            if (self.root / name).is_file():
                return self.root / name
        raise self.wrong(f"there is no {names[0]}")

    def folder(self, *names: str) -> Path:
        """The first of these that is there. Raises BadRequest."""
        for name in names:
            if (self.root / name).is_dir():
                return self.root / name
        raise self.wrong(f"there is no folder {names[0]}")

    def there(self, names: Iterable[str]) -> list[Path]:
        """Those of these files that are there. Raises BadRequest where none is."""
        names = list(names)
        found = [self.root / name for name in names if (self.root / name).is_file()]
        if not found:
            raise self.wrong(f"there is none of {', '.join(names)}")
        return found

    def rows(self, file: Path, columns: Sequence[str]) -> list[dict[str, str]]:
        """The rows of a CSV, which must have ``columns``; names of columns are compared without case and spaces around.
        Raises BadRequest."""
        try:
            with file.open(encoding="utf-8-sig", newline="") as opened:
                lines = list(csv.DictReader(opened))
        except (UnicodeDecodeError, csv.Error, OSError) as error:
            raise self.wrong(f"{file.name} cannot be read as a table") from error
        rows = [{(key or "").strip().lower(): (value or "") for key, value in row.items() if key} for row in lines]
        missing = [name for name in columns if not rows or name not in rows[0]]
        if missing:
            raise self.wrong(f"{file.name} has {'no rows' if not rows else f'no column “{missing[0]}”'}")
        return rows

    def json(self, file: Path) -> Any:
        """What a JSON file holds. Raises BadRequest."""
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            raise self.wrong(f"{file.name} cannot be read as JSON") from error

    def parquet(self, files: Sequence[Path], key: str, texts: Sequence[str]) -> list[dict[str, Any]]:
        """The rows of Parquet files: column ``key``, and as "caption" the first of the columns ``texts`` that is there.
        Raises BadRequest."""
        import pyarrow
        from pyarrow import parquet

        rows: list[dict[str, Any]] = []
        for file in files:
            try:
                opened = parquet.ParquetFile(file)
                text = next((name for name in texts if name in opened.schema_arrow.names), None)
                if text is None or key not in opened.schema_arrow.names:
                    raise self.wrong(f"{file.name} lacks the column {key if text else texts[0]}")
                rows += [{key: row[key], "caption": row[text]} for row in opened.read(columns=[key, text]).to_pylist()]
            except (pyarrow.ArrowInvalid, OSError) as error:
                raise self.wrong(f"{file.name} cannot be read") from error
        return rows

    def sounds(self, folder: Path) -> list[Path]:
        """The sound files in a folder itself, sorted. Raises BadRequest where there are none."""
        found = sounds_in(folder)
        if not found:
            raise self.wrong(f"there are no sounds in {folder.name}")
        return found


def sounds_in(folder: Path) -> list[Path]:
    """The sound files in a folder itself, sorted."""
    return sorted(f for f in folder.iterdir() if f.suffix.lower() in SOUND_ENDINGS and not f.name.startswith("."))


def first_there(folder: Path, stems: Iterable[str], ends: Sequence[str] = SOUND_ENDINGS) -> Path:
    """The file of one of these names, whatever its ending; where none is there the first name as a WAV."""
    stems = list(stems)
    for stem in stems:
        for end in ends:
            if (folder / f"{stem}{end}").is_file():
                return folder / f"{stem}{end}"
    return folder / f"{stems[0]}.wav"


def spaced(label: str) -> str:
    """``dog_bark`` -> ``dog bark``, in lower case."""
    return " ".join(label.replace("_", " ").split()).lower()
