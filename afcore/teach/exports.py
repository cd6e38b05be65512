"""Labels for other programs: CSV, JSON lines, Audacity label tracks, Raven selection tables.

Pure functions from rows to text; `save` writes it so that the file is whole or not there.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from afcore.audio.notices import NOTHING_TO_HEAR, Notice, in_one_cell
from afcore.errors import BadRequest
from afcore.teach.media import write_whole
from afcore.teach.schema import storage

NONE_OF_THESE = "(none of these)"
"""Stands for the label None where a format has text only."""
SILENT_LABEL = f"({NOTHING_TO_HEAR})"
"""Stands for the label of a silent sound, which has none."""
COLUMNS = ("file", "start", "end", "label", "probability", "by", "error", "sha256", "notices")
RAVEN = (
    "Selection",
    "View",
    "Channel",
    "Begin Time (s)",
    "End Time (s)",
    "Low Freq (Hz)",
    "High Freq (Hz)",
    "Begin File",
    "File Offset (s)",
    "Annotation",
    "Score",
)
"""Columns of a selection table, named as Raven Pro names them; the last two are annotation columns of our own."""


@dataclass(frozen=True)
class LabelledSpan:
    """A labelled stretch of a sound file, or why there is no label."""

    file: str
    start: float
    """Seconds in the file."""
    end: float
    label: str | None
    """None: none of these."""
    probability: float | None = None
    by: str = ""
    """Who or what said so: a reviewer's name, or a method."""
    error: str = ""
    """One sentence; then ``label`` means nothing."""
    sha256: str = ""
    probabilities: dict[str, float] = field(default_factory=dict)
    notices: list[dict[str, str]] = field(default_factory=list)
    """What is unusual about the sound, as `Notice.to_json` gives it."""
    silent: bool = False
    """There is nothing to hear in it, so it has no label: ``label`` is None and means nothing."""

    @property
    def label_text(self) -> str:
        """Its label as text; '' where there is an error."""
        return "" if self.error else SILENT_LABEL if self.silent else shown(self.label)


def to_csv(rows: Iterable[LabelledSpan]) -> str:
    """RFC 4180 with a line of column names. Text that a spreadsheet would take for a formula gets an apostrophe in
    front."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        probability = "" if row.probability is None else f"{row.probability:.6f}"
        texts = [guarded(text) for text in (row.file, row.label_text, row.by, row.error)]
        times = (f"{row.start:.3f}", f"{row.end:.3f}")
        notices = in_one_cell(map(Notice.from_json, row.notices))
        writer.writerow([texts[0], *times, texts[1], probability, *texts[2:], row.sha256, notices])
    return out.getvalue()


def to_jsonl(rows: Iterable[LabelledSpan]) -> str:
    """One object a line, all fields of `LabelledSpan`; none of these is null."""
    return "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows)


def to_audacity(rows: Sequence[LabelledSpan]) -> str:
    """A label track for one recording (File > Import > Labels): start, end and label with tabs between, in seconds.

    Raises BadRequest for rows of several files, since the format cannot name them.
    """
    _check_one_file(rows, "An Audacity label track")
    return "".join(f"{row.start:.6f}\t{row.end:.6f}\t{_plain(row.label_text)}\n" for row in rows if not row.error)


def to_raven(rows: Sequence[LabelledSpan], high: float = 24_000.0) -> str:
    """A selection table for one recording (File > Open Selection Table); boxes reach from 0 to ``high`` Hz, which
    should be half the sampling rate. Raises BadRequest for rows of several files."""
    _check_one_file(rows, "A Raven selection table")
    lines = ["\t".join(RAVEN)]
    for number, row in enumerate((row for row in rows if not row.error), 1):
        score = "" if row.probability is None else f"{row.probability:.4f}"
        times = (f"{row.start:.6f}", f"{row.end:.6f}", "0.0", f"{high:.1f}")
        lines.append(
            "\t".join(
                [
                    str(number),
                    "Spectrogram 1",
                    "1",
                    *times,
                    _plain(row.file),
                    f"{row.start:.6f}",
                    _plain(row.label_text),
                    score,
                ]
            )
        )
    return "\n".join(lines) + "\n"


def save(file: str | Path, text: str) -> None:
    """Writes ``text`` as UTF-8, all or nothing; CSV begins with a mark by which spreadsheets know that it is.

    Raises BadRequest where the folder is missing, NoSpace, MissingPart."""
    file = Path(file)
    if not file.parent.is_dir():
        raise BadRequest(f"There is no folder {file.parent} to write {file.name} to.")
    with storage(file.name):
        write_whole(file, text.encode("utf-8-sig" if file.suffix.lower() == ".csv" else "utf-8"))


def shown(label: str | None) -> str:
    """A label as text."""
    return NONE_OF_THESE if label is None else label


def guarded(text: str) -> str:
    """With an apostrophe before what would begin a formula (OWASP, "CSV injection"), and before an apostrophe, so that
    taking one away always gives the text back."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "'")) else text


def _plain(text: str) -> str:
    """On one line and in one column: these formats have no way to quote."""
    return re.sub(r"[\t\r\n\v\f\x85\u2028\u2029]+", " ", text)


def _check_one_file(rows: Sequence[LabelledSpan], what: str) -> None:
    if len({row.file for row in rows}) > 1:
        raise BadRequest(f"{what} is for one recording; export one for each.")
