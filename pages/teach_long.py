"""Teach, long recordings: cut into segments, each labelled, on a timeline, and exported or sent to the review."""

import io

import streamlit as st

from afcore.app import teach_plots
from afcore.app.markdown import markdown_safe
from afcore.app.teach_session import REVIEW, TeachSession
from afcore.audio.clock import clock_text
from afcore.audio.recording import MAX_SECONDS, Recording, open_recording
from afcore.errors import BadRequest
from afcore.jobs import Job
from afcore.teach import segments
from afcore.teach.exports import Row
from afcore.teach.ingest import add_files, cut
from afcore.teach.loop import Loop
from afcore.teach.predict import classify, hear
from afcore.teach.project import Project
from afcore.teach.schema import CUT, OPEN, SKIPPED, Prediction
from afcore.teach.segments import Segment
from pages import common, teach_sound
from pages.teach_common import under_way
from pages.teach_export import downloads

FIXED, ENERGY = "Equal pieces", "Where something sounds"
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
    engine = common.engine()
    loop = teach.loop_for(project, engine)
    how, seconds, sensitivity = _how(teach)
    job = teach.jobs.get("long")
    st.button(
        "Find the labels",
        type="primary",
        icon=":material/timeline:",
        key=teach.key("long-start"),
        disabled=job is not None and not job.done,
        on_click=_begin,
        args=(teach, loop, recording, how, seconds, sensitivity),
    )
    under_way(job, "Labelling", teach.key("stop-long"))
    if job is not None and job.items and job.key == recording.sha256:
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
                if common.attempt(lambda: setattr(teach, "recording", open_recording(file.getvalue(), file.name))):
                    teach.jobs.pop("long", None)
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
            return teach_sound.recording(str(project.sound_path(long[place])), long[place].name)
    return teach.recording


def _how(teach: TeachSession) -> tuple[str, float, float]:
    how = st.radio("Segments", [FIXED, ENERGY], horizontal=True, key=teach.key("long-how"))
    if how == FIXED:
        longest = float(int(MAX_SECONDS))
        return how, st.slider("Length of a piece, in seconds", 0.5, longest, 3.0, 0.5, key=teach.key("long-s")), 0.0
    below = st.slider(
        "How far below the loudest place still counts, in dB", 10.0, 60.0, 30.0, 5.0, key=teach.key("long-db")
    )
    return how, 0.0, below


def _begin(teach: TeachSession, loop: Loop, recording: Recording, how: str, seconds: float, top_db: float) -> None:
    project, engine = loop.project, loop.engine

    def work(job: Job) -> None:
        job.report("Looking for segments", 0.0)
        spans = segments.fixed(recording.duration, seconds) if how == FIXED else segments.by_energy(recording, top_db)
        examples, settings = loop.examples(), project.settings

        def predict(clip) -> tuple[str | None, float]:
            same = examples.same_sound(recording.sha256, clip.start, clip.duration)
            heard = hear(engine, clip, job.stopping)
            found: Prediction = classify(engine, heard, examples, settings.method, settings.k, same, stop=job.stopping)
            return found.verdict(settings.reject_below, settings.reject_similarity), found.top[0][1]

        for done, segment in enumerate(segments.label_spans(recording, spans, predict, job.stopping), 1):
            job.show(segment)
            job.report(f"Labelling segment {done} of {len(spans)}", done / len(spans))

    teach.begin("long", work, recording.sha256)


def _result(teach: TeachSession, project: Project, recording: Recording, found: list[Segment]) -> None:
    merged = segments.merge(found)
    chart = teach_plots.timeline(merged, recording.duration)
    common.figure(chart, "teach-timeline", f"Labels of {recording.name} over time")
    st.caption(
        f"{len(found)} segments; neighbours with the same label are joined to {len(merged)}. Fainter bars are less "
        "sure."
    )
    by = project.settings.method
    rows = [Row(recording.name, s.start, s.end, s.label, s.probability, by, sha256=recording.sha256) for s in merged]
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
        # Saved first, unless it is in the project already.
        add_files(project, [(recording.name, io.BytesIO(recording.data))], teach.who)
        whole = next((item for item in project.items(OPEN, SKIPPED, CUT) if item.key == recording.sha256), None)
        if whole is None:
            raise BadRequest(f"“{recording.name}” is in the project with a label of its own, so it cannot be cut.")
        added = cut(project, whole.id, spans, teach.who)
        teach.said = f"{len(added.clips)} segments are in the queue."
        teach.go(REVIEW)

    common.attempt(act)
