"""Teach: sounds go into a project: uploads, a zip, the microphone, the example bank, a folder of the server."""

from collections.abc import Callable
from io import BytesIO

import streamlit as st

from afcore.app import teach_work
from afcore.app.examples import search_examples
from afcore.app.markdown import markdown_safe
from afcore.app.teach_session import TeachSession
from afcore.teach.ingest import Added, add_files, add_folder, add_from_bank, add_zip, allowed_folders
from afcore.teach.project import Project
from pages import common, recorder, zip_names
from pages.teach_common import under_way

TO_LABEL, BY_FOLDER = "Clips to label", "Examples, each labelled by its folder"
FOUND = 6
NAMED = 30


def draw(teach: TeachSession, project: Project) -> None:
    """Draw it."""
    kinds = [TO_LABEL, *(f"Examples of “{label.name}”" for label in project.labels)]
    kind = st.selectbox("What are they?", range(len(kinds)), format_func=kinds.__getitem__, key=teach.key("add-as"))
    label = project.labels[kind - 1].name if kind else None
    sources = ["Upload", "Zip", "Record", "Example bank", "Label file"] + ["Server folder"] * bool(allowed_folders())
    source = st.segmented_control(
        "Where from?", sources, default=sources[0], key=teach.key("source"), label_visibility="collapsed"
    )
    drawn = {"Zip": _zip, "Record": _record, "Example bank": _bank, "Server folder": _folder, "Label file": _labels}
    drawn.get(source or "", _upload)(teach, project, label)
    report(teach, "add")


def _upload(teach: TeachSession, project: Project, label: str | None) -> None:
    with st.form(teach.key("upload-form"), border=False, clear_on_submit=True):
        files = st.file_uploader(
            "Sound files, as many as you like", accept_multiple_files=True, key=teach.key("upload")
        )
        if st.form_submit_button("Add", icon=":material/add:") and files:
            sounds = [(file.name, file) for file in files]
            add(teach, lambda **more: add_files(project, sounds, teach.who, label, **more))


def _zip(teach: TeachSession, project: Project, label: str | None) -> None:
    # No form, since how its names read is shown before it is added; another key empties the field.
    count = st.session_state.setdefault("teach-zips", 1)
    file = st.file_uploader("A zip of sound files", type="zip", key=teach.key(f"zip-{count}"))
    folders = st.checkbox(BY_FOLDER, key=teach.key(f"zip-folders-{count}"), help="Labels that are new are added.")
    code_page = zip_names.code_page(file, teach.key("zip-code-page")) if file is not None else zip_names.FIRST
    if st.button("Add", icon=":material/add:", key=teach.key("zip-add")) and file is not None:
        st.session_state["teach-zips"] = count + 1
        called = f"“{file.name}”"
        add(
            teach,
            lambda **more: add_zip(project, file, teach.who, label, folders, name=called, code_page=code_page, **more),
        )


def _record(teach: TeachSession, project: Project, label: str | None) -> None:
    count = st.session_state.setdefault("teach-recordings", 1)
    data = recorder.record(teach.key(f"record-{count}"), st.session_state.setdefault("teach-recorded", set()))
    if data:
        st.session_state["teach-recording"] = data
    kept = st.session_state.get("teach-recording")
    if kept is None:
        return
    st.audio(kept, format="audio/wav")
    if st.button("Add the recording", icon=":material/add:", key=teach.key("add-recording")):
        st.session_state["teach-recordings"] = count + 1
        del st.session_state["teach-recording"]
        sounds = [(f"recording {count}.wav", BytesIO(kept))]
        add(teach, lambda **more: add_files(project, sounds, teach.who, label, **more))


