"""What every page shares: the model, waiting for it, the sidebar, choosing a sound, and errors as sentences."""

import html
import logging
import os
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import soundfile
import streamlit as st

from afcore import paths
from afcore.app.model_host import Shelf
from afcore.audio.recording import Clip, open_recording
from afcore.errors import AfcoreError
from afcore.jobs import UNEXPECTED, Job
from afcore.retrieval.bank import Bank
from pages.state import current

_log = logging.getLogger(__name__)

PAGES = Path(__file__).parent
MODEL = os.environ.get("AFCORE_MODEL") or "mini"

EVERYDAY = (
    "dog barking",
    "thunder",
    "acoustic guitar",
    "rooster crowing",
    "ocean waves",
    "steam train",
    "glass breaking",
    "horse galloping",
    "cat meowing",
    "rain",
    "footsteps",
    "helicopter",
    "bell ringing",
)
"""What a first-time visitor is offered, if the bank has it; otherwise its first labels."""


# --- the model ---------------------------------------------------------------------------------------------------


@st.cache_resource(show_spinner=False)
def shelf() -> Shelf:
    """The model of this server: loaded once, in a thread, so that every visitor sees the same progress."""
    return Shelf(MODEL)


def loaded():
    """The engine if it is ready, else None."""
    return shelf().loading.result


def engine():
    """The engine; draws progress until it is ready, or why it cannot be."""
    if not shelf().loading.done:
        place = st.empty()
        while not (job := shelf().loading).wait(0.2):  # another one when somebody chooses another model meanwhile
            place.progress(job.fraction or 0.0, text=_stage(job))
        place.empty()
        status()
    job = shelf().loading
    if job.error is not None:
        st.error(job.error, icon=":material/error:")
        st.button("Try again", on_click=lambda: shelf().choose(shelf().name), key="reload")
        st.stop()
    if job.result is None:  # it was put away just now
        st.rerun()
    current().meet(job.result)
    return job.result


def _stage(job: Job) -> str:
    return f"Getting the model ready: {job.stage}" if job.stage else "Getting the model ready"


@st.cache_resource(show_spinner=False)
def _shipped_bank() -> Bank:
    return Bank(paths.BANK)


def bank() -> Bank:
    """The example bank; it can be browsed before the model is ready."""
    ready = loaded()
    return ready.bank if ready is not None else _shipped_bank()


# --- waiting -----------------------------------------------------------------------------------------------------


def ahead(count: int) -> str:
    """How many wait before you, as a sentence."""
    return "1 person is ahead of you." if count == 1 else f"{count} people are ahead of you."


def waiting(job: Job, doing: str) -> str:
    """What to show while ``job`` is under way."""
    if job.ahead:
        people = current().people_ahead(job)
        if people > 0:
            return f":material/hourglass_top: **{ahead(people)}** Your turn comes by itself."
        return ":material/hourglass_top: Your last request comes to its end first …"
    return f":material/progress_activity: {job.stage or doing} …"


def finish(job: Job, doing: str):
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


def heard(loaded_engine):
    """What the engine heard in the present clip; ends the page where there is nothing."""
    result = finish(current().hear(loaded_engine), "Listening")
    if result is None:
        st.button("Listen again", on_click=lambda: current().jobs.pop("hear", None), key="hear-again")
        st.stop()
    return result


# --- errors ------------------------------------------------------------------------------------------------------


@contextmanager
def sentences():
    """Around a page: whatever is raised becomes one sentence, and the session goes on."""
    try:
        yield
    except AfcoreError as error:
        st.error(str(error), icon=":material/error:")
    except Exception:
        _log.exception("A page failed")
        st.error(UNEXPECTED, icon=":material/error:")


def attempt(action, *args) -> bool:
    """Run ``action`` from a widget; a refusal is kept for ``problem`` to show. Returns whether it went well."""
    try:
        action(*args)
        return True
    except AfcoreError as error:
        st.session_state["problem"] = str(error)
    except Exception:
        _log.exception("An action failed")
        st.session_state["problem"] = UNEXPECTED
    return False


def problem() -> None:
    """Show, once, why the last action did not work."""
    sentence = st.session_state.pop("problem", None)
    if sentence:
        st.error(sentence, icon=":material/error:")


