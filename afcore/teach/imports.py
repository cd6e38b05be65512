"""Labels from other programs: CSV, JSON lines, Audacity label tracks, Raven selection tables, Label Studio's JSON, and
the ``metadata.csv`` of a Hugging Face `audiofolder`.

`read` makes rows of a file, `apply` gives them to the clips of a project. What does not fit is a row with its reason,
and the rest goes on.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import fields, replace

from afcore import tables
from afcore.errors import BadRequest
from afcore.names import normal
from afcore.tables import rows_of, utf8
from afcore.teach import changes
from afcore.teach.exports import COLUMNS, NONE_OF_THESE, RAVEN, SILENT_LABEL, LabelledSpan
from afcore.teach.ingest import add_stretch
from afcore.teach.label_studio import names_of, of_label_studio
from afcore.teach.project import Project
from afcore.teach.schema import CUT, EXAMPLE, NONE, OPEN, SKIPPED, TEST, ProjectClip

MAX_BYTES = 50 * 2**20
MAX_ROWS = 100_000
NEAR = 0.05
"""Seconds by which times of other programs may differ from a clip's."""
FILES = ("file", "file_name", "filename", "path", "audio")
STARTS, ENDS = ("start", "onset", "begin"), ("end", "offset")
LABELS = ("label", "labels", "class", "category", "text")


def read(data: bytes, name: str) -> list[LabelledSpan]:
    """The rows of a label file; which format it is shows in its content and its ``name``.

    ``end`` is infinite where a row is about the whole sound. A row that cannot be taken has an ``error``. Raises
    BadRequest for a file that is none of these.
    """
    if len(data) > MAX_BYTES:
        raise BadRequest(f"“{name}” is larger than {MAX_BYTES // 2**20} MB, the most that is taken.")
    text = utf8(data, f"“{name}”")
    lines = text.splitlines()
    first = lines[0] if lines else ""
    if text.lstrip().startswith("["):
        rows = of_label_studio(text)
    elif first.startswith("{"):
        rows = _of_jsonl(lines)
    elif first.startswith("Selection\t"):
        rows = _of_raven(lines)
    elif "\t" in first and _number(first.split("\t")[0]) is not None:
        rows = _of_audacity(lines, _recording_of(name))
    else:
        rows = _of_csv(text, name)
    if len(rows) > MAX_ROWS:
        raise BadRequest(f"“{name}” has more than {MAX_ROWS} rows, the most at once.")
    return rows


def apply(project: Project, rows: Sequence[LabelledSpan], who: str) -> list[LabelledSpan]:
    """Give each row's label to the clip that it is about; a stretch of a recording becomes an example of its own.

    The sound is known by its hash or, without one, by its name; labels that the project lacks are added. What a method
    said, and test clips, are left alone. Returns the rows, each that was not taken with its reason in ``error``.
    """
    who = changes.check_who(who)
    clips = project.items(OPEN, EXAMPLE, NONE, SKIPPED, TEST, CUT)
    done = []
    for row in rows:
        try:
            if not row.error:
                _apply(project, clips, row, who)
            done.append(row)
        except BadRequest as error:
            done.append(replace(row, error=str(error)))
    return done


def _apply(project: Project, clips: Sequence[ProjectClip], row: LabelledSpan, who: str) -> None:
    if row.probability is not None:
        raise BadRequest(f"{row.by or 'A method'} said so, not a person, so it was left out.")
    if row.silent:
        raise BadRequest("There is nothing to hear in it, so it has no label.")
    files = {normal(name) for name in names_of(row.file) if name}  # as clips are called here
    mine = [clip for clip in clips if clip.sha256 == row.sha256] if row.sha256 else []
    mine = mine or [clip for clip in clips if files & {clip.origin, clip.name}]
    mine = mine or [clip for clip in clips if files & {clip.origin.rpartition(".")[0], clip.name.rpartition(".")[0]}]
    if not mine:
        raise BadRequest(f"There is no sound “{row.file}” in this project.")
    if len({clip.sha256 for clip in mine}) > 1:
        raise BadRequest(f"There are several sounds called “{row.file}”, and nothing says which.")
    label = None if row.label is None else project.add_labels([row.label], who)[row.label]
    end = row.end if math.isfinite(row.end) else max(clip.start + clip.seconds for clip in mine)
    same = [
        clip
        for clip in mine
        if clip.state != CUT and abs(clip.start - row.start) < NEAR and abs(clip.start + clip.seconds - end) < NEAR
    ]
    if same:
        clip = project.item(same[0].id)
        if clip.state == TEST:
            raise BadRequest(f"“{clip.name}” is a test clip, so it was left as it is.")
        if (clip.state, clip.label) != (EXAMPLE if label else NONE, label):
            action = changes.RELABELLED if label else changes.NONE_OF_THESE
            project.change_clip(clip.id, who, action, None, EXAMPLE if label else NONE, label)
    else:
        add_stretch(project, mine[0], row.start, end, label, who)


