"""Compare: this session's sounds on a shelf, many at once described, filtered, two beside each other; and settings side
by side."""

import streamlit as st

from afcore import prompts
from afcore.app import benchmark_runs, plots
from afcore.app import shelf as shelves
from afcore.app.clip_part import ClipPart, clip_part
from afcore.app.feedback import Thumb
from afcore.app.markdown import markdown_safe
from afcore.app.report import thumbnail
from afcore.app.session import BrowserSession
from afcore.app.shelf import OnShelf
from afcore.audio.clock import clock_text
from afcore.audio.recording import MAX_SECONDS, Recording, open_recording
from afcore.engine.engine import Engine
from pages import common, compare_columns
from pages.teach_common import under_way

PLAYERS = 20
FOLLOWED = 2.0
"""Seconds after which a sound that was described meanwhile is drawn so."""


def main() -> None:
    """Draw the page."""
    session = common.session()
    common.heading(
        "Compare",
        "The sounds of this visit: describe them all, search them, and set two sounds or two settings side by side.",
    )
    compare_columns.open_linked(session)
    _bring(session)
    if session.shelf.sounds or session.comparison is not None:
        _tabs(session, common.engine())
    else:
        st.caption("Nothing is here yet. Every sound that you open on Listen comes here too.")
        common.example_buttons()
    _benchmarks()


def _tabs(session: BrowserSession, engine: Engine) -> None:
    names = ["Sounds", "Settings side by side"]
    sounds, settings = st.tabs(names, default=names[not session.shelf.sounds])
    with sounds:
        _describe(session, engine)
        shown = _filter(session)
        _rows(session, shown)
        if len(session.shelf.sounds) > 1:
            _two(session, engine)
    with settings:
        compare_columns.draw(session, engine)


def _benchmarks() -> None:
    with st.expander("The paper's benchmarks", icon=":material/leaderboard:"):
        found = benchmark_runs.measures(benchmark_runs.finished())
        if not found:
            st.markdown(
                "No run is on this server yet. `python -m afcore evaluate clotho-v2 --data DIR --shots 4` makes one; "
                "its scores stand here then, with their intervals, beside the paper's numbers."
            )
        for number, measure in enumerate(found):
            st.markdown(f"**{markdown_safe(measure.title)}**")
            common.figure(plots.measured(measure), f"measure-{number}", f"{measure.title}: runs with 95 % intervals")
            for sentence in measure.apart:
                st.caption(f"Not comparable with what was published. {markdown_safe(sentence)}")


def _bring(session: BrowserSession) -> None:
    with st.form(session.key("shelf-form"), border=False, clear_on_submit=True):
        files = st.file_uploader("Drop several sounds at once", accept_multiple_files=True, key=session.key("shelf"))
        if st.form_submit_button("Add them", icon=":material/add:") and files:
            with st.spinner("Reading the sounds …"):
                common.attempt_each(lambda file: session.shelf.add(open_recording(file.getvalue(), file.name)), files)
            st.rerun()


def _describe(session: BrowserSession, engine: Engine) -> None:
    job = session.jobs.get("shelf")
    waiting = len(session.shelf.open_questions(engine))
    if (job is None or job.done) and waiting:
        st.button(
            f"Describe {waiting} sound{'s' * (waiting > 1)}",
            type="primary",
            icon=":material/hearing:",
            key=session.key("describe"),
            on_click=_begin,
            args=(session, engine),
        )
    if under_way(job, "Describing", session.key("stop-shelf")):
        st.fragment(_follow, run_every=FOLLOWED)(session, engine, waiting)
    if asked := [one.prompt for one in session.shelf.sounds.values() if one.prompt]:
        common.exact_prompt(asked[-1], "The exact prompt of the sentences")


def _follow(session: BrowserSession, engine: Engine, waiting: int) -> None:
    """Have the page drawn again when fewer than ``waiting`` sounds are without a description."""
    if len(session.shelf.open_questions(engine)) < waiting:
        common.redraw()


def _begin(session: BrowserSession, engine: Engine) -> None:
    session.jobs.pop("shelf", None)
    session.run("shelf", engine.name, lambda job: session.shelf.describe(job, engine), None)


