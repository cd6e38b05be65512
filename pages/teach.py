"""Teach: a few examples of each new sound, then the rest is labelled together with the model."""

import streamlit as st

from afcore.app.markdown import markdown_safe
from afcore.app.teach_session import EXPORT, LONG, PROOF, REVIEW, SETUP, TABS, TeachSession
from afcore.teach.project import Project
from pages import common, teach_export, teach_long, teach_proof, teach_review, teach_setup, teach_start
from pages.teach_common import remember, teach_session

DRAWN = {
    SETUP: teach_setup.draw,
    REVIEW: teach_review.draw,
    PROOF: teach_proof.draw,
    LONG: teach_long.draw,
    EXPORT: teach_export.draw,
}


def main() -> None:
    """Draw the page."""
    teach = teach_session()
    if teach.who:
        remember(teach.who)
    project = teach.project() if common.attempt(teach.project) else None
    if project is None:
        teach.project_id = None
        st.query_params.pop("project", None)
        common.heading("Teach", "Give a few examples of each sound; the model labels the rest, and you check it.")
        teach_start.draw(teach)
        return
    st.query_params["project"] = project.id  # the address can be sent to a colleague
    common.heading("Teach", project.name)
    _bar(teach, project)
    key = teach.key("tab")
    tabs = st.tabs(TABS, default=teach.tab, key=key, on_change=_switch, args=(teach, key))
    if teach.tab != REVIEW:
        teach.let_go()
    for name, tab in zip(TABS, tabs, strict=True):
        if name == teach.tab:
            with tab:
                DRAWN[name](teach, project)


def _switch(teach: TeachSession, key: str) -> None:
    teach.tab = st.session_state[key]


def _bar(teach: TeachSession, project: Project) -> None:
    counts = project.counts()
    # The review counts for itself, with every click.
    clips = "" if teach.tab == REVIEW else f" · **{counts.example}** examples · **{counts.open}** clips to label"
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", key="teach-bar"):
        st.markdown(f"**{len(project.labels)}** labels{clips}")
        with st.container(horizontal=True, width="content"):
            st.button(
                "All projects",
                icon=":material/arrow_back:",
                type="tertiary",
                key=teach.key("close"),
                on_click=teach.open,
                args=(None,),
            )
            with st.popover(markdown_safe(teach.who), icon=":material/person:", type="tertiary"):
                teach_start.ask_name(teach)
    if teach.said:
        st.success(teach.said, icon=":material/check:")
        teach.said = ""


main()
