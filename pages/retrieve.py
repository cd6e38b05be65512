"""Retrieve: the examples that the model is shown before it answers, its exact prompt, and what the examples change."""

import streamlit as st

from afcore.app import plots
from afcore.app.markdown import markdown_safe
from afcore.app.prompt_html import prompt_html
from afcore.app.session import BrowserSession, Choice
from afcore.engine.engine import Engine
from afcore.engine.results import Answer, Heard
from afcore.jobs import Job
from afcore.retrieval.nearest import Shot
from pages import common

FOUND = 6


def main() -> None:
    """Draw the page."""
    session = common.session()
    common.heading("Retrieve", "The model learns from examples in its prompt: the most similar sounds that we have.")
    common.player(common.need_clip("Similar sounds are found for a sound."))
    engine = common.engine()
    heard = common.heard(engine)
    _examples(session, engine, heard)
    _search(session, engine, heard)
    st.subheader("One question, three answers", anchor=False)
    st.caption("The same question without examples, with them, and with their labels mixed up: what do they change?")
    _question(session)
    _prompt(session, engine, heard)
    _compare(session, engine, heard)


def _examples(session: BrowserSession, engine: Engine, heard: Heard) -> None:
    title, slider = st.columns([3, 2], vertical_alignment="bottom", gap="large")
    title.subheader("Similar examples", anchor=False)
    most = engine.max_shots
    session.k = slider.slider("How many", 0, most, min(session.k, most), key=session.key("k"))
    choices = session.choose(engine, heard)
    if not choices:
        st.caption("No examples: the model answers from the sound alone.")
    for row in range(0, len(choices), 2):
        for column, choice in zip(st.columns(2), choices[row : row + 2], strict=False):
            with column, st.container(border=True, key=f"card-{choice.id}"):
                _card(session, engine, choice)
    used = len(session.shots())
    if choices:
        st.caption(f"{used} of {len(choices)} in the prompt, the most similar next to your sound.")
    _map(session, engine, heard)


def _map(session: BrowserSession, engine: Engine, heard: Heard) -> None:
    box = st.expander("Map of all examples", icon=":material/scatter_plot:", key="map-box", on_change="rerun")
    with box:
        if not box.open:  # its axes are worked out from all vectors of the bank
            return
        retriever = engine.retriever()
        place = {example.id: row for row, example in enumerate(retriever.examples)}
        shots = [place[choice.id] for choice in session.choices if choice.use and choice.id in place]
        labels = [example.label for example in retriever.examples]
        common.figure(
            plots.neighbours(retriever.vectors, labels, heard.vector, shots),
            "map",
            "Your sound among all examples, those in the prompt by name",
        )
        st.caption(
            "What sounds alike lies close. A flat map cannot show every likeness, so neighbours may be further off."
        )


def _card(session: BrowserSession, engine: Engine, choice: Choice) -> None:
    example = choice.shot.example
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        choice.use = st.checkbox(
            f"**{markdown_safe(example.label)}**",
            value=choice.use,
            key=session.key(f"use-{choice.id}"),
            help="Untick to leave this example out of the prompt.",
        )
        st.button(
            "Pinned" if choice.pinned else "Pin",
            icon=":material/keep:" if choice.pinned else ":material/keep_off:",
            type="tertiary",
            key=session.key(f"pin-{choice.id}"),
            help="A pinned example stays when the sound or the number changes.",
            on_click=session.pin,
            args=(choice, not choice.pinned),
        )
    _about(engine, choice.shot, "Similarity")


def _about(engine: Engine, shot: Shot, measure: str) -> None:
    example = shot.example
    st.progress(max(shot.similarity, 0.0), text=f"{measure} {shot.similarity:.2f}")
    st.audio(str(common.bank().audio_path(example.id)), format="audio/ogg")
    if example.caption:
        st.markdown(markdown_safe(example.caption))
    st.caption(markdown_safe(" · ".join(part for part in (example.author, example.licence) if part)))


def _search(session: BrowserSession, engine: Engine, heard: Heard) -> None:
    with st.expander("Add other examples", icon=":material/search:", expanded=bool(st.session_state.get("search"))):
        words = st.text_input("Search by description", placeholder="glass breaking", key="search", max_chars=200)
        if not words.strip():
            return
        for row, found in enumerate(_pairs(engine.search(words, FOUND))):
            for column, shot in zip(st.columns(2), found, strict=False):
                with column, st.container(border=True, key=f"found-{row}-{shot.example.id}"):
                    _found(session, engine, heard, shot)


