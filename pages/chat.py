"""Chat: ask about the sound, in several turns, and read the answers as they come."""

from dataclasses import replace
from functools import partial

import streamlit as st

from afcore.app import shares, transcripts
from afcore.app.markdown import markdown_safe
from afcore.app.session import BEAMS, CANDIDATES, LENGTHS, TEMPERATURES, TOP_KS, TOP_PS, BrowserSession, Turn
from afcore.audio.clock import clock_text
from afcore.engine.engine import Engine
from afcore.engine.results import Heard
from afcore.model.generation import PRESETS, GenerationSettings
from pages import common, share

SUGGESTIONS = ("What do you hear?", "Is there an animal?", "Is someone speaking?", "Where could this be?")
TRAINED_TURNS = 4  # dialogues that the chat models were trained on; reference section 7

SETTINGS = {
    "Likeliest words": GenerationSettings(),
    "As in the paper's benchmarks": PRESETS["benchmark"],
    "As the published foundation demo": PRESETS["foundation"],
    "As the published chat demo": PRESETS["chat"],
}
"""Whole settings to choose at once."""

YOU, MODEL = ":material/person:", ":material/graphic_eq:"


def main() -> None:
    """Draw the page."""
    session = common.session()
    common.heading("Chat", "Ask anything about the sound; each answer remembers the ones before.")
    if session.clip is None:
        common.offer_sounds("The chat is about a sound; below you can also ask without one.")
    elif session.without_sound:
        st.caption("The sound is left out; *Advanced* brings it back.")
    else:
        common.player(session.clip)
    about = "Ask without a sound" if session.soundless else "Ask about this sound"
    question = st.chat_input(about, key=session.key("ask"), max_chars=1000)
    engine = common.engine()
    if session.soundless:
        _talk(session, engine, None, question)
        return
    heard, body = common.hear_anew(engine, "chat")
    with body:
        _talk(session, engine, heard, question)


def _talk(session: BrowserSession, engine: Engine, heard: Heard | None, question: str | None) -> None:
    """``heard``: None for the chat without a sound."""
    _tools(session, engine, heard)
    turns = session.talk
    waiting = turns[-1] if turns and turns[-1].open else None
    for number, turn in enumerate(turns if waiting is None else turns[:-1]):
        _turn(session, turn, number, engine.name)
    question, last = question or st.session_state.pop("suggested", None), len(turns) - 1
    if question:
        turn = session.ask(engine, heard, question)
        common.keep()  # before the answer has come, so that a reload does not lose the question
        if waiting is not None:
            waiting.wait(5)
            _turn(session, waiting, last, engine.name)
        _answering(session, turn)
    elif waiting is not None:
        _answering(session, waiting)
    elif not turns and heard is not None:
        st.caption("Some questions to begin with")
        with st.container(horizontal=True, key="suggestions"):
            for text in SUGGESTIONS:
                st.button(text, on_click=_suggest, args=(text,))
    if turns and heard is None and engine.text_notice:
        st.caption(f":material/info: {engine.text_notice}")
    if turns and turns[-1].prompt:
        common.exact_prompt(turns[-1].prompt, "The exact prompt of the last answer")
    if turns and not engine.dialogues:
        st.caption(
            "This model answers each question by itself, without the turns before. For a conversation choose another."
        )
    elif len(session.history) > TRAINED_TURNS:
        st.caption(
            f"The model was trained on up to {TRAINED_TURNS} turns; later answers may wander. Clear starts afresh."
        )


def _suggest(text: str) -> None:
    st.session_state["suggested"] = text


def _tools(session: BrowserSession, engine: Engine, heard: Heard | None) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key="tools"):
        if heard is not None:
            _with_shots(session, engine, heard)
        with st.popover("Advanced", icon=":material/tune:"):
            if session.recording is not None:
                _alone(session)
            _settings(session)
        with st.popover("Download", icon=":material/download:", disabled=not session.talk):
            _downloads(session, engine.name)
        if heard is not None:
            made = partial(shares.of_chat, session, engine, heard)
            share.box(session.key("chat"), made, disabled=not session.talk)
        st.button("Clear", icon=":material/delete_sweep:", disabled=not session.talk, on_click=session.clear_chat)


def _alone(session: BrowserSession) -> None:
    key = session.key("without-sound")

    def change() -> None:
        session.without_sound = st.session_state[key]

    st.toggle(
        "Without the sound",
        session.without_sound,
        key=key,
        on_change=change,
        help="A chat of its own, in text alone. It is not kept for a reload.",
    )


def _with_shots(session: BrowserSession, engine: Engine, heard: Heard) -> None:
    shots = session.choose(engine, heard, common.chosen_bank(engine)) and session.shots()
    session.with_shots = st.toggle(
        f"Show the model {len(shots)} similar examples" if len(shots) != 1 else "Show the model 1 similar example",
        value=session.with_shots,
        key=session.key("with-shots"),
        help="The examples ticked on the Retrieve page stand before the sound in the prompt.",
    )


