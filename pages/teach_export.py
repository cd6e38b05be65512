"""Teach, export: the labels for other programs, and the whole project as one file."""

from collections.abc import Callable

import streamlit as st

from afcore.app.teach_exports import by_recording, file_name, labelled, one_file_each, project_file
from afcore.app.teach_session import TeachSession
from afcore.teach import exports
from afcore.teach.exports import Row
from afcore.teach.project import Project


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
        data=lambda: project_file(project),
        file_name=f"{file_name(project.name)}.zip",
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
    name = file_name(title)

    def raven(some: list[Row]) -> str:
        return exports.to_raven(some, high(some[0].sha256)) if high else exports.to_raven(some)

    with st.container(horizontal=True):
        for title, kind, data in (
            ("CSV", "csv", exports.to_csv(rows)),
            ("JSON lines", "jsonl", exports.to_jsonl(rows)),
        ):
            st.download_button(
                title,
                data,
                f"{name}-labels.{kind}",
                icon=":material/download:",
                on_click="ignore",
                key=teach.key(f"{key}-{kind}"),
            )
        for title, kind, text in (("Audacity", "txt", exports.to_audacity), ("Raven", "selections.txt", raven)):
            recordings = by_recording(rows)
            one = len(recordings) == 1
            end = kind if one else f"{title.lower()}.zip"
            st.download_button(
                title,
                text(recordings[0]) if one else one_file_each(recordings, kind, text),
                f"{name}-labels.{end}",
                icon=":material/download:",
                on_click="ignore",
                key=teach.key(f"{key}-{title}"),
                help="One label track for each recording.",
            )
