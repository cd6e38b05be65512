"""Model card: the card that ships with mini, and its failure cases to play and to ask again."""

import re
from typing import Any

import streamlit as st

from afcore import paths
from afcore.app import card_summary, plots
from afcore.app.failure_answers import FailureAnswers, weights_of
from afcore.app.markdown import markdown_safe
from afcore.audio.wav import player_wav
from afcore.evaluation import failures
from afcore.evaluation.failures import Case, Verdict
from afcore.retrieval.bank import Bank
from pages import common, model_facts

JOB = "failures"
GOOD = """
- **Naming one clear sound** out of a list of names, the shorter and the more different the better.
- **Learning your sounds**: a few examples of each teach it names that it never met; that is what Teach does.
- **Saying nothing where there is nothing**: silence and noise are called so.
- **Running anywhere**: on a laptop, without a graphics card and without a network.
"""


def main() -> None:
    """Draw the page."""
    common.heading("Model card", "What mini is, what it was trained on, what it scores, and where it fails.")
    card, played, facts = st.tabs(["The card", "Hear it fail", "The model that is loaded"])
    with card:
        _card()
    with played:
        _failures()
    with facts:
        ready = common.loaded()
        if ready is None:
            st.caption("No model is loaded yet.")
        else:
            model_facts.draw(common.session(), ready)


def _card() -> None:
    file = paths.MINI / "README.md"
    if not file.is_file():
        st.caption("This model has no card.")
        return
    whole = file.read_text(encoding="utf-8")
    _in_a_minute(whole)
    text = re.sub(r"\A# .*\n", "", whole)  # the page has a title
    with st.expander("The whole card, with its research tables", icon=":material/table_chart:"):
        # Links to files of the repository lead nowhere from here.
        st.markdown(re.sub(r"\[([^]]+)\]\((?:\.\./)+([^):]+)\)", r"\1 (`\2`)", text))


def _in_a_minute(card: str) -> None:
    rows = card_summary.rows_of(card)
    good, bad = st.columns(2, gap="large")
    with good:
        st.header("Good at", anchor=False)
        st.markdown(GOOD)
    with bad:
        st.header("Not good at", anchor=False)
        st.markdown("\n".join(f"- **{kind.capitalize()}.** {failures.WHY[kind]}" for kind in failures.KINDS))
    charts = card_summary.charts_of(rows)
    for row in range(0, len(charts), 2):
        for column, (number, chart) in zip(
            st.columns(2, gap="large"), enumerate(charts[row : row + 2], row), strict=False
        ):
            with column:
                st.header(chart.title, anchor=False)
                common.figure(plots.shares(chart.shares), f"card-{number}", chart.title)
                st.caption(chart.says)
    reached, asked = card_summary.met(rows)
    if asked:
        st.caption(
            f"Of {asked} goals set beforehand, {reached} were reached. All was measured on sounds from sources that "
            "were not used in training."
        )


@st.cache_resource(show_spinner=False)
def _answers() -> FailureAnswers:
    return FailureAnswers(Bank(paths.SHIPPED_BANK))


@st.cache_data(show_spinner=False, max_entries=64)
def _wav(_case: Case, key: str) -> bytes:
    return player_wav(_answers().clip(_case))


def _failures() -> None:
    cases, answers = failures.read(), _answers()
    engine = common.loaded()
    name = engine.name if engine is not None else common.model_name()
    st.markdown(
        f"{len(cases)} sounds of the example bank on which mini was wrong when they were listed. Play one, answer the "
        f"question yourself, then ask **{markdown_safe(name)}**: it answers now, with the weights that are here."
    )
    if st.button(f"Ask {name} about all of them", icon=":material/hearing:", key="ask-failures"):
        engine = common.engine()
        _ask(answers, failures.asked(cases))
    weights = weights_of(engine) if engine is not None else ""
    summary = st.container()
    places: dict[Case, Any] = {}
    for kind in failures.KINDS:
        listed = [case for case in cases if case.kind == kind]
        if listed:
            st.header(kind.capitalize(), anchor=False)
            st.markdown(failures.WHY[kind])
            for case in listed:
                places |= _draw(answers, case, cases.index(case))
    with summary:
        _follow(answers, places, weights)


