"""What the Teach page lets people download: the labels by recording, and the whole project."""

import io
import zipfile
from collections.abc import Callable, Sequence
from itertools import groupby

from afcore.teach.exports import Row
from afcore.teach.project import Project
from afcore.teach.schema import EXAMPLE, NONE, OPEN, SKIPPED
from afcore.teach.transfer import export_project


def labelled(project: Project, guesses: bool) -> list[Row]:
    """What people said, by file and time; with ``guesses`` also what was predicted for clips that wait."""
    predictions, settings, rows = project.predictions() if guesses else {}, project.settings, []
    for item in project.items(OPEN, SKIPPED, EXAMPLE, NONE):
        span, prediction = (item.name, item.start, item.start + item.seconds), predictions.get(item.id)
        if item.state in (EXAMPLE, NONE):
            rows.append(Row(*span, item.label, by=item.who, sha256=item.sha256))
        elif item.fault:
            rows.append(Row(*span, None, error=item.fault, sha256=item.sha256))
        elif prediction is not None:
            label = prediction.verdict(settings.reject_below, settings.reject_similarity)
            rows.append(
                Row(
                    *span,
                    label,
                    prediction.top[0][1],
                    prediction.method,
                    sha256=item.sha256,
                    probabilities=prediction.probabilities,
                )
            )
    return sorted(rows, key=lambda row: (row.file, row.sha256, row.start))


def by_recording(rows: Sequence[Row]) -> list[list[Row]]:
    """``rows`` of each sound file: two files of one name stay apart."""
    ordered = sorted(rows, key=lambda row: (row.file, row.sha256, row.start))
    return [list(some) for _, some in groupby(ordered, key=lambda row: (row.file, row.sha256))]


def one_file_each(recordings: Sequence[list[Row]], kind: str, text: Callable[[list[Row]], str]) -> bytes:
    """A zip with ``text`` of each recording's rows, in a file named after the recording that ends in ``.kind``."""
    file, taken = io.BytesIO(), set()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        for rows in recordings:
            name = file_name(rows[0].file)
            if name in taken:
                name = f"{name}-{rows[0].sha256[:8]}"
            taken.add(name)
            out.writestr(zipfile.ZipInfo(f"{name}.{kind}"), text(rows))
    return file.getvalue()


def project_file(project: Project) -> bytes:
    """The whole project as a zip."""
    file = io.BytesIO()
    export_project(project, file)
    return file.getvalue()


def file_name(title: str) -> str:
    """``title`` as a name of a file, without an ending; at most 80 characters."""
    return "".join(c if c.isalnum() or c in " ._-" else "-" for c in title).strip(" .")[:80] or "project"
