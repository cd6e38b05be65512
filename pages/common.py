"""What every page shares: the browser session, the model and waiting for it, errors as sentences, choosing a sound."""

import html
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NoReturn

import plotly.graph_objects as go
import streamlit as st

from afcore import paths
from afcore.app import certainty, plots
from afcore.app.banks import ChosenBanks, listen
from afcore.app.examples import everyday_examples
from afcore.app.feedback import Feedback, Thumb
from afcore.app.kept_sessions import KeptSessions
from afcore.app.markdown import markdown_safe, with_commands
from afcore.app.model_host import ModelHost, device_name, number_format
from afcore.app.problems import sentence_of
from afcore.app.prompt_html import prompt_html
from afcore.app.session import BrowserSession, session_in
from afcore.audio.clock import clock_text, exact_text
from afcore.audio.notices import Notice
from afcore.audio.recording import Clip, open_recording
from afcore.audio.wav import SHORTEST, player_wav
from afcore.engine.engine import Engine
from afcore.engine.results import Heard
from afcore.evaluation import beforehand
from afcore.evaluation.beforehand import Beforehand
from afcore.jobs import Job
from afcore.prompts import Prompt
from afcore.retrieval import ExampleBank
from afcore.retrieval.bank import Bank
from afcore.retrieval.example import Example

MODEL = os.environ.get("AFCORE_MODEL") or "mini"
_ADDRESS = "session"
"""What the address calls the id of the session."""


def session() -> BrowserSession:
    """What this browser session holds."""
    return session_in(st.session_state)


@st.cache_resource(show_spinner=False)
def kept_sessions() -> KeptSessions:
    """The sessions of this server that outlive a reload."""
    return KeptSessions(paths.DATA / "sessions")


@st.cache_resource(show_spinner=False)
def feedback() -> Feedback:
    """The thumbs that were given on this server."""
    return Feedback(paths.DATA / "feedback.jsonl")


def resume() -> None:
    """Go on with the session that the address names, if this is its first run; a copy, whoever opens it."""
    if not st.session_state.get("_begun"):
        st.session_state["_begun"] = True
        if wanted := st.query_params.get(_ADDRESS, ""):
            kept_sessions().resume(session(), wanted, bank())


def keep() -> None:
    """Keep the session for a reload, and have the address name it."""
    name = kept_sessions().keep(session())
    if name and st.query_params.get(_ADDRESS) != name:
        st.query_params[_ADDRESS] = name


def forget() -> None:
    """Let go of the sound, its chat and what is kept of them."""
    kept_sessions().forget(session())
    st.query_params.pop(_ADDRESS, None)


# --- the model ---------------------------------------------------------------------------------------------------


@st.cache_resource(show_spinner=False)
def model_host() -> ModelHost:
    """The models of this server: each loaded once, in a thread, so that every visitor sees the same progress."""
    return ModelHost(MODEL)


def model_name() -> str:
    """The model that this session uses."""
    return model_host().name_for(session().id)


def loading() -> Job:
    """Of the model that this session uses."""
    return model_host().loading_for(session().id)


def loaded() -> Engine | None:
    """This session's engine if it is ready."""
    return loading().result


def engine() -> Engine:
    """This session's engine; draws progress until it is ready, or why it cannot be."""
    if not loading().done:
        place = st.empty()
        while not (job := loading()).wait(0.2):  # another one when another model is chosen meanwhile
            loading_progress(job, place)
        place.empty()
        status()
    job = loading()
    if job.error is not None:
        st.error(job.error, icon=":material/error:")
        st.button("Try again", on_click=do, args=(_load_again,), key="reload")
        st.stop()
    if job.result is None:  # it was put away just now
        st.rerun()
    session().follow_model(job.result)
    return job.result


def _load_again() -> None:
    model_host().choose(model_name(), session().id)


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
    return ready.bank if ready is not None and isinstance(ready.bank, Bank) else _shipped_bank()


@st.cache_resource(show_spinner=False)
def own_banks() -> ChosenBanks:
    """The banks that sessions of this server have chosen, each opened once."""
    return ChosenBanks()