def _draw(answers: FailureAnswers, case: Case, number: int) -> dict[Case, Any]:
    """A case with its player, its guess and its own Ask, and what stands beside it; returns the places for what the
    model says."""
    with st.container(border=True, key=f"failure-{number}"):
        sound, asked = st.columns([2, 3], gap="medium")
        guessed = st.session_state.get(f"guessed-{number}")
        with sound:
            st.audio(_wav(case, repr(case)), format="audio/wav")
        with asked:
            st.markdown(markdown_safe(case.in_words()))
            with st.container(horizontal=True):
                if guessed is None:
                    st.button(
                        "I have my answer: show the right one",
                        key=f"guess-{number}",
                        icon=":material/visibility:",
                        on_click=_guessed,
                        args=(number,),
                    )
                st.button(
                    "Ask the model",
                    key=f"ask-{number}",
                    icon=":material/hearing:",
                    type="tertiary",
                    on_click=_ask,
                    args=(answers, failures.asked([case])),
                )
            if guessed:
                _reveal(answers, case)
            places = {case: st.empty()}
        if case.beside is not None:
            sound, asked = st.columns([2, 3], gap="medium")
            with sound:
                st.audio(_wav(case.beside, repr(case.beside)), format="audio/wav")
            with asked:
                st.markdown("The same question, of a sound that it met often.")
                if guessed:
                    _reveal(answers, case.beside)
                places[case.beside] = st.empty()
        return places


def _reveal(answers: FailureAnswers, case: Case) -> None:
    st.markdown(f"Right would be: **{markdown_safe(case.right)}**")
    st.caption(markdown_safe(f"To be heard: {answers.truth(case)}. {'; '.join(answers.credits(case))}"))
    if case.said:
        st.caption(f"When the list was last written, mini said: “{markdown_safe(case.said)}”")


def _guessed(number: int) -> None:
    st.session_state[f"guessed-{number}"] = True


def _ask(answers: FailureAnswers, cases: list[Case]) -> None:
    """Ask about ``cases`` in the background, if the model is ready."""
    asked = common.loaded()
    if asked is None:
        return
    common.session().jobs.pop(JOB, None)
    common.session().run(JOB, weights_of(asked), lambda job: answers.ask(job, asked, cases), None)


def _follow(answers: FailureAnswers, places: dict[Case, Any], weights: str) -> None:
    """Fill the places with what is known, as it comes."""
    job = common.session().jobs.get(JOB)
    progress = st.empty()
    beside = {case.beside for case in places}
    drawn: dict[Case, Verdict | None] = {}
    while True:
        under_way = job is not None and not job.wait(0.2)
        for case, place in places.items():
            verdict = answers.verdict(weights, case)
            if verdict is not drawn.get(case, ...):
                _say(place, verdict, "Right" if case in beside else "Mended: it gets it right now")
                drawn[case] = verdict
        if job is None or not under_way:
            break
        progress.progress(job.fraction or 0.0, text=job.stage)
    progress.empty()
    if job is not None and job.error is not None:
        st.error(job.error, icon=":material/error:")
    known = [verdict for case, verdict in drawn.items() if verdict is not None and case not in beside]
    if known:
        wrong = sum(not verdict.right for verdict in known)
        st.markdown(f"Of {len(known)} it gets **{wrong} wrong** now; {len(known) - wrong} are mended.")


def _say(place: Any, verdict: Verdict | None, praise: str) -> None:
    if verdict is None:
        place.caption("Not asked yet.")
        return
    said = markdown_safe(verdict.said) or "(nothing)"
    if verdict.right:
        place.success(f"{praise}: “{said}”", icon=":material/check:")
    else:
        place.warning(f"Says: “{said}”", icon=":material/close:")


main()