def _found(session: BrowserSession, engine: Engine, heard: Heard, shot: Shot) -> None:
    listed = any(choice.id == shot.example.id for choice in session.choices)
    full = len(session.choices) >= engine.max_shots
    st.markdown(f"**{markdown_safe(shot.example.label)}**")
    _about(engine, shot, "Fits the words")
    st.button(
        "In the list" if listed else "Add",
        icon=":material/check:" if listed else ":material/add:",
        disabled=listed or full,
        key=session.key(f"add-{shot.example.id}"),
        help=f"The list is full: the model takes {engine.max_shots}." if full and not listed else None,
        on_click=_add,
        args=(session, engine, heard, shot),
    )


def _add(session: BrowserSession, engine: Engine, heard: Heard, shot: Shot) -> None:
    if common.attempt(lambda: session.add(engine.as_shot(heard, shot.example, pinned=True))):
        st.session_state[session.key("k")] = session.k  # the slider above shows the longer list


def _pairs(found: list[Shot]) -> list[list[Shot]]:
    return [found[i : i + 2] for i in range(0, len(found), 2)]


def _question(session: BrowserSession) -> None:
    left, right = st.columns(2)
    session.question = left.text_input("Question", value=session.question, key=session.key("question"), max_chars=500)
    session.labels = right.text_input(
        "Labels to choose from (optional)",
        value=session.labels,
        key=session.key("labels"),
        placeholder="dog, cat, rain",
        max_chars=1000,
        help="With labels you also see how probable the model finds each one.",
    )
    known = session.known_labels
    if len(known) > 1:
        right.button("Use the examples' labels", type="tertiary", on_click=session.use_labels, args=(known,))


def _prompt(session: BrowserSession, engine: Engine, heard: Heard) -> None:
    with st.expander("The exact prompt", icon=":material/data_object:"):
        prompt = engine.build_prompt(heard, session.question, session.shots(), labels=session.asked_labels())
        st.caption("What the model reads, in order. Each pill stands for a sound that it hears at that place.")
        st.html(prompt_html(prompt))
        st.caption("As text")
        st.code(prompt.text, language=None, wrap_lines=True)


def _compare(session: BrowserSession, engine: Engine, heard: Heard) -> None:
    shots = session.shots()
    with st.container(horizontal=True):
        compare = st.button("Compare", type="primary", icon=":material/compare_arrows:", disabled=not shots)
        if st.button("Shuffle differently", icon=":material/shuffle:", disabled=len(shots) < 2):
            session.shuffle_seed += 1
            st.session_state["compare-again"] = True
            st.rerun()
    if not shots:
        st.caption("Tick at least one example to compare.")
    if compare or st.session_state.pop("compare-again", False):
        session.compare(engine, heard)
    job = session.jobs.get("compare")
    if job is None or not session.is_about_clip(job):
        return
    if job.key != session.comparison_key():
        st.caption("These answers are for what was asked before your last change; press Compare to ask again.")
    _answers(job)


def _answers(job: Job) -> None:
    drawn, wait, stop = 0, st.empty(), st.empty()  # above the answers, where a phone shows them
    places = [column.container(border=True, key=f"answer-{i}") for i, column in enumerate(st.columns(3))]
    if not job.done:
        stop.button("Stop", icon=":material/stop_circle:", on_click=job.stop, key="stop-compare")
    chart = st.container()
    while True:
        ended = job.done
        while drawn < len(job.items):
            with places[drawn]:
                _answer(job.items[drawn])
            drawn += 1
        if ended:
            break
        wait.markdown(common.waiting(job, f"Answer {drawn + 1} of 3"))
        job.wait(0.2)
    wait.empty()
    stop.empty()
    if job.stopped:
        st.caption(":material/stop_circle: Stopped")
    if job.error:
        st.error(job.error, icon=":material/error:")
    if job.items and job.items[0].probabilities:
        with chart:
            st.markdown("##### How probable each label is")
            answers = {answer.title: answer.probabilities for answer in job.items}
            common.figure(plots.compare(answers), "compare", "Probability of each label in each answer")


def _answer(answer: Answer) -> None:
    st.markdown(f"##### {answer.title}")
    st.markdown(markdown_safe(answer.text) or "*The model had nothing to say.*")
    if answer.shots:
        st.caption("Shown: " + ", ".join(markdown_safe(shot.example.label) for shot in answer.shots))
    else:
        st.caption("Shown: nothing but the sound")
    if answer.scores:
        label = answer.scores.best
        st.markdown(f":material/label: **{markdown_safe(label)}** {100 * answer.scores.probabilities[label]:.0f} %")
        st.caption(answer.scores.judged_by)


main()