def _bank(teach: TeachSession, project: Project, label: str | None) -> None:
    bank, engine = common.bank(), common.loaded()
    words = st.text_input(
        "Search the example bank", placeholder="metal clicks", key=teach.key("bank-words"), max_chars=200
    )
    if not words.strip():
        st.caption("The sounds that fit a description best; each comes with its licence.")
        return
    found = search_examples(bank, engine, words, FOUND)
    if not found:
        st.caption("Nothing in the bank fits.")
    for example in found:
        with st.container(border=True, key=f"bank-{example.id}"):
            st.markdown(f"**{markdown_safe(example.label)}** · {markdown_safe(example.caption)}")
            common.play_example(example)
            st.button(
                "Add",
                icon=":material/add:",
                key=teach.key(f"bank-add-{example.id}"),
                on_click=_add_example,
                args=(teach, project, example.id, label),
            )


def _labels(teach: TeachSession, project: Project, label: str | None) -> None:
    with st.form(teach.key("labels-form"), border=False, clear_on_submit=True):
        files = st.file_uploader(
            "Labels from another program, or an audiofolder zip",
            accept_multiple_files=True,
            key=teach.key("label-files"),
            help="CSV, JSON lines, Audacity label tracks (named like the sound: a.wav.txt), Raven selection tables, "
            "Label Studio's JSON, metadata.csv. They are given to the sounds of this project that they name; stretches "
            "of a recording become examples of their own. An audiofolder zip brings its sounds along.",
        )
        if st.form_submit_button("Take the labels", icon=":material/label:") and files:
            given = [(file.name, file.getvalue()) for file in files]
            teach.begin("labels", teach_work.importing(project, given, teach.who))
            teach.jobs["labels"].wait(0.5)
            st.rerun()
    job = teach.jobs.get("labels")
    if under_way(job, "Taking the labels", teach.key("stop-labels")) or job is None or job.result is None:
        return
    taken, left = job.result
    if taken:
        st.success(f"{taken} label{'s' * (taken > 1)} taken.", icon=":material/check:")
    if left:
        st.warning(f"{len(left)} not taken, and why:", icon=":material/info:")
        st.dataframe(left, hide_index=True, height=min(38 * len(left) + 40, 300))


def _add_example(teach: TeachSession, project: Project, example_id: int, label: str | None) -> None:
    add(teach, lambda **more: add_from_bank(project, common.bank(), [example_id], teach.who, label), rerun=False)


def _folder(teach: TeachSession, project: Project, label: str | None) -> None:
    with st.form(teach.key("folder-form"), border=False):
        allowed = ", ".join(f"`{folder}`" for folder in allowed_folders())
        st.caption(f"Sounds in these folders and the folders in them: {allowed}")
        folder = st.text_input("Folder on this server", value=str(allowed_folders()[0]), key=teach.key("folder"))
        folders = st.checkbox(BY_FOLDER, key=teach.key("folder-folders"), help="Labels that are new are added.")
        if st.form_submit_button("Add", icon=":material/add:"):
            add(teach, lambda **more: add_folder(project, folder, teach.who, label, folders, **more))


def add(teach: TeachSession, action: Callable[..., Added], name: str = "add", rerun: bool = True) -> None:
    """Has ``action(progress=, stop=)`` add sounds in the background; ``report`` follows it."""
    teach.begin(name, teach_work.adding(action))
    teach.jobs[name].wait(0.5)  # a few sounds are there at once, without a progress bar
    if rerun:
        st.rerun()


def report(teach: TeachSession, name: str) -> None:
    """How far the adding is, and in the end what was added and, a sentence each, what was not."""
    job = teach.jobs.get(name)
    if under_way(job, "Reading the sounds", teach.key(f"stop-{name}")) or job is None or job.result is None:
        return
    added: Added = job.result
    count = len(added.clips)
    if count:
        st.success(f"{count} sound{'s' * (count > 1)} added and saved.", icon=":material/check:")
    elif not added.known and not added.refused:
        st.warning("There was no sound in it.", icon=":material/info:")
    sentences = [*added.refused, *added.known]
    if sentences:
        lines = "\n".join(f"- {markdown_safe(sentence)}" for sentence in sentences[:NAMED])
        rest = f"\n- and {len(sentences) - NAMED} more" if len(sentences) > NAMED else ""
        st.warning(f"{len(sentences)} not added:\n\n{lines}{rest}", icon=":material/info:")
