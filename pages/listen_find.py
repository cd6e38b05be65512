"""Listen, below the picture: what is heard when in the whole recording, and where something is. Click to hear it."""

import streamlit as st

from afcore.app import find, plots
from afcore.app.markdown import markdown_safe
from afcore.app.session import BrowserSession
from afcore.audio.clock import minutes_text
from afcore.engine import timeline
from afcore.engine.engine import Engine
from afcore.engine.timeline import Place, Window
from afcore.jobs import Job
from pages import common, playhead
from pages.teach_common import under_way

CHART, PLAYER = "heard-when", "whole-player"
FOLLOWED = 3.0
"""Seconds after which what was heard meanwhile is drawn."""


def draw(session: BrowserSession, engine: Engine) -> None:
    """Draw it, for a recording of more than one window."""
    recording, _ = session.sound()
    if recording.duration <= timeline.SECONDS + 0.5:
        return
    with st.container(key="find"):
        st.header("What is heard when", anchor=False)
        job = find.present(session, engine)
        if job is None and recording.duration <= find.AT_ONCE:
            job = find.listen(session, engine)
        if job is None or (job.stopped and not job.items):
            st.caption(
                f"All {minutes_text(recording.duration)} of it, window by window: a summary, a timeline, and a search "
                "for any sound in it."
            )
            _offer(session, engine, "Listen to all of it")
            return
        running = under_way(job, "Listening", session.key("stop-timeline"))
        if job.stopped:
            _offer(session, engine, "Listen to the rest")
        # While it goes on, what has been heard by now is drawn again and again.
        st.fragment(_result, run_every=FOLLOWED if running else None)(session, engine, job)


def _offer(session: BrowserSession, engine: Engine, label: str) -> None:
    st.button(
        label,
        icon=":material/timeline:",
        key=session.key("listen-to-all"),
        on_click=common.do,
        args=(find.listen, session, engine),
    )


def _result(session: BrowserSession, engine: Engine, job: Job) -> None:
    whole = job.done and not job.stopped and job.error is None
    windows: list[Window] = list(job.items)
    if not windows:
        return
    with common.error_boundary():
        recording, _ = session.sound()
        with st.container(border=True, key="summary"):
            if not whole:
                heard, all_of_it = minutes_text(windows[-1].end), minutes_text(recording.duration)
                st.caption(f"So far, up to {heard} of {all_of_it}")
            st.markdown(markdown_safe(timeline.summary(windows)))
        words = st.text_input(
            "Where is the …?",
            key=session.key("find-words"),
            placeholder="dog, applause, glass breaking",
            max_chars=200,
            icon=":material/search:",
        )
        found = find.places(engine, windows, words) if words.strip() else []
        shown = [place for place in found if place.fits] or found
        play = st.session_state.get(session.key("play-from"))
        with st.container(key=PLAYER):
            st.audio(recording.data, start_time=int(play or 0), autoplay=play is not None)
        if words.strip():
            _found(session, found, shown, words.strip(), whole)
        parts = timeline.stretches(windows)
        chart, spans = plots.heard_when(
            [(part.start, part.end, timeline.title(part.label), part.probability) for part in parts if part.label],
            recording.duration,
            [(place.window.start, place.window.end) for place in shown],
        )
        common.figure(chart, CHART, f"What is heard when in {recording.name}", lambda point: _play(session, point))
        playhead.follow("playhead-when", PLAYER, CHART, spans)
        st.caption("Click a bar to hear it. Fainter bars are less sure. Windows of 7 s, each heard by itself.")
        with st.expander("Every window as a table", icon=":material/table:"):
            _table(windows)


def _play(session: BrowserSession, point: dict) -> None:
    _hear_from(session, float(point["customdata"][0]))


def _hear_from(session: BrowserSession, second: float) -> None:
    st.session_state[session.key("play-from")] = second


def _found(session: BrowserSession, found: list[Place], shown: list[Place], words: str, whole: bool) -> None:
    st.markdown(("" if whole else "So far: ") + markdown_safe(find.sentence(found, words)))
    with st.container(horizontal=True, key="places"):
        for number, place in enumerate(shown):
            st.button(
                f"{minutes_text(place.window.start)} – {minutes_text(place.window.end)}",
                icon=":material/play_arrow:",
                key=session.key(f"place-{number}-{place.window.start:g}"),
                help=f"Fits with a score of {place.score:.2f}",
                on_click=_hear_from,
                args=(session, place.window.start),
            )


def _table(windows: list[Window]) -> None:
    st.dataframe(
        [
            {
                "from": minutes_text(window.start),
                "to": minutes_text(window.end),
                "most likely": timeline.title(window.label),
                "also": ", ".join(
                    f"{timeline.title(name)} {p:.0%}" for name, p in window.tags[:4] if name != window.label
                ),
            }
            for window in windows
        ],
        hide_index=True,
        height=min(38 * len(windows) + 40, 400),
    )
