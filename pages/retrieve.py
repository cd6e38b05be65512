"""Retrieve: the examples that the model is shown before it answers, its exact prompt, and what the examples change."""

import streamlit as st

from afcore import prompts
from afcore.app import plots
from afcore.errors import BadRequest
from afcore.retrieval.nearest import Shot
from pages import common, frame, prompt_view
from pages.state import Choice, State, current, split_labels

FOUND = 6


def main() -> None:
    """Draw the page."""
    state = current()
    common.heading("Retrieve", "The model learns from examples in its prompt: the most similar sounds that we have.")
    common.need_clip("Similar sounds are found for a sound.")
    common.player(state.clip)
    engine = common.engine()
    heard = common.heard(engine)
    _examples(state, engine, heard)
    _search(state, engine, heard)
    st.subheader("One question, three answers", anchor=False)
    st.caption("The same question without examples, with them, and with their labels mixed up: what do they change?")
    _question(state)
    _prompt(state, engine, heard)
    _compare(state, engine, heard)


def _examples(state: State, engine, heard) -> None:
    title, slider = st.columns([3, 2], vertical_alignment="bottom", gap="large")
    title.subheader("Similar examples", anchor=False)
    most = engine.max_shots
    state.k = slider.slider("How many", 0, most, min(state.k, most), key=state.key("k"))
    choices = state.choose(engine, heard)
    if not choices:
        st.caption("No examples: the model answers from the sound alone.")
    for row in range(0, len(choices), 2):
        for column, choice in zip(st.columns(2), choices[row : row + 2]):
            with column, st.container(border=True, key=f"card-{choice.id}"):
                _card(state, engine, choice)
    used = len(state.shots())
    if choices:
        st.caption(f"{used} of {len(choices)} in the prompt, the most similar next to your sound.")
    _map(state, engine, heard)


def _map(state: State, engine, heard) -> None:
    box = st.expander("Map of all examples", icon=":material/scatter_plot:", key="map-box", on_change="rerun")
    with box:
        if not box.open:  # its axes are worked out from all vectors of the bank
            return
        retriever = engine.retriever()
        place = {example.id: row for row, example in enumerate(retriever.examples)}
        shots = [place[choice.id] for choice in state.choices if choice.use and choice.id in place]
        labels = [example.label for example in retriever.examples]
        common.figure(
            plots.neighbours(retriever.vectors, labels, heard.vector, shots),
            "map",
            "Your sound among all examples, those in the prompt by name",
        )
        st.caption(
            "What sounds alike lies close. A flat map cannot show every likeness, so neighbours may be further off."
        )


def _card(state: State, engine, choice: Choice) -> None:
    example = choice.shot.example
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        choice.use = st.checkbox(
            f"**{common.markdown_safe(example.label)}**",
            value=choice.use,
            key=state.key(f"use-{choice.id}"),
            help="Untick to leave this example out of the prompt.",
        )
        st.button(
            "Pinned" if choice.pinned else "Pin",
            icon=":material/keep:" if choice.pinned else ":material/keep_off:",
            type="tertiary",
            key=state.key(f"pin-{choice.id}"),
            help="A pinned example stays when the sound or the number changes.",
            on_click=state.pin,
            args=(choice, not choice.pinned),
        )
    _about(engine, choice.shot, "Similarity")


def _about(engine, shot: Shot, measure: str) -> None:
    example = shot.example
    st.progress(max(shot.similarity, 0.0), text=f"{measure} {shot.similarity:.2f}")
    st.audio(str(engine.bank.audio_path(example.id)), format="audio/ogg")
    if example.caption:
        st.markdown(common.markdown_safe(example.caption))
    st.caption(common.markdown_safe(" · ".join(part for part in (example.author, example.licence) if part)))


def _search(state: State, engine, heard) -> None:
    with st.expander("Add other examples", icon=":material/search:", expanded=bool(st.session_state.get("search"))):
        words = st.text_input("Search by description", placeholder="glass breaking", key="search", max_chars=200)
        if not words.strip():
            return
        for row, found in enumerate(_pairs(engine.search(words, FOUND))):
            for column, shot in zip(st.columns(2), found):
                with column, st.container(border=True, key=f"found-{row}-{shot.example.id}"):
                    _found(state, engine, heard, shot)


