"""Teach, before a project is open: who you are, the tutorial, the projects there are, a new one, one from a file."""

import time

import streamlit as st

from afcore.teach.schema import Label, Summary
from afcore.teach.transfer import import_project
from afcore.teach.tutorial import make_tutorial
from pages import common
from pages.teach_state import REVIEW, SETUP, Teach, check_named, store


def draw(teach: Teach) -> None:
    """Draw it."""
    if not teach.who:
        with st.container(border=True, key="teach-name"):
            ask_name(teach)
    with st.container(border=True, key="teach-tutorial"):
        st.subheader("New here?", anchor=False)
        st.markdown(
            "Teach it four unfamiliar sounds in three minutes: listen to twelve clips, say what each one is, and "
            "see what your labels have brought."
        )
        if st.button("Try the tutorial project", type="primary", icon=":material/school:", key=teach.key("tutorial")):
            with st.spinner("Putting the sounds together …"):
                _opened(teach, lambda: make_tutorial(store(), common.bank(), teach.who), REVIEW)
            st.rerun()
    projects = store().projects()
    if projects:
        st.subheader("Projects", anchor=False)
        for summary in projects:
            _line(teach, summary)
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader("New project", anchor=False)
        _new(teach)
    with right:
        st.subheader("Open a project file", anchor=False)
        _import(teach)
    st.caption(
        f":material/folder: Projects are saved on this server, in `{store().folder}`. Each is a folder that can be "
        "moved or copied; AFCORE_PROJECTS names another place."
    )


def ask_name(teach: Teach) -> None:
    """The field for the reviewer's name."""
    key = teach.key("who")
    st.text_input(
        "Your name", value=teach.who, max_chars=60, key=key, placeholder="Mara", on_change=_named, args=(teach, key)
    )
    st.caption("It stands beside what you change, so that others know. This browser remembers it.")


def _named(teach: Teach, key: str) -> None:
    teach.let_go()
    teach.who = " ".join(st.session_state[key].split())


def _opened(teach: Teach, make, tab: str) -> bool:
    """Opens the project that ``make`` returns; a refusal is shown by `common.problem`."""

    def act() -> None:
        check_named(teach)
        teach.open(make().id, tab)

    return common.attempt(act)


def _line(teach: Teach, summary: Summary) -> None:
    counts = summary.counts
    with st.container(border=True, horizontal=True, vertical_alignment="center", key=f"project-{summary.id}"):
        with st.container():
            st.markdown(
                f"**{common.markdown_safe(summary.name)}** · {counts.example} examples · {counts.open} to label"
            )
            st.caption(common.markdown_safe(f"{summary.who}: {summary.action}, {ago(summary.at)}"))
        st.button(
            "Open",
            key=teach.key(f"open-{summary.id}"),
            icon=":material/folder_open:",
            on_click=_open,
            args=(teach, summary),
        )


def _open(teach: Teach, summary: Summary) -> None:
    _opened(teach, lambda: store().open(summary.id), REVIEW if summary.counts.open and summary.labels else SETUP)


def _new(teach: Teach) -> None:
    with st.form(teach.key("new"), border=False):
        name = st.text_input("Name", max_chars=120, placeholder="Pumps in hall 3", key=teach.key("new-name"))
        labels = st.text_area(
            "Labels, one a line",
            placeholder="cavitating: like gravel in the pipe\nrunning\nblocked",
            key=teach.key("new-labels"),
            help="After a colon, a few words on what it sounds like. You can change all this later.",
        )
        if st.form_submit_button("Make the project", icon=":material/add:"):
            if _opened(teach, lambda: store().create(name, labels_of(labels), teach.who), SETUP):
                teach.said = "Saved. Now give it some examples of each label, and the clips to be labelled."
            st.rerun()


def _import(teach: Teach) -> None:
    with st.form(teach.key("import"), border=False, clear_on_submit=True):
        file = st.file_uploader("A project that was exported, as a zip", type="zip", key=teach.key("import-file"))
        if st.form_submit_button("Open the file", icon=":material/unarchive:") and file is not None:
            with st.spinner("Reading the project …"):
                if _opened(teach, lambda: import_project(store(), file, teach.who), SETUP):
                    teach.said = "The project is here, with all its sounds, labels and history."
            st.rerun()


def labels_of(text: str) -> list[Label]:
    """``name: description`` a line."""
    pairs = (line.partition(":") for line in text.splitlines() if line.strip())
    return [Label(name.strip(), description.strip()) for name, _, description in pairs]


def ago(at: float) -> str:
    """``12 s ago``; ``at`` in seconds since 1970."""
    seconds = max(0.0, time.time() - at)
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
