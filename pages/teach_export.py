"""Teach, export: the labels for other programs, and the whole project as one file."""

from collections.abc import Callable

import streamlit as st

from afcore.app.teach_exports import by_recording, file_name, labelled, one_file_each, project_file
from afcore.app.teach_session import TeachSession
from afcore.teach import audiofolder, exports
from afcore.teach.exports import LabelledSpan
from afcore.teach.label_studio import interface, to_label_studio
from afcore.teach.project import Project
from pages import common


def draw(teach: TeachSession, project: Project) -> None:
    """Draw it."""
    st.header("Labels", anchor=False)
    guesses = st.toggle("Also what the model says about clips that nobody has judged", key=teach.key("guesses"))
    rows = labelled(project, guesses)
    if rows:
        st.dataframe(
            [
                {
                    "file": row.file,
                    "start (s)": row.start,
                    "label": row.error or row.label_text,
                    "by": row.by or "",
                    "probability": "" if row.probability is None else f"{row.probability:.0%}",
                    "notices": " ".join(notice["sentence"] for notice in row.notices),
                }
                for row in rows
            ],
            height=min(38 * len(rows) + 40, 320),
            key=teach.key("rows"),
        )
        downloads(teach, rows, project.name, "labels")
        _audiofolder(teach, project)
    else:
        st.caption("No clip has a label yet.")
    st.caption("Test clips are left out. “by” is who said so: a person, or a method with its probability.")
    st.header("The whole project", anchor=False)
    st.markdown("One zip with all sounds, labels, settings and the history; open it on the Teach page of any server.")
    common.download_zip(
        "Download the project",
        lambda: project_file(project),
        file_name(project.name),
        teach.key("project-file"),
        ":material/archive:",
    )
    st.caption(f"A large project is moved faster as its folder: `{project.folder}`")


def _audiofolder(teach: TeachSession, project: Project) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        common.download_zip(
            "Hugging Face audiofolder",
            lambda: audiofolder.write(project),
            f"{file_name(project.name)}-audiofolder",
            teach.key("audiofolder"),
            ":material/folder_zip:",
            "All clips that a person has labelled, cut out, with a metadata.csv: load_dataset('audiofolder', …).",
        )
        with st.popover("Label Studio's interface", icon=":material/code:", type="tertiary"):
            st.caption("Paste this in Label Studio under Settings, Labeling Interface, Code.")
            st.code(interface(label.name for label in project.labels), language="xml", wrap_lines=True)


def downloads(
    teach: TeachSession, rows: list[LabelledSpan], title: str, key: str, high: Callable[[str], float] | None = None
) -> None:
    """A button for each format; for several recordings those that know only one come as a zip of files.

    ``high``: the upper edge of a recording's Raven boxes in Hz, by its hash.
    """
    name = file_name(title)

    def raven(some: list[LabelledSpan]) -> str:
        return exports.to_raven(some, high(some[0].sha256)) if high else exports.to_raven(some)

    with st.container(horizontal=True):
        for title, kind, data in (
            ("CSV", "csv", exports.to_csv(rows)),
            ("JSON lines", "jsonl", exports.to_jsonl(rows)),
            ("Label Studio", "json", to_label_studio(rows)),
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
                # A track of one recording is called like it, which is how an import knows whose it is.
                f"{file_name(recordings[0][0].file)}.{end}" if one else f"{name}-labels.{end}",
                icon=":material/download:",
                on_click="ignore",
                key=teach.key(f"{key}-{title}"),
                help="One label track for each recording.",
            )