# --- a sound -----------------------------------------------------------------------------------------------------


def take(data, name: str | None, source: str) -> bool:
    """Make a file (bytes or path) the session's sound; refusals are shown by ``problem``."""
    return attempt(lambda: current().open(open_recording(data, name), source))


def take_example(example) -> bool:
    """Make an example of the bank the session's sound."""
    return attempt(
        lambda: current().open(open_recording(bank().audio_path(example.id), f"{example.label}.ogg"), "example")
    )


@st.cache_data(show_spinner=False, max_entries=8)
def _everyday(_bank: Bank, key: str, count: int) -> list:
    first: dict[str, object] = {}
    for example in _bank.examples():
        first.setdefault(example.label.lower(), example)
    known = [label for label in EVERYDAY if label in first]
    return [first[label] for label in (known + [label for label in first if label not in known])[:count]]


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


def need_clip(why: str) -> None:
    """End a page that needs a sound where there is none, with a way to get one."""
    if current().clip is not None:
        return
    with st.container(border=True, key="empty"):
        st.subheader("First, a sound", anchor=False)
        st.markdown(f"{why} Try one of ours, or bring your own.")
        example_buttons()
        st.page_link("pages/listen.py", label="Use my own sound", icon=":material/upload:")
    st.stop()


def player(clip: Clip) -> None:
    """Play what the model hears."""
    st.audio(wav(clip.samples, clip.rate), format="audio/wav")


def wav(samples: np.ndarray, rate: int) -> bytes:
    """(T,) float samples as a 16-bit WAV file; loudness is as recorded."""
    file = BytesIO()
    soundfile.write(file, np.clip(samples, -1.0, 1.0), rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def clock(seconds: float) -> str:
    """``7.0 s``, ``1:05`` or ``1:02:05``."""
    if seconds < 0.1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


# --- drawing -----------------------------------------------------------------------------------------------------


def heading(title: str, line: str) -> None:
    """A page's title and what it is for."""
    st.title(title, anchor=False)
    st.markdown(f'<p class="lead">{html.escape(line)}</p>', unsafe_allow_html=True)
    problem()


def markdown_safe(text: str) -> str:
    """Text of a model or a file as plain text in Markdown: no images, links, maths or headings of its making.

    Addresses get an invisible word joiner, since Markdown makes links of them however they are escaped.
    """
    text = text.replace("@", "@\u2060").replace("://", ":\u2060//").replace("www.", "www\u2060.")
    return "".join("\\" + char if char in "\\`*_[]<>#|$~:&" else char for char in text)


def with_commands(text: str) -> str:
    """`markdown_safe`, but for what stands between backticks: commands, which Markdown shows as they are."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return markdown_safe(text)
    return "".join(f"`{part}`" if n % 2 else markdown_safe(part) for n, part in enumerate(parts))


def figure(chart, key: str, alt: str) -> None:
    """A Plotly figure that follows the theme, without a tool bar and without catching a phone's scrolling."""
    st.plotly_chart(chart, key=key, alt=alt, config={"displayModeBar": False, "scrollZoom": False})


def status() -> None:
    """Which model answers and which sound is in; drawn by the sidebar, and again when either has changed."""
    place = st.session_state.get("_status")
    if place is None:
        return
    state, ready = current(), loaded()
    with place.container():
        if state.recording is None:
            st.markdown(":material/graphic_eq: No sound yet")
        else:
            st.markdown(f":material/graphic_eq: **{markdown_safe(state.recording.name)}**")
            part = f"{clock(state.recording.duration)}"
            if state.clip.duration < state.recording.duration - 0.01:
                part += f", hears {clock(state.start)} – {clock(state.start + state.clip.duration)}"
            st.caption(part)
        if ready is not None:
            st.markdown(f":material/memory: **{ready.name}** is ready")
            st.caption(f"{device_name(ready.device)} · {str(ready.dtype).removeprefix('torch.')}")
            if ready.retrieval_notice:
                st.warning(with_commands(ready.retrieval_notice), icon=":material/hub:")


def device_name(device) -> str:
    """``CPU`` or ``GPU``, as people say it."""
    kind = str(device)
    return "CPU" if kind == "cpu" else f"GPU ({kind})"