def _found(state: State, engine, heard, shot: Shot) -> None:
    listed = any(choice.id == shot.example.id for choice in state.choices)
    full = len(state.choices) >= engine.max_shots
    st.markdown(f"**{common.markdown_safe(shot.example.label)}**")
    _about(engine, shot, "Fits the words")
    st.button(
        "In the list" if listed else "Add",
        icon=":material/check:" if listed else ":material/add:",
        disabled=listed or full,
        key=state.key(f"add-{shot.example.id}"),
        help=f"The list is full: the model takes {engine.max_shots}." if full and not listed else None,
        on_click=_add,
        args=(state, engine, heard, shot),
    )


def _add(state: State, engine, heard, shot: Shot) -> None:
    if common.attempt(lambda: state.add(engine.as_shot(heard, shot.example, pinned=True))):
        st.session_state[state.key("k")] = state.k  # the slider above shows the longer list


def _pairs(items: list) -> list[list]:
    return [items[i : i + 2] for i in range(0, len(items), 2)]


def _question(state: State) -> None:
    left, right = st.columns(2)
    state.question = left.text_input("Question", value=state.question, key=state.key("question"), max_chars=500)
    state.labels = right.text_input(
        "Labels to choose from (optional)",
        value=state.labels,
        key=state.key("labels"),
        placeholder="dog, cat, rain",
        max_chars=1000,
        help="With labels you also see how probable the model finds each one.",
    )
    known = list(dict.fromkeys(choice.shot.example.label for choice in state.choices))
    if len(known) > 1:
        right.button("Use the examples' labels", type="tertiary", on_click=_use_labels, args=(state, known))


def _use_labels(state: State, labels: list[str]) -> None:
    state.labels = ", ".join(labels)
    state.question = prompts.CLASSIFY
    state.epoch += 1


def _labels(state: State) -> list[str] | None:
    labels = split_labels(state.labels)
    if len(labels) == 1:
        raise BadRequest("Give at least two labels, separated by commas.")
    return labels or None


def _prompt(state: State, engine, heard) -> None:
    with st.expander("The exact prompt", icon=":material/data_object:"):
        prompt = engine.build_prompt(heard, state.question, state.shots(), labels=_labels(state))
        st.caption("What the model reads, in order. Each pill stands for a sound that it hears at that place.")
        st.html(prompt_view.as_html(prompt))
        st.caption("As text")
        st.code(prompt.text, language=None, wrap_lines=True)


def _compare(state: State, engine, heard) -> None:
    shots, labels, question = state.shots(), _labels(state), state.question
    seed = st.session_state.setdefault("seed", 0)
    asked = (state.clip.key, question, tuple(labels or ()), tuple(shot.example.id for shot in shots), seed)

    def work(job):
        engine.three_answers(heard, question, shots, labels, seed=seed, on_answer=job.show, stop=job.stopping)

    with st.container(horizontal=True):
        compare = st.button("Compare", type="primary", icon=":material/compare_arrows:", disabled=not shots)
        if st.button("Shuffle differently", icon=":material/shuffle:", disabled=len(shots) < 2):
            st.session_state["seed"] = seed + 1
            st.session_state["compare-again"] = True
            st.rerun()
    if not shots:
        st.caption("Tick at least one example to compare.")
    if compare or st.session_state.pop("compare-again", False):
        if "compare" in state.jobs and state.jobs["compare"].error:
            state.jobs.pop("compare")
        state.run("compare", asked, work, engine.turns)
    job = state.jobs.get("compare")
    if job is None:
        return
    if job.key[0] != state.clip.key:
        return
    if job.key != asked:
        st.caption("These answers are for what was asked before your last change; press Compare to ask again.")
    _answers(job)


def _answers(job) -> None:
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


def _answer(answer) -> None:
    st.markdown(f"##### {answer.title}")
    st.markdown(common.markdown_safe(answer.text) or "*The model had nothing to say.*")
    if answer.shots:
        st.caption("Shown: " + ", ".join(common.markdown_safe(shot.example.label) for shot in answer.shots))
    else:
        st.caption("Shown: nothing but the sound")
    if answer.probabilities:
        label = max(answer.probabilities, key=answer.probabilities.get)
        st.markdown(f":material/label: **{common.markdown_safe(label)}** {100 * answer.probabilities[label]:.0f} %")


frame.show(main)