def chosen_bank(loaded_engine: Engine) -> ExampleBank | None:
    """Where this session's examples come from; None: the engine's own bank. What the model has not heard of it yet is
    heard first, with progress."""
    bank = own_banks().of(loaded_engine, session().banks)
    if bank is not None:
        key = (loaded_engine.name, id(bank))

        def work(job: Job) -> bool:
            listen(loaded_engine, bank, job)
            return True

        if finish(session().run("bank", key, work, None), "Listening to your bank") is None:
            st.stop()
    return bank


def follow_banks() -> None:
    """Have the sound heard by the same rule for channels as the chosen banks; call before a page is drawn. Raises
    BadRequest, AudioError."""
    now = session()
    now.follow_banks(own_banks().channels(now.banks))


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
    place, words = st.empty(), st.empty()  # both made at once: what stood there, of another sound perhaps, is gone
    while not job.done and not job.text:
        place.markdown(waiting(job, doing))
        job.wait(0.1)
    place.empty()
    if job.text or not job.done:
        with words.container():
            st.write_stream(markdown_safe(piece) for piece in job.follow())
    if job.error is not None:
        st.error(job.error, icon=":material/error:")
    return job.text


@st.cache_data(show_spinner=False)
def _beforehand() -> dict[str, Beforehand]:
    return beforehand.read()


_COMPUTE_NOW = "compute-now"


def compute_now() -> None:
    """Have the present sound's answer made now."""
    st.session_state[session().key(_COMPUTE_NOW)] = True


def computed_beforehand() -> Beforehand | None:
    """What mini says of the present sound, where it is an example about which it was asked beforehand; None for other
    weights, another model, another part of the sound, and once somebody wants it computed now."""
    now = session()
    if now.recording is None or now.start or model_name() != beforehand.MODEL:
        return None
    if st.session_state.get(now.key(_COMPUTE_NOW)):
        return None
    return _beforehand().get(now.recording.sha256)


def hear(loaded_engine: Engine) -> Heard:
    """What the engine heard in the present clip; ends the page where there is nothing."""
    result = finish(session().hear(loaded_engine), "Listening")
    if result is None:
        st.button("Listen again", on_click=session().forget_hearing, key="hear-again")
        st.stop()
    return result


def hear_anew(loaded_engine: Engine, page: str) -> tuple[Heard, Any]:
    """`hear`, and the container for what is drawn of it on ``page``.

    Where the sound is another than the last one drawn there, the container is emptied before the wait: nothing of the
    last sound stands under the name of this one.
    """
    _, clip = session().sound()
    drawn = st.session_state.setdefault("_drawn", {})
    wait = st.container()
    place = st.empty() if drawn.get(page) != clip.key else None
    with wait:
        result = hear(loaded_engine)
    drawn[page] = clip.key
    return result, st.container() if place is None else place.container()


DOUBT = {
    certainty.SURE: ":green-badge[:material/check_circle: {}]",
    certainty.LIKELY: ":blue-badge[:material/thumb_up: {}]",
    certainty.NOT_SURE: ":orange-badge[:material/help: {}]",
}


def doubt(
    loaded_engine: Engine | str, judge: Callable[[certainty.Certainty], certainty.Doubt | None]
) -> certainty.Doubt | None:
    """Say how sure an answer is, in words, where that was measured for the model; ``judge`` gets the limits. Returns
    what was said."""
    limits = certainty.Certainty.of(loaded_engine if isinstance(loaded_engine, str) else loaded_engine.name)
    found = None if limits is None else judge(limits)
    if found is not None:
        st.markdown(DOUBT[found.word].format(markdown_safe(found.sentence().rstrip("."))))
    return found


def thumbs(name: str, about: Thumb, says: str = "Is that right?") -> None:
    """Thumbs under an answer about the present sound, kept for this server with the exact prompt. ``name``: of the
    place on the page; ``about``: what is kept beside the thumb."""
    key = session().key(f"thumb-{name}-{abs(hash((about.question, about.answer)))}")

    def keep_it() -> None:
        chosen = st.session_state[key]
        if chosen is not None:
            feedback().add(replace(about, thumb=("down", "up")[chosen], at=time.time()))

    with st.container(horizontal=True, vertical_alignment="center"):
        if says:
            st.caption(says)
        st.feedback("thumbs", key=key, on_change=do, args=(keep_it,))


