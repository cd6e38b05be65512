"""Retrieve: the examples that the model is shown before it answers, its exact prompt, and what the examples change."""

import streamlit as st

from afcore.app import certainty, plots
from afcore.app.markdown import markdown_safe
from afcore.app.session import BrowserSession, Choice
from afcore.engine.engine import Engine
from afcore.engine.results import Answer, Heard
from afcore.jobs import Job
from afcore.retrieval.nearest import Shot
from pages import common, retrieve_banks

FOUND = 6


def main() -> None:
    """Draw the page."""
    session = common.session()
    common.heading(
        "Retrieve",
        "Before it answers, the model is shown the most similar sounds that we have, each with its right answer.",
    )
    if session.clip is None:  # a bank can be made before there is a sound
        retrieve_banks.draw(session)
    common.player(common.need_clip("Similar sounds are found for a sound."))
    engine = common.engine()
    heard, body = common.hear_anew(engine, "retrieve")
    with body:
        _pins(session)
        _examples(session, engine, heard)
        _search(session, engine, heard)
        retrieve_banks.draw(session)
        st.header("One question, three answers", anchor=False)
        st.caption(
            "The same question without examples, with them, and with their labels mixed up: what do they change?"
        )
        _question(session)
        _prompt(session, engine, heard)
        _compare(session, engine, heard)


def _pins(session: BrowserSession) -> None:
    """Pins of another sound are not used unasked: they may be far from this one."""
    if not session.left_pins:
        return
    names = ", ".join(markdown_safe(choice.shot.example.label) for choice in session.left_pins)
    with st.container(border=True, key="left-pins"):
        st.markdown(f":material/keep: Pinned for “{markdown_safe(session.pins_of)}”: **{names}**. Use here too?")
        with st.container(horizontal=True):
            st.button("Use them here too", on_click=session.take_pins, key=session.key("take-pins"))
            st.button("Let them go", type="tertiary", on_click=session.drop_pins, key=session.key("drop-pins"))


def _examples(session: BrowserSession, engine: Engine, heard: Heard) -> None:
    title, slider = st.columns([3, 2], vertical_alignment="bottom", gap="large")
    title.header("Similar examples", anchor=False)
    most = engine.max_shots
    session.k = slider.slider("How many examples", 0, most, min(session.k, most), key=session.key("k"))
    choices = session.choose(engine, heard, common.chosen_bank(engine))
    if not choices:
        st.caption("No examples: the model answers from the sound alone.")
    for row in range(0, len(choices), 2):
        for column, choice in zip(st.columns(2), choices[row : row + 2], strict=False):
            with column, st.container(border=True, key=f"card-{choice.id}"):
                _card(session, engine, choice)
    used = len(session.shots())
    if choices:
        st.caption(
            f"{used} of {len(choices)} in the prompt, the most similar next to your sound.",
            help=f"Found by `{engine.clap_name}`.",
        )
    _map(session, engine, heard)


def _map(session: BrowserSession, engine: Engine, heard: Heard) -> None:
    box = st.expander("Map of all examples", icon=":material/scatter_plot:", key="map-box", on_change="rerun")
    with box:
        if not box.open:  # its axes are worked out from all vectors of the bank
            return
        retriever = engine.retriever(common.chosen_bank(engine))
        place = {example.id: row for row, example in enumerate(retriever.examples)}
        shots = [place[choice.id] for choice in session.choices if choice.use and choice.id in place]
        labels = [example.label for example in retriever.examples]
        common.figure(
            plots.neighbours(retriever.vectors, labels, heard.query, shots),
            "map",
            "Your sound among all examples, those in the prompt by name",
            csv=False,
        )
        st.caption(
            "What sounds alike lies close. A flat map cannot show every likeness, so neighbours may be further off."
        )


