"""What every page shares: the browser session, the model and waiting for it, errors as sentences, choosing a sound."""

import html
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from afcore import paths
from afcore.app.examples import everyday_examples
from afcore.app.markdown import markdown_safe, with_commands
from afcore.app.model_host import ModelHost, device_name
from afcore.app.problems import sentence_of
from afcore.app.session import BrowserSession, session_in
from afcore.audio.clock import clock_text
from afcore.audio.recording import Clip, open_recording
from afcore.audio.wav import wav_bytes
from afcore.engine.engine import Engine
from afcore.engine.results import Heard
from afcore.jobs import Job
from afcore.retrieval.bank import Bank, Example

MODEL = os.environ.get("AFCORE_MODEL") or "mini"


def session() -> BrowserSession:
    """What this browser session holds."""
    return session_in(st.session_state)


# --- the model ---------------------------------------------------------------------------------------------------


@st.cache_resource(show_spinner=False)
def model_host() -> ModelHost:
    """The model of this server: loaded once, in a thread, so that every visitor sees the same progress."""
    return ModelHost(MODEL)


def loaded() -> Engine | None:
    """The engine if it is ready."""
    return model_host().loading.result


def engine() -> Engine:
    """The engine; draws progress until it is ready, or why it cannot be."""
    if not model_host().loading.done:
        place = st.empty()
        while not (job := model_host().loading).wait(0.2):  # another one when somebody chooses another model meanwhile
            loading_progress(job, place)
        place.empty()
        status()
    job = model_host().loading
    if job.error is not None:
        st.error(job.error, icon=":material/error:")
        st.button("Try again", on_click=lambda: model_host().choose(model_host().name), key="reload")
        st.stop()
    if job.result is None:  # it was put away just now
        st.rerun()
    session().follow_model(job.result)
    return job.result


def loading_progress(job: Job, place: Any = st) -> None:
    """Draw how far the loading ``job`` is, in ``place``."""
    doing = "Getting the model ready"
    place.progress(job.fraction or 0.0, text=f"{doing}: {job.stage}" if job.stage else doing)


@st.cache_resource(show_spinner=False)
def _shipped_bank() -> Bank:
    return Bank(paths.BANK)


def bank() -> Bank:
    """The example bank; it can be browsed before the model is ready."""
    ready = loaded()
    return _shipped_bank() if ready is None or ready.bank is None else ready.bank


# --- waiting -----------------------------------------------------------------------------------------------------


def ahead(count: int) -> str:
    """How many wait before you, as a sentence."""
    return "1 person is ahead of you." if count == 1 else f"{count} people are ahead of you."


def waiting(job: Job, doing: str) -> str:
    """What to show while ``job`` is under way."""
    if job.ahead:
        people = session().people_ahead(job)
        if people > 0:
            return f":material/hourglass_top: **{ahead(people)}** Your turn comes by itself."
        return ":material/hourglass_top: Your last request comes to its end first …"
    return f":material/progress_activity: {job.stage or doing} …"


def finish(job: Job, doing: str) -> Any:
    """Draw how far ``job`` is until it ends; returns its result, or None after drawing why there is none."""
    if not job.done:
        place = st.empty()
        while not job.wait(0.2):
            # Drawn each time even if it says the same: only while drawing can a click interrupt the page.
            place.markdown(waiting(job, doing))
        place.empty()
    if job.error is not None:
        st.error(job.error, icon=":material/error:")
    return job.result


def stream(job: Job, doing: str) -> str:
    """Draw the text of ``job`` as it comes; returns all of it."""
    place = st.empty()
    while not job.done and not job.text:
        place.markdown(waiting(job, doing))
        job.wait(0.1)
    place.empty()
    if job.text or not job.done:
        st.write_stream(markdown_safe(piece) for piece in job.follow())
    if job.error is not None:
        st.error(job.error, icon=":material/error:")
    return job.text


def heard(loaded_engine: Engine) -> Heard:
    """What the engine heard in the present clip; ends the page where there is nothing."""
    result = finish(session().hear(loaded_engine), "Listening")
    if result is None:
        st.button("Listen again", on_click=session().forget_hearing, key="hear-again")
        st.stop()
    return result


# --- errors ------------------------------------------------------------------------------------------------------


