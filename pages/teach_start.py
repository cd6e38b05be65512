"""Teach, before a project is open: who you are, the tutorial, the projects there are, a new one, one from a file."""

from collections.abc import Callable

import streamlit as st

from afcore.app.labels import described_labels
from afcore.app.markdown import markdown_safe
from afcore.app.teach_history import ago
from afcore.app.teach_session import REVIEW, SETUP, TeachSession, first_tab
from afcore.teach.project import Project
from afcore.teach.schema import Summary
from afcore.teach.transfer import import_project
from afcore.teach.tutorial import make_tutorial
from pages import common
from pages.teach_common import store


def draw(teach: TeachSession) -> None:
    """Draw it."""
    if not teach.who:
        with st.container(border=True, key="teach-name"):
            ask_name(teach)
    with st.container(border=True, key="teach-tutorial"):
        st.header("New here?", anchor=False)
        st.markdown(
            "Teach it what a house should know, in the house's own words: *hallway*, *garden*, *fireplace*, *tap left "
            "on*. Listen to twelve clips, say what each one is, and see what your labels have brought: three minutes."
        )
        if st.button("Try the tutorial project", type="primary", icon=":material/school:", key=teach.key("tutorial")):
            with st.spinner("Putting the sounds together …"):
                _opened(teach, lambda: make_tutorial(store(), common.bank(), teach.who), REVIEW)
            st.rerun()
    projects = store().projects()
    if projects:
        st.header("Projects", anchor=False)
        for summary in projects:
            _line(teach, summary)
    left, right = st.columns(2, gap="large")
    with left:
        st.header("New project", anchor=False)
        _new(teach)
    with right:
        st.header("Open a project file", anchor=False)
        _import(teach)
    st.caption(
        ":material/group: Projects, with their sounds and names, are kept on this server until somebody deletes them "
        "(Set up, “This project”), and everybody who can open this page sees them."
    )
    st.caption(
        f":material/folder: They lie in `{store().folder}`. Each is a folder that can be moved or copied; "
        "AFCORE_PROJECTS names another place."
    )


def ask_name(teach: TeachSession) -> None:
    """The field for the reviewer's name."""
    key = teach.key("who")
    st.text_input(
        "Your name", value=teach.who, max_chars=60, key=key, placeholder="Mara", on_change=_named, args=(teach, key)
    )
    st.caption("It stands beside what you change, so that others know. This browser remembers it.")


def _named(teach: TeachSession, key: str) -> None:
    teach.rename_reviewer(st.session_state[key])


def _opened(teach: TeachSession, make: Callable[[], Project], tab: str) -> bool:
    """Opens the project that ``make`` returns; a refusal is shown by `common.problem`."""

    def act() -> None:
        teach.check_named()
        teach.open(make().id, tab)

    return common.attempt(act)


def _line(teach: TeachSession, summary: Summary) -> None:
    counts = summary.counts
    with st.container(border=True, horizontal=True, vertical_alignment="center", key=f"project-{summary.id}"):
        with st.container():
            st.markdown(f"**{markdown_safe(summary.name)}** · {counts.example} examples · {counts.open} to label")
            st.caption(markdown_safe(f"{summary.who}: {summary.action}, {ago(summary.at)}"))
        st.button(
            "Open",
            key=teach.key(f"open-{summary.id}"),
            icon=":material/folder_open:",
            on_click=_open,
            args=(teach, summary),
        )


def _open(teach: TeachSession, summary: Summary) -> None:
    _opened(teach, lambda: store().open(summary.id), first_tab(summary))


def _new(teach: TeachSession) -> None:
    with st.form(teach.key("new"), border=False):
        name = st.text_input("Name", max_chars=120, placeholder="Pumps in hall 3", key=teach.key("new-name"))
        labels = st.text_area(
            "Labels, one a line",
            placeholder="cavitating: like gravel in the pipe\nrunning\nblocked",
            key=teach.key("new-labels"),
            help="After a colon, a few words on what it sounds like. You can change all this later.",
        )
        if st.form_submit_button("Make the project", icon=":material/add:"):
            if _opened(teach, lambda: store().create(name, described_labels(labels), teach.who), SETUP):
                teach.said = "Saved. Now give it some examples of each label, and the clips to be labelled."
            st.rerun()


def _import(teach: TeachSession) -> None:
    with st.form(teach.key("import"), border=False, clear_on_submit=True):
        file = st.file_uploader("A project that was exported, as a zip", type="zip", key=teach.key("import-file"))
        if st.form_submit_button("Open the file", icon=":material/unarchive:") and file is not None:
            with st.spinner("Reading the project …"):
                if _opened(teach, lambda: import_project(store(), file, teach.who), SETUP):
                    teach.said = "The project is here, with all its sounds, labels and history."
            st.rerun()