def _card(session: BrowserSession, engine: Engine, choice: Choice) -> None:
    example = choice.shot.example
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        choice.use = st.checkbox(
            markdown_safe(example.label),
            value=choice.use,
            key=session.key(f"use-{choice.id}"),
            help="Untick to leave this example out of the prompt.",
        )
        st.button(
            "Pinned" if choice.pinned else "Pin",
            icon=":material/keep:" if choice.pinned else ":material/keep_off:",
            type="tertiary",
            key=session.key(f"pin-{choice.id}"),
            help="A pinned example stays when the number changes; with another sound you are asked.",
            on_click=session.pin,
            args=(choice, not choice.pinned),
        )
    _about(engine, choice.shot, "Similarity")


def _about(engine: Engine, shot: Shot, measure: str) -> None:
    example = shot.example
    st.progress(max(shot.similarity, 0.0), text=f"{measure} {shot.similarity:.2f}")
    common.play_example(example, shot.bank)
    common.notices(example.notices, small=True)
    if example.caption:
        st.markdown(markdown_safe(example.caption))
    st.caption(markdown_safe(" · ".join(part for part in (example.author, example.licence) if part)))


def _search(session: BrowserSession, engine: Engine, heard: Heard) -> None:
    with st.expander("Add other examples", icon=":material/search:", expanded=bool(st.session_state.get("search"))):
        words = st.text_input("Search by description", placeholder="glass breaking", key="search", max_chars=200)
        if not words.strip():
            return
        for row, found in enumerate(_pairs(engine.search(words, FOUND, common.chosen_bank(engine)))):
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
    if common.attempt(lambda: session.add(engine.as_shot(heard, shot.example, True, common.chosen_bank(engine)))):
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
        right.button(
            "Use the examples' labels",
            icon=":material/label:",
            type="tertiary",
            on_click=session.use_labels,
            args=(known,),
        )


def _prompt(session: BrowserSession, engine: Engine, heard: Heard) -> None:
    common.exact_prompt(engine.build_prompt(heard, session.question, session.shots(), labels=session.asked_labels()))


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
    _answers(engine, job)


def _answers(engine: Engine, job: Job) -> None:
    drawn, wait, stop = 0, st.empty(), st.empty()  # above the answers, where a phone shows them
    places = [column.container(border=True, key=f"answer-{i}") for i, column in enumerate(st.columns(3))]
    if not job.done:
        stop.button("Stop", icon=":material/stop_circle:", on_click=job.stop, key="stop-compare")
    chart = st.container()
    while True:
        ended = job.done
        while drawn < len(job.items):
            with places[drawn]:
                _answer(engine, job.items[drawn], job.key[1])
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
            st.markdown("### How probable each label is")
            answers = {answer.title: answer.probabilities for answer in job.items}
            common.figure(plots.compare(answers), "compare", "Probability of each label in each answer")


def _answer(engine: Engine, answer: Answer, question: str) -> None:
    st.markdown(f"### {answer.title}")
    scores = answer.scores
    if scores is not None:
        # The judges' word is the answer to "which of these?"; what the model says freely stands below it, as such.
        label = scores.best
        st.markdown(f":material/label: **{markdown_safe(label)}** {100 * scores.probabilities[label]:.0f} %")
        common.doubt(engine, lambda limits: certainty.of_labels(scores, limits.labels))
        st.caption(scores.judged_by)
        st.caption(f"In its own words: {markdown_safe(answer.text) or 'nothing'}")
    else:
        st.markdown(markdown_safe(answer.text) or "*The model had nothing to say.*")
        common.doubt(engine, lambda limits: certainty.of_sentence(answer.text, answer.heard.tags, limits.tags))
    if answer.shots:
        st.caption("Shown: " + ", ".join(markdown_safe(shot.example.label) for shot in answer.shots))
    else:
        st.caption("Shown: nothing but the sound")
    if said := answer.text if scores is None else scores.best:
        about = common.answered(question, said, answer.prompt.text, answer.model)
        common.thumbs(f"compare-{answer.title}", about)


main()