def answered(question: str, answer: str, prompt: str, model: str, start: float | None = None) -> Thumb:
    """What `thumbs` keeps of an answer about the present sound, or, in a chat without one, about none. ``start``: where
    the part that was heard begins, in seconds; by default that of the present part."""
    now = session()
    recording = now.recording if not now.soundless else None
    name, sha256 = ("", "") if recording is None else (recording.name, recording.sha256)
    return Thumb("", name, sha256, now.start if start is None else start, model, question, answer, prompt)


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
    st.session_state.pop(_STANDS, None)
    try:
        action(*args)
        return True
    except Exception as error:
        st.session_state["problem"] = sentence_of(error, "An action failed")
        return False


def do(action: Callable[..., Any], *args: Any) -> None:
    """`attempt`, as the callback of a widget."""
    attempt(action, *args)


def attempt_each(action: Callable[[Any], Any], things: Iterable[Any]) -> None:
    """`attempt` ``action`` with each of ``things``; the others are tried where one is refused, and every refusal is
    told."""
    refused = [st.session_state.pop("problem") for thing in things if not attempt(action, thing)]
    if refused:
        st.session_state["problem"] = "\n\n".join(refused)


def download_zip(
    label: str,
    make: Callable[[], bytes],
    name: str,
    key: str,
    icon: str = ":material/download:",
    help: str | None = None,
) -> None:
    """A button that downloads what ``make`` gives, made when it is pressed, as ``name``.zip."""
    st.download_button(
        label,
        data=make,
        file_name=f"{name}.zip",
        mime="application/zip",
        icon=icon,
        on_click="ignore",
        key=key,
        help=help,
    )


def delete_button(warning: str, key: str, action: Callable[..., Any], *args: Any, label: str = "Delete") -> None:
    """A button that says what goes before ``action`` lets it go."""
    with st.popover(label, icon=":material/delete:"):
        st.markdown(warning)
        st.button("Delete it", on_click=do, args=(action, *args), key=key)


_STANDS = "_problem_that_stands"


def problem() -> None:
    """Show, once, why the last action did not work."""
    sentence = st.session_state.pop("problem", None)
    if sentence:
        st.session_state[_STANDS] = sentence
        st.error(sentence, icon=":material/error:")


def redraw() -> NoReturn:
    """Draw the page again though nobody has touched it: the sentence of `problem` that stands on it stays, since it may
    not have been read yet."""
    if _STANDS in st.session_state:
        st.session_state["problem"] = st.session_state[_STANDS]
    st.rerun()


# --- a sound -----------------------------------------------------------------------------------------------------


def take(data: bytes, name: str, source: str) -> bool:
    """Make the file ``data`` the session's sound; a refusal is shown by ``problem``. Returns whether it went well."""
    return attempt(lambda: session().open(open_recording(data, name), source))


def take_example(example: Example, of: Bank) -> None:
    """Make an example of the bank ``of`` the session's sound; a refusal is shown by ``problem``.

    The bank is the one whose examples the page showed: with another model there may be another one by now.
    """
    attempt(lambda: session().open(open_recording(of.audio_path(example.id), f"{example.label}.ogg"), "example"))


@st.cache_data(show_spinner=False, max_entries=8)
def _everyday(_bank: Bank, key: str, count: int) -> list[Example]:
    return everyday_examples(_bank, count)


def example_buttons(count: int = 6) -> None:
    """A row of examples to try with one click."""
    shown = bank()
    examples = _everyday(shown, str(shown.folder), count)
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
                args=(example, shown),
            )


def need_clip(why: str) -> Clip:
    """The part of the sound that the model hears; where there is none, the page ends with a way to get one."""
    clip = session().clip
    if clip is not None:
        return clip
    offer_sounds(why)
    st.stop()


def offer_sounds(why: str) -> None:
    """A way to get a first sound."""
    with st.container(border=True, key="empty"):
        st.header("First, a sound", anchor=False)
        st.markdown(f"{why} Try one of ours, or bring your own.")
        example_buttons()
        st.page_link("listen.py", label="Use my own sound", icon=":material/upload:")


def player(clip: Clip) -> None:
    """Play what the model hears, as loud as it hears it, and say what is unusual about it."""
    st.audio(player_wav(clip), format="audio/wav")
    notices(clip.notices)


