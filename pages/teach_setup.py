"""Teach, set-up: the labels, the examples of each, the clips that are to be labelled, and how predictions are made."""

from dataclasses import replace

import streamlit as st

from afcore.app.labels import described_labels, label_lines
from afcore.app.markdown import markdown_safe
from afcore.app.teach_advice import checklist
from afcore.app.teach_session import REVIEW, TeachSession
from afcore.audio.channels import AUTO, MIX, ONE
from afcore.audio.clock import clock_text
from afcore.teach.changes import MAX_K, METHODS
from afcore.teach.project import Project
from afcore.teach.schema import EXAMPLE, ProjectClip
from pages import common, teach_add, teach_sound

PER_PAGE = 12
LISTED = 20
CHANNELS: dict[str | int, str] = {
    AUTO: "The first, unless it is silent or unlike the others",
    ONE: "The first",
    MIX: "The mix of all",
}


def draw(teach: TeachSession, project: Project) -> None:
    """Draw it."""
    labels, sounds = st.columns([2, 3], gap="large")
    with labels:
        st.header("1. Labels", anchor=False)
        _labels(teach, project)
        _checklist(project)
    with sounds:
        st.header("2. Sounds", anchor=False)
        teach_add.draw(teach, project)
    if project.labels:
        _examples(teach, project)
        _onward(teach, project)
    with st.expander("Advanced: how predictions are made", icon=":material/tune:"):
        _settings(teach, project)
    with st.expander("This project", icon=":material/folder:"):
        _project(teach, project)


def _labels(teach: TeachSession, project: Project) -> None:
    expect = teach.expect.setdefault("labels", project.version("labels"))
    key = teach.key("labels")
    with st.form(teach.key("label-form"), border=False):
        st.text_area(
            "One a line; after a colon, what it sounds like (optional)",
            value=label_lines(project.labels),
            key=key,
            height=180,
            placeholder="cavitating: like gravel in the pipe\nrunning\nblocked",
        )
        st.form_submit_button(
            "Save the labels", icon=":material/save:", on_click=_save_labels, args=(teach, project, key, expect)
        )
    if project.version("labels") != expect:
        st.button("Show what is saved", key=teach.key("theirs"), on_click=teach.begin_anew)
    if project.labels:
        with st.popover("Rename a label", icon=":material/edit:", type="tertiary"):
            old = st.selectbox("Label", [label.name for label in project.labels], key=teach.key("rename-old"))
            new = st.text_input("Its new name", key=teach.key("rename-new"), max_chars=100)
            st.button(
                "Rename it everywhere", key=teach.key("rename"), on_click=_rename, args=(teach, project, old, new)
            )


def _checklist(project: Project) -> None:
    todo = checklist([label.name for label in project.labels], [item.label for item in project.items(EXAMPLE)])
    icons = {True: ":green[:material/check_circle:]", False: ":material/radio_button_unchecked:"}
    lines = [f"- {icons[one.done]} **{markdown_safe(one.label)}**: {one.says}" for one in todo[:LISTED]]
    if lines:
        more = f"\n- and {len(todo) - LISTED} more" if len(todo) > LISTED else ""
        st.markdown("\n".join(lines) + more)


def _save_labels(teach: TeachSession, project: Project, key: str, expect: int) -> None:
    if common.attempt(project.set_labels, described_labels(st.session_state[key]), teach.who, expect):
        teach.said = "The labels are saved."
        teach.begin_anew()


def _rename(teach: TeachSession, project: Project, old: str, new: str) -> None:
    if common.attempt(project.rename_label, old, new, teach.who):
        teach.said = f"“{old}” is now called “{new.strip()}” everywhere."
        teach.begin_anew()


def _examples(teach: TeachSession, project: Project) -> None:
    examples = project.items(EXAMPLE)
    counts = {label.name: sum(item.label == label.name for item in examples) for label in project.labels}
    st.header("Examples so far", anchor=False)
    name = st.segmented_control(
        "Label",
        list(counts),
        format_func=lambda label: f"{markdown_safe(label)} ({counts[label]})",
        label_visibility="collapsed",
        key=teach.key("examples-of"),
    )
    if name is None:
        st.caption("Choose a label to hear its examples, or to mend one.")
        return
    mine = [item for item in reversed(examples) if item.label == name]
    if not mine:
        st.caption("None yet.")
    for row in range(0, min(len(mine), PER_PAGE), 3):
        for column, item in zip(st.columns(3), mine[row : min(row + 3, PER_PAGE)], strict=False):
            with column, st.container(border=True):
                _example(teach, project, item, name, list(counts))
    if len(mine) > PER_PAGE:
        st.caption(f"The latest {PER_PAGE} of {len(mine)}; the Export tab lists all.")


