"""What the Teach page lets people download: the labels by recording, and the whole project."""

import io
import zipfile
from collections.abc import Callable, Sequence
from itertools import groupby

from afcore.teach.exports import LabelledSpan
from afcore.teach.project import Project
from afcore.teach.schema import EXAMPLE, NONE, OPEN, SKIPPED, ProjectClip
from afcore.teach.transfer import export_project


def labelled(project: Project, guesses: bool) -> list[LabelledSpan]:
    """What people said, by file and time; with ``guesses`` also what was predicted for clips that wait."""
    predictions, settings, rows = project.predictions() if guesses else {}, project.settings, []
    for item in project.items(OPEN, SKIPPED, EXAMPLE, NONE):
        span, prediction = (item.origin, item.start, item.start + item.seconds), predictions.get(item.id)
        if item.silent and item.state in (OPEN, SKIPPED):
            rows.append(LabelledSpan(*span, None, sha256=item.sha256, notices=_told(item), silent=True))
        elif item.state in (EXAMPLE, NONE):
            rows.append(LabelledSpan(*span, item.label, by=item.who, sha256=item.sha256, notices=_told(item)))
        elif item.fault:
            rows.append(LabelledSpan(*span, None, error=item.fault, sha256=item.sha256, notices=_told(item)))
        elif prediction is not None:
            label = prediction.verdict(settings.reject_below, settings.reject_similarity)
            rows.append(
                LabelledSpan(
                    *span,
                    label,
                    prediction.top[0][1],
                    prediction.method,
                    sha256=item.sha256,
                    notices=_told(item),
                    probabilities=prediction.probabilities,
                )
            )
    return sorted(rows, key=lambda row: (row.file, row.sha256, row.start))


def _told(item: ProjectClip) -> list[dict[str, str]]:
    return [notice.to_json() for notice in item.notices]


def by_recording(rows: Sequence[LabelledSpan]) -> list[list[LabelledSpan]]:
    """``rows`` of each sound file: two files of one name stay apart."""
    ordered = sorted(rows, key=lambda row: (row.file, row.sha256, row.start))
    return [list(some) for _, some in groupby(ordered, key=lambda row: (row.file, row.sha256))]


def one_file_each(
    recordings: Sequence[list[LabelledSpan]], kind: str, text: Callable[[list[LabelledSpan]], str]
) -> bytes:
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