@st.cache_data(show_spinner=False, max_entries=64)
def _example_wav(path: str) -> bytes:
    return player_wav(open_recording(path).clip())


def play_example(example: Example, of: ExampleBank | None = None) -> None:
    """Play an example of the bank ``of``, by default the shipped one."""
    path = str((of or bank()).audio_path(example.id))
    if example.seconds < SHORTEST:
        st.audio(_example_wav(path), format="audio/wav")
    else:
        st.audio(path)


def notices(told: Iterable[Notice], small: bool = False) -> None:
    """What is unusual about a sound; ``small`` where it stands beside much else."""
    for notice in told:
        if small:
            st.caption(f":material/info: {markdown_safe(notice.sentence)}")
        else:
            st.info(markdown_safe(notice.sentence), icon=":material/info:")


# --- drawing -----------------------------------------------------------------------------------------------------


def heading(title: str, line: str) -> None:
    """A page's title and what it is for."""
    st.title(title, anchor=False)
    st.markdown(f'<p class="lead">{html.escape(line)}</p>', unsafe_allow_html=True)
    if "problem" not in st.session_state:  # drawn for something else that the person has done since
        st.session_state.pop(_STANDS, None)
    problem()


FIGURE_FORMATS, FIGURE_FORMAT = ("PNG", "SVG"), "figure-format"


def figure(
    chart: go.Figure,
    key: str,
    alt: str,
    clicked: Callable[[dict[str, Any]], None] | None = None,
    csv: bool = True,
) -> None:
    """A Plotly figure that follows the theme and does not catch a phone's scrolling; its tool bar, which shows when the
    pointer is over it, saves it as a picture in the format that *Advanced* says.

    ``clicked`` gets the point that somebody clicks, with its ``customdata``, before the page is drawn again. ``csv``:
    with a button that saves its numbers; not for a picture of a sound or a map, whose numbers say nothing.
    """
    _plotted(chart, key, alt, clicked)
    if csv:
        st.download_button(
            "CSV",
            plots.to_csv(chart),
            f"audio-flamingo-{key}.csv",
            "text/csv",
            icon=":material/table:",
            type="tertiary",
            on_click="ignore",
            key=f"csv-{key}",
            help=f"The numbers of the figure: {alt}",
        )


def _plotted(chart: go.Figure, key: str, alt: str, clicked: Callable[[dict[str, Any]], None] | None) -> None:
    config = {
        "displayModeBar": "hover",
        "displaylogo": False,
        "scrollZoom": False,
        "modeBarButtons": [["toImage"]],
        "toImageButtonOptions": {
            "format": st.session_state.get(FIGURE_FORMAT, FIGURE_FORMATS[0]).lower(),
            "filename": f"audio-flamingo-{key}",
            "scale": 2,  # sharp on a slide
        },
    }
    if clicked is None:
        st.plotly_chart(chart, key=key, alt=alt, config=config)
        return

    def select() -> None:
        points = st.session_state[key]["selection"]["points"]
        if points:
            attempt(clicked, points[0])

    st.plotly_chart(chart, key=key, alt=alt, config=config, on_select=select, selection_mode="points")


def exact_prompt(prompt: Prompt | str, what: str = "The exact prompt") -> None:
    """What the model reads, to unfold and to copy; of a `Prompt` also with its sounds as pills."""
    with st.expander(what, icon=":material/data_object:"):
        if isinstance(prompt, Prompt):
            st.caption("What the model reads, in order. Each pill stands for a sound that it hears at that place.")
            st.html(prompt_html(prompt))
            st.caption("As text")
            prompt = prompt.text
        st.code(prompt, language=None, wrap_lines=True)


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
                part += f", heard from {exact_text(now.start)} to {exact_text(now.start + now.clip.duration)}"
            st.caption(part)
        if ready is not None:
            st.markdown(f":material/memory: **{ready.name}** is ready")
            st.caption(f"It runs on {device_name(ready.device)}, {number_format(ready.dtype)}.")
            if ready.device_notice:
                st.warning(with_commands(ready.device_notice), icon=":material/memory:")
            if ready.retrieval_notice:
                st.warning(with_commands(ready.retrieval_notice), icon=":material/hub:")