@st.cache_data(show_spinner=False, max_entries=2 * PLAYERS)
def _part(key: str, _recording: Recording) -> ClipPart:
    """What the model hears of a sound of the shelf."""
    return clip_part(_recording, 0.0, MAX_SECONDS)


def _filter(session: BrowserSession) -> list[OnShelf]:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        words = st.text_input("Sounds containing …", placeholder="animal", key="shelf-words", max_chars=100)
        music = st.toggle("Music only", key="shelf-music", help="With instruments or genres among its tags.")
        shown = session.shelf.containing(words, music)
        st.download_button(
            "Table as CSV",
            shelves.to_csv(shown),
            "audio-flamingo-sounds.csv",
            "text/csv",
            icon=":material/download:",
            on_click="ignore",
        )
    st.caption(f"{len(shown)} of {len(session.shelf.sounds)} sounds")
    return shown


def _rows(session: BrowserSession, shown: list[OnShelf]) -> None:
    for one in shown[:PLAYERS]:
        sha256 = one.recording.sha256
        with st.container(border=True, key=f"shelf-{sha256[:16]}"):
            left, right = st.columns([2, 3], gap="medium")
            with left:
                st.markdown(f"**{markdown_safe(one.recording.name)}** · {clock_text(one.recording.duration)}")
                st.html(thumbnail(one.recording.envelope, one.recording.name))
                part = _part(one.recording.sha256 + one.recording.mark, one.recording)
                st.audio(part.wav, format="audio/wav")
                common.notices(part.notices, small=True)
            with right:
                if one.error:
                    st.error(one.error, icon=":material/error:")
                elif one.model:
                    st.markdown(markdown_safe(one.caption) or "*Nothing to say.*")
                    st.caption(markdown_safe(" · ".join(f"{name} {p:.0%}" for name, p in one.tags)))
                    if one.prompt and one.caption:
                        recording = one.recording
                        about = (recording.name, sha256, 0.0, one.model, prompts.CAPTION, one.caption, one.prompt)
                        common.thumbs(f"{sha256[:12]}-described", Thumb("", *about), says="")
                else:
                    st.caption("Not described yet.")
                with st.container(horizontal=True):
                    st.button(
                        "Open",
                        icon=":material/hearing:",
                        type="tertiary",
                        key=session.key(f"open-{sha256}"),
                        on_click=common.do,
                        args=(session.open, one.recording, "shelf"),
                        help="Make it the sound of Listen, Retrieve and Chat.",
                    )
                    st.button(
                        "Remove",
                        icon=":material/delete:",
                        type="tertiary",
                        key=session.key(f"off-{sha256}"),
                        on_click=session.shelf.remove,
                        args=(sha256,),
                    )
    if len(shown) > PLAYERS:
        st.caption(f"The newest {PLAYERS} of {len(shown)}; the table has all.")


def _two(session: BrowserSession, engine: Engine) -> None:
    st.header("Two side by side", anchor=False)
    sounds = {sha256: one.recording.name for sha256, one in reversed(session.shelf.sounds.items())}
    left, right = st.columns(2)
    first = left.selectbox("First sound", list(sounds), 0, format_func=sounds.__getitem__, key=session.key("first"))
    second = right.selectbox("Second sound", list(sounds), 1, format_func=sounds.__getitem__, key=session.key("second"))
    question = st.text_input("The same question", "What is this sound?", key="shelf-question", max_chars=500)
    key = (engine.name, first, second, question)
    if st.button("Ask both", type="primary", icon=":material/compare_arrows:", key=session.key("ask-both")):
        pair = [session.shelf.sounds[sha256] for sha256 in (first, second)]
        session.run("two", key, lambda job: shelves.compare(job, engine, pair, question), None)
    job = session.jobs.get("two")
    if job is None or job.key != key:
        return
    answers = common.finish(job, "Asking both")
    drawn = zip(st.columns(2), (first, second), answers or (), strict=False)
    for number, (place, sha256, answer) in enumerate(drawn):
        with place, st.container(border=True):
            st.markdown(f"**{markdown_safe(sounds[sha256])}**")
            st.markdown(markdown_safe(answer.text) or "*Nothing to say.*")
            if answer.prompt:
                about = Thumb("", sounds[sha256], sha256, 0.0, engine.name, question, answer.text, answer.prompt)
                common.thumbs(f"two-{number}", about)
                common.exact_prompt(answer.prompt)


main()