def _settings(session: BrowserSession) -> None:
    settings = session.settings
    for name, whole in SETTINGS.items():
        st.button(
            name,
            key=session.key(f"preset-{name}"),
            width="stretch",
            type="primary" if settings == whole else "secondary",
            on_click=session.use_settings,
            args=(whole,),
        )
    key = session.key(f"{session.tuned}-settings")
    temperature = st.slider(
        "Temperature",
        *TEMPERATURES,
        settings.temperature,
        0.05,
        key=f"temperature-{key}",
        help="0 always takes the most likely word; higher is more varied and less reliable.",
    )
    greedy = temperature == 0
    top_k = st.slider(
        "Top-k",
        *TOP_KS,
        settings.top_k,
        key=f"top-k-{key}",
        disabled=greedy,
        help="Only so many of the most likely words are drawn from; 0 sets no limit. No effect at temperature 0.",
    )
    top_p = st.slider(
        "Top-p",
        *TOP_PS,
        settings.top_p,
        0.05,
        key=f"top-p-{key}",
        disabled=greedy,
        help="Only the most likely words that together reach this probability are drawn from. No effect at "
        "temperature 0.",
    )
    beams = st.slider(
        "Beams",
        *BEAMS,
        settings.num_beams,
        key=f"beams-{key}",
        help="Several answers are followed at once and the likeliest is given, whole rather than word by word.",
    )
    length = st.slider(
        "Longest answer",
        *LENGTHS,
        settings.max_new_tokens,
        8,
        key=f"length-{key}",
        format="%d tokens",
        help="A token is about three quarters of a word.",
    )
    session.settings = replace(
        settings, temperature=temperature, top_k=top_k, top_p=top_p, num_beams=beams, max_new_tokens=length
    )
    session.candidates = st.slider(
        "Answers to choose from",
        *CANDIDATES,
        session.candidates,
        key=f"candidates-{key}",
        disabled=greedy,
        help="So many answers are drawn, and the one that fits the sound best, by CLAP similarity, comes first; the "
        "published demo draws 10. Needs a temperature above 0.",
    )


def _downloads(session: BrowserSession, model: str) -> None:
    turns, name = [turn.as_dict() for turn in session.talk], "audio-flamingo-chat"
    about = transcripts.facts(session, model)
    st.download_button(
        "Markdown",
        transcripts.to_markdown(about, turns),
        f"{name}.md",
        "text/markdown",
        on_click="ignore",
        width="stretch",
    )
    st.download_button(
        "JSON",
        transcripts.to_json(about, turns),
        f"{name}.json",
        "application/json",
        on_click="ignore",
        width="stretch",
    )


def _question(session: BrowserSession, turn: Turn) -> None:
    with st.chat_message("user", avatar=YOU):
        st.markdown(markdown_safe(turn.question))
        if not session.soundless and turn.start != session.start:
            st.caption(f"About the part from {clock_text(turn.start)} on")


def _turn(session: BrowserSession, turn: Turn, number: int, model: str) -> None:
    _question(session, turn)
    with st.chat_message("assistant", avatar=MODEL):
        # Laid out as `_answering` does: what it drew would stay on the screen while the next answer streams.
        with st.container():
            st.empty()
            st.markdown(markdown_safe(turn.answer))
        st.empty()
        _footer(turn)
        if turn.answer and turn.prompt:
            about = common.answered(turn.question, turn.answer, turn.prompt, model, turn.start)
            common.thumbs(f"chat-{number}", about, says="")


def _footer(turn: Turn) -> None:
    if turn.error:
        st.error(turn.error, icon=":material/error:")
    if turn.stopped:
        st.caption(":material/stop_circle: Stopped")
    elif not turn.answer and not turn.error:
        st.caption("The model had nothing to say.")
    if len(turn.ranked) > 1:
        others = len(turn.ranked) - 1
        with st.expander(f"{others} other answer{'s' * (others > 1)}", icon=":material/format_list_numbered:"):
            st.caption(f"The answer above fits the sound best, with a similarity of {turn.ranked[0][1]:.2f}.")
            for text, similarity in turn.ranked[1:]:
                st.markdown(f"{similarity:.2f} · {markdown_safe(text)}")
    elif turn.ranked and turn.candidates > 1:
        st.caption(f"All {turn.candidates} answers were the same.")
    if turn.shots:
        st.caption(":material/hub: With " + ", ".join(markdown_safe(shot.example.label) for shot in turn.shots))


def _answering(session: BrowserSession, turn: Turn) -> None:
    _question(session, turn)
    with st.chat_message("assistant", avatar=MODEL):
        words, stop = st.container(), st.empty()
        stop.button("Stop", icon=":material/stop_circle:", on_click=turn.stop, key=session.key("stop"))
        if turn.job is not None:
            with words:
                common.stream(turn.job, "Thinking")
    # Once more as a whole, so that the answer takes its place in the history and the downloads.
    st.rerun()


main()