@contextmanager
def error_boundary() -> Iterator[None]:
    """Around a part of a page: whatever is raised in it becomes one sentence, and the session goes on."""
    try:
        yield
    except Exception as error:
        st.error(sentence_of(error, "A page failed"), icon=":material/error:")


def attempt(action: Callable[..., Any], *args: Any) -> bool:
    """Run ``action`` from a widget; a refusal is kept for ``problem`` to show. Returns whether it went well."""
    try:
        action(*args)
        return True
    except Exception as error:
        st.session_state["problem"] = sentence_of(error, "An action failed")
        return False


def do(action: Callable[..., Any], *args: Any) -> None:
    """`attempt`, as the callback of a widget."""
    attempt(action, *args)


def problem() -> None:
    """Show, once, why the last action did not work."""
    sentence = st.session_state.pop("problem", None)
    if sentence:
        st.error(sentence, icon=":material/error:")


# --- a sound -----------------------------------------------------------------------------------------------------


def take(data: bytes, name: str, source: str) -> bool:
    """Make the file ``data`` the session's sound; a refusal is shown by ``problem``. Returns whether it went well."""
    return attempt(lambda: session().open(open_recording(data, name), source))


def take_example(example: Example) -> None:
    """Make an example of the bank the session's sound; a refusal is shown by ``problem``."""
    attempt(lambda: session().open(open_recording(bank().audio_path(example.id), f"{example.label}.ogg"), "example"))


@st.cache_data(show_spinner=False, max_entries=8)
def _everyday(_bank: Bank, key: str, count: int) -> list[Example]:
    return everyday_examples(_bank, count)


def example_buttons(count: int = 6) -> None:
    """A row of examples to try with one click."""
    examples = _everyday(bank(), str(bank().folder), count)
    if not examples:
        st.caption("The example bank is empty.")
        return
    with st.container(horizontal=True, key="examples"):
        for example in examples:
            st.button(
                example.label.capitalize(),
                key=f"example-{example.id}",
                icon=":material/play_circle:",
                help=example.caption,
                on_click=take_example,
                args=(example,),
            )


def need_clip(why: str) -> Clip:
    """The part of the sound that the model hears; where there is none, the page ends with a way to get one."""
    clip = session().clip
    if clip is not None:
        return clip
    with st.container(border=True, key="empty"):
        st.subheader("First, a sound", anchor=False)
        st.markdown(f"{why} Try one of ours, or bring your own.")
        example_buttons()
        st.page_link("listen.py", label="Use my own sound", icon=":material/upload:")
    st.stop()


def player(clip: Clip) -> None:
    """Play what the model hears."""
    st.audio(wav_bytes(clip.samples, clip.rate), format="audio/wav")


# --- drawing -----------------------------------------------------------------------------------------------------


def heading(title: str, line: str) -> None:
    """A page's title and what it is for."""
    st.title(title, anchor=False)
    st.markdown(f'<p class="lead">{html.escape(line)}</p>', unsafe_allow_html=True)
    problem()


def figure(chart: go.Figure, key: str, alt: str) -> None:
    """A Plotly figure that follows the theme, without a tool bar and without catching a phone's scrolling."""
    st.plotly_chart(chart, key=key, alt=alt, config={"displayModeBar": False, "scrollZoom": False})


def status() -> None:
    """Which model answers and which sound is in; drawn by the sidebar, and again when either has changed."""
    place = st.session_state.get("_status")
    if place is None:
        return
    now, ready = session(), loaded()
    with place.container():
        if now.recording is None or now.clip is None:
            st.markdown(":material/graphic_eq: No sound yet")
        else:
            st.markdown(f":material/graphic_eq: **{markdown_safe(now.recording.name)}**")
            part = clock_text(now.recording.duration)
            if now.clip.duration < now.recording.duration - 0.01:
                part += f", hears {clock_text(now.start)} – {clock_text(now.start + now.clip.duration)}"
            st.caption(part)
        if ready is not None:
            st.markdown(f":material/memory: **{ready.name}** is ready")
            st.caption(f"{device_name(ready.device)} · {str(ready.dtype).removeprefix('torch.')}")
            if ready.retrieval_notice:
                st.warning(with_commands(ready.retrieval_notice), icon=":material/hub:")