# --- the formats ---------------------------------------------------------------------------------------------------


def _of_jsonl(lines: Sequence[str]) -> list[LabelledSpan]:
    rows, known = [], {field.name for field in fields(LabelledSpan)}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            row = LabelledSpan(**{name: value for name, value in entry.items() if name in known})
            _check(row)
            rows.append(row)
        except (ValueError, TypeError, AttributeError, RecursionError):
            rows.append(_no(f"line {number}", "This line is not a label as it is exported here."))
    return rows


def _check(row: LabelledSpan) -> None:
    if not isinstance(row.file, str) or not (row.label is None or isinstance(row.label, str)):
        raise TypeError
    if not (isinstance(row.start, int | float) and isinstance(row.end, int | float) and isinstance(row.sha256, str)):
        raise TypeError


def _of_audacity(lines: Sequence[str], file: str) -> list[LabelledSpan]:
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("\\"):  # the second line of a label with frequencies
            continue
        start, end, label = [*line.split("\t", 2), "", ""][:3]
        rows.append(_row(file, start, end, label, f"line {number}"))
    return rows


def _of_raven(lines: Sequence[str]) -> list[LabelledSpan]:
    rows = []
    for number, entry in enumerate(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE), 2):
        label = next((entry[name] for name in (RAVEN[-2], "Annotation", "Species") if entry.get(name)), "")
        file = entry.get("Begin File") or ""
        score = _number(entry.get("Score") or "")
        row = _row(file, entry.get(RAVEN[3]), entry.get(RAVEN[4]), label, f"line {number}")
        rows.append(row if score is None or row.error else replace(row, probability=score, by="A method"))
    return rows


def _of_csv(text: str, name: str) -> list[LabelledSpan]:
    reader, before = rows_of(text)
    try:
        columns = list(reader.fieldnames or [])
        entries = [(before + reader.line_num, entry) for entry in reader]
    except csv.Error as error:
        raise BadRequest(
            f"“{name}” cannot be read beyond line {before + reader.line_num}: a quote is left open."
        ) from error
    file, label = (next((c for c in columns if c.strip().lower() in known), None) for known in (FILES, LABELS))
    if file is None or label is None:
        raise BadRequest(f"“{name}” is no label file that is known here: a CSV needs the columns file and label.")
    start, end = (next((c for c in columns if c.strip().lower() in known), None) for known in (STARTS, ENDS))
    ours = set(COLUMNS) <= set(columns)
    rows = []
    for number, entry in entries:
        texts = {key: _unguarded(entry.get(key) or "") if ours else (entry.get(key) or "") for key in columns}
        if ours and texts["error"]:
            rows.append(_no(texts[file], texts["error"], texts["sha256"]))
            continue
        source = "source_file" if texts.get("source_file") else file
        begun, ended = (texts.get(column, "") if column else "" for column in (start, end))
        row = _row(texts[source], begun or "0", ended or "inf", texts[label], f"line {number}")
        probability = _number(texts.get("probability", ""))
        if not row.error:
            row = replace(row, by=texts.get("by", ""), sha256=texts.get("sha256", ""), probability=probability)
        rows.append(row)
    return rows


def _row(file: str, start: str | None, end: str | None, label: str, where: str) -> LabelledSpan:
    """A row of texts, or its reason."""
    if not file.strip():
        return _no(where, "It names no sound.")
    begun, ended = _number(start or ""), math.inf if end == "inf" else _number(end or "")
    if begun is None or ended is None or not 0 <= begun < ended:
        return _no(file, f"“{label or where}” has no times that can be.")
    if not label.strip():
        return _no(file, f"The label in {where} is empty.")
    if label == SILENT_LABEL:
        return LabelledSpan(file, begun, ended, None, silent=True)
    return LabelledSpan(file, begun, ended, None if label == NONE_OF_THESE else label)


def _recording_of(name: str) -> str:
    """The recording that a label track called ``name`` belongs to: ``a.wav.txt`` → ``a.wav``."""
    return name.replace("\\", "/").split("/")[-1].removesuffix(".txt")


def _unguarded(text: str) -> str:
    """As it was before `exports.guarded`."""
    return text[1:] if text.startswith("'") else text


def _number(text: str) -> float | None:
    try:
        value = tables.number(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _no(file: str, why: str, sha256: str = "") -> LabelledSpan:
    return LabelledSpan(file, 0.0, 0.0, None, error=why, sha256=sha256)
