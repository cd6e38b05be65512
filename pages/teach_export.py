"""Teach, export: the labels for other programs, and the whole project as one file."""

import io
import zipfile
from collections.abc import Callable
from itertools import groupby

import streamlit as st

from afcore.app.teach_session import TeachSession
from afcore.teach import exports
from afcore.teach.exports import Row
from afcore.teach.project import Project
from afcore.teach.schema import EXAMPLE, NONE, OPEN, SKIPPED
from afcore.teach.transfer import export_project


def draw(teach: TeachSession, project: Project) -> None:
    """Draw it."""
    st.subheader("Labels", anchor=False)
    guesses = st.toggle("Also what the model says about clips that nobody has judged", key=teach.key("guesses"))
    rows = labelled(project, guesses)
    if rows:
        st.dataframe(
            [
                {
                    "file": row.file,
                    "start (s)": row.start,
                    "label": row.error or exports.shown(row.label),
                    "by": row.by,
                    "probability": row.probability,
                }
                for row in rows
            ],
            height=min(38 * len(rows) + 40, 320),
            key=teach.key("rows"),
        )
        downloads(teach, rows, project.name, "labels")
    else:
        st.caption("No clip has a label yet.")
    st.caption("Test clips are left out. “by” is who said so: a person, or a method with its probability.")
    st.subheader("The whole project", anchor=False)
    st.markdown("One zip with all sounds, labels, settings and the history; open it on the Teach page of any server.")
    st.download_button(
        "Download the project",
        data=lambda: packed(project),
        file_name=f"{_file_name(project.name)}.zip",
        mime="application/zip",
        icon=":material/archive:",
        on_click="ignore",
        key=teach.key("project-file"),
    )
    st.caption(f"A large project is moved faster as its folder: `{project.folder}`")


def downloads(
    teach: TeachSession, rows: list[Row], title: str, key: str, high: Callable[[str], float] | None = None
) -> None:
    """A button for each format; for several recordings those that know only one come as a zip of files.

    ``high``: the upper edge of a recording's Raven boxes in Hz, by its hash.
    """
    name = _file_name(title)

    def raven(some: list[Row]) -> str:
        return exports.to_raven(some, high(some[0].sha256)) if high else exports.to_raven(some)

    with st.container(horizontal=True):
        for title, kind, text in (("CSV", "csv", exports.to_csv), ("JSON lines", "jsonl", exports.to_jsonl)):
            st.download_button(
                title,
                text(rows),
                f"{name}-labels.{kind}",
                icon=":material/download:",
                on_click="ignore",
                key=teach.key(f"{key}-{kind}"),
            )
        for title, kind, text in (("Audacity", "txt", exports.to_audacity), ("Raven", "selections.txt", raven)):
            recordings = by_recording(rows)
            data = text(recordings[0]) if len(recordings) == 1 else _each(recordings, kind, text)
            end = kind if len(recordings) == 1 else f"{title.lower()}.zip"
            st.download_button(
                title,
                data,
                f"{name}-labels.{end}",
                icon=":material/download:",
                on_click="ignore",
                key=teach.key(f"{key}-{title}"),
                help="One label track for each recording.",
            )


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


def by_recording(rows: list[Row]) -> list[list[Row]]:
    """``rows`` of each sound file: two files of one name stay apart."""
    ordered = sorted(rows, key=lambda row: (row.file, row.sha256, row.start))
    return [list(some) for _, some in groupby(ordered, key=lambda row: (row.file, row.sha256))]


def packed(project: Project) -> bytes:
    """The project's file."""
    file = io.BytesIO()
    export_project(project, file)
    return file.getvalue()


def _each(recordings: list[list[Row]], kind: str, text: Callable[[list[Row]], str]) -> bytes:
    file, taken = io.BytesIO(), set()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        for some in recordings:
            name = _file_name(some[0].file)
            if name in taken:
                name = f"{name}-{some[0].sha256[:8]}"
            taken.add(name)
            out.writestr(zipfile.ZipInfo(f"{name}.{kind}"), text(some))
    return file.getvalue()


def _file_name(title: str) -> str:
    return "".join(c if c.isalnum() or c in " ._-" else "-" for c in title).strip(" .")[:80] or "project"
