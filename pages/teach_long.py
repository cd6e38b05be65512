"""Teach, long recordings: cut into segments, each labelled, on a timeline, and exported or sent to the review."""

import streamlit as st

from afcore.app import teach_plots, teach_work
from afcore.app.markdown import markdown_safe
from afcore.app.teach_session import REVIEW, TeachSession
from afcore.app.teach_work import Cutting
from afcore.audio.clock import clock_text
from afcore.audio.recording import MAX_SECONDS, Recording
from afcore.jobs import Job
from afcore.teach import segments
from afcore.teach.exports import LabelledSpan
from afcore.teach.project import Project
from afcore.teach.schema import OPEN, SKIPPED
from afcore.teach.segments import Segment
from pages import common, teach_sound
from pages.teach_common import under_way
from pages.teach_export import downloads

FIXED, ENERGY = "Equal pieces", "Where something sounds"
FOLLOWED = 3.0  # seconds after which what was labelled meanwhile is drawn
LONG = 8.0  # seconds from which a clip of the project is offered here


def draw(teach: TeachSession, project: Project) -> None:
    """Draw it."""
    st.markdown("What happens when? A long recording is cut into segments, and each gets a label.")
    if len(project.labels) < 2 or not project.counts().example:
        st.info("First give the project two labels and some examples, in Set up.", icon=":material/lightbulb:")
        return
    recording = _choose(teach, project)
    if recording is None:
        return
    st.markdown(f"**{markdown_safe(recording.name)}** · {clock_text(recording.duration)}")
    st.audio(recording.data)
    common.notices(recording.notices, small=True)
    engine = common.engine()
    loop = teach.loop_for(project, engine)
    cutting = _cutting(teach)
    job = teach.jobs.get("long")
    st.button(
        "Find the labels",
        type="primary",
        icon=":material/timeline:",
        key=teach.key("long-start"),
        disabled=job is not None and not job.done,
        on_click=common.do,
        args=(teach.begin, "long", teach_work.segment_labels(loop, recording, cutting), recording.sha256),
    )
    running = under_way(job, "Labelling", teach.key("stop-long"))
    if job is not None and running and job.key == recording.sha256:
        st.fragment(_so_far, run_every=FOLLOWED)(recording, job)
    elif job is not None and job.items and job.key == recording.sha256:
        _result(teach, project, recording, list(job.items))
    elif job is not None and job.done and job.error is None and job.key == recording.sha256:
        st.info("Nothing in it is loud enough to be a segment.", icon=":material/volume_mute:")


def _choose(teach: TeachSession, project: Project) -> Recording | None:
    with st.form(teach.key("long-form"), border=False, clear_on_submit=True):
        file = st.file_uploader(
            "A long recording",
            key=teach.key("long-file"),
            help="Hours are fine. It is only kept if you send its segments to the review.",
        )
        if st.form_submit_button("Open", icon=":material/upload:") and file is not None:
            with st.spinner("Reading the recording …"):
                common.attempt(teach.open_recording, file.getvalue(), file.name)
            st.rerun()
    long = [
        item for item in project.items(OPEN, SKIPPED) if item.seconds >= LONG and item.start == 0 and not item.fault
    ]
    if long:
        names = [f"{item.name} · {clock_text(item.seconds)}" for item in long]
        place = st.selectbox(
            "Or one of this project",
            range(len(long)),
            None,
            format_func=names.__getitem__,
            key=teach.key("long-item"),
            placeholder="Clips that wait for a label",
        )
        if place is not None:
            return teach_sound.recording(
                str(project.sound_path(long[place])), long[place].name, project.settings.channels
            )
    return teach.recording


def _cutting(teach: TeachSession) -> Cutting:
    how = st.radio("Segments", [FIXED, ENERGY], horizontal=True, key=teach.key("long-how"))
    if how == FIXED:
        longest = float(int(MAX_SECONDS))
        return Cutting(st.slider("Length of a piece, in seconds", 0.5, longest, 3.0, 0.5, key=teach.key("long-s")))
    below = st.slider(
        "How far below the loudest place still counts, in dB", 10.0, 60.0, 30.0, 5.0, key=teach.key("long-db")
    )
    return Cutting(None, below)


def _so_far(recording: Recording, job: Job) -> None:
    """What has been labelled while the rest still is; drawn again and again."""
    found: list[Segment] = list(job.items)
    if found:
        with common.error_boundary():
            _chart(recording, found, segments.merge(found), f"So far, up to {clock_text(found[-1].end)}: ")


def _chart(recording: Recording, found: list[Segment], merged: list[Segment], says: str = "") -> None:
    chart = teach_plots.timeline(merged, recording.duration)
    common.figure(chart, "teach-timeline", f"Labels of {recording.name} over time")
    st.caption(
        f"{says}{len(found)} segments; neighbours with the same label are joined to {len(merged)}. Fainter bars are "
        "less sure."
    )


def _result(teach: TeachSession, project: Project, recording: Recording, found: list[Segment]) -> None:
    merged = segments.merge(found)
    _chart(recording, found, merged)
    by = project.settings.method
    told = [notice.to_json() for notice in recording.notices]
    rows = [
        LabelledSpan(
            recording.name,
            s.start,
            s.end,
            s.label,
            None if s.silent else s.probability,
            "" if s.silent else by,
            sha256=recording.sha256,
            notices=told,
            silent=s.silent,
        )
        for s in merged
    ]
    downloads(teach, rows, recording.name, "long", lambda sha256: recording.rate / 2)
    st.button(
        "Send the segments to the review",
        icon=":material/checklist:",
        key=teach.key("long-review"),
        help="They join the queue, and what you say about them makes the model better.",
        on_click=_to_review,
        args=(teach, project, recording, [(s.start, s.end) for s in found]),
    )


def _to_review(teach: TeachSession, project: Project, recording: Recording, spans: list[tuple[float, float]]) -> None:
    def act() -> None:
        count = teach_work.send_to_review(project, recording, spans, teach.who)
        teach.said = f"{count} segments are in the queue."
        teach.go(REVIEW)

    common.attempt(act)