def _example(teach: TeachSession, project: Project, item: ProjectClip, label: str, labels: list[str]) -> None:
    st.markdown(f"**{markdown_safe(item.name)}**")
    if item.fault:
        st.warning(item.fault, icon=":material/volume_off:")
    else:
        teach_sound.player(project, item)
    facts = (clock_text(item.seconds), f"by {item.who}", item.source)
    st.caption(markdown_safe(" · ".join(fact for fact in facts if fact)))
    key = teach.key(f"relabel-{item.id}-{item.version}")
    with st.container(horizontal=True):
        st.selectbox(
            "Label",
            labels,
            labels.index(label),
            key=key,
            label_visibility="collapsed",
            on_change=_relabel,
            args=(teach, project, item, key),
        )
        st.button(
            "Remove",
            icon=":material/delete:",
            type="tertiary",
            key=teach.key(f"discard-{item.id}"),
            on_click=common.do,
            args=(project.discard, item.id, teach.who, item.version),
        )


def _relabel(teach: TeachSession, project: Project, item: ProjectClip, key: str) -> None:
    common.attempt(project.relabel, item.id, st.session_state[key], teach.who, item.version)


def _onward(teach: TeachSession, project: Project) -> None:
    counts = project.counts()
    shown = {item.label for item in project.items(EXAMPLE)}
    lacking = [label.name for label in project.labels if label.name not in shown]
    if counts.open:
        if lacking:
            st.info(
                "No examples yet of "
                + ", ".join(f"“{markdown_safe(name)}”" for name in lacking[:5])
                + ". The review works without, but the model guesses better with one or two of each.",
                icon=":material/lightbulb:",
            )
        st.button(
            f"Review the {counts.open} clips",
            type="primary",
            icon=":material/checklist:",
            key=teach.key("to-review"),
            on_click=teach.go,
            args=(REVIEW,),
        )


def _settings(teach: TeachSession, project: Project) -> None:
    settings, expect = project.settings, teach.expect.setdefault("settings", project.version("settings"))
    rules = CHANNELS | ({} if settings.channels in CHANNELS else {settings.channels: f"Channel {settings.channels}"})
    with st.form(teach.key("settings"), border=False):
        method = st.selectbox(
            "Method",
            list(METHODS),
            list(METHODS).index(settings.method),
            format_func=METHODS.__getitem__,
            help="The Proof tab says which is best for your sounds.",
            key=teach.key("method"),
        )
        k = st.number_input(
            "Examples for each clip",
            1,
            MAX_K,
            settings.k,
            key=teach.key("k"),
            help="The most similar ones. Many are read in several passes.",
        )
        orders = {
            "margin": "Clips whose two best labels are close to each other",
            "entropy": "Clips whose probability is spread over many labels",
        }
        order = st.radio(
            "What comes first in the review",
            list(orders),
            list(orders).index(settings.order),
            format_func=orders.__getitem__,
            key=teach.key("order"),
        )
        channels = st.selectbox(
            "Which channel is heard, of examples and clips alike",
            list(rules),
            list(rules).index(settings.channels),
            format_func=rules.__getitem__,
            key=teach.key("channels"),
        )
        reject = st.checkbox(
            "Say “none of these” where the best label is less probable than",
            settings.reject_below is not None,
            key=teach.key("reject"),
            help="The Proof tab can find a good limit.",
        )
        below = st.number_input(
            "Probability",
            0.0,
            1.0,
            settings.reject_below or 0.5,
            0.05,
            key=teach.key("below"),
            label_visibility="collapsed",
        )
        near = st.checkbox(
            "… or the nearest example is less similar than",
            settings.reject_similarity is not None,
            key=teach.key("reject-similarity"),
        )
        similarity = st.number_input(
            "Similarity",
            -1.0,
            1.0,
            0.5 if settings.reject_similarity is None else settings.reject_similarity,
            0.05,
            key=teach.key("similarity"),
            label_visibility="collapsed",
        )
        if st.form_submit_button("Save", icon=":material/save:"):
            new = replace(
                settings,
                method=method,
                k=int(k),
                order=order,
                channels=channels,
                reject_below=below if reject else None,
                reject_similarity=similarity if near else None,
            )
            if common.attempt(project.set_settings, new, teach.who, expect):
                teach.said = "Saved. Predictions are made afresh."
                teach.begin_anew()
            st.rerun()
    if project.version("settings") != expect:
        st.button("Show what is saved", key=teach.key("their-settings"), on_click=teach.begin_anew)


def _project(teach: TeachSession, project: Project) -> None:
    st.caption(f":material/folder: Saved in `{project.folder}`, after every click.")
    key = teach.key("name")
    st.text_input(
        "Name", value=project.name, key=key, max_chars=120, on_change=_rename_project, args=(teach, project, key)
    )
    agreed = st.checkbox("I want this project to go", key=teach.key("agree"))
    with st.container(horizontal=True):
        st.button(
            "Take it off the list",
            icon=":material/visibility_off:",
            disabled=not agreed,
            key=teach.key("remove"),
            on_click=common.do,
            args=(teach.remove_project, project),
            help="Its folder stays on the server, hidden, until somebody deletes it.",
        )
        st.button(
            "Delete it for good",
            icon=":material/delete_forever:",
            disabled=not agreed,
            key=teach.key("delete"),
            on_click=common.do,
            args=(teach.remove_project, project, True),
            help="With all its sounds, labels and history; nobody can bring it back.",
        )


def _rename_project(teach: TeachSession, project: Project, key: str) -> None:
    common.attempt(project.rename, st.session_state[key], teach.who)
