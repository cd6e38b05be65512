"""Model card: the card that ships with mini, and its failure cases to play and to ask again."""

import re
from typing import Any

import streamlit as st

from afcore import paths
from afcore.app.failure_answers import FailureAnswers, weights_of
from afcore.app.markdown import markdown_safe
from afcore.audio.wav import wav_bytes
from afcore.evaluation import failures
from afcore.evaluation.failures import Case, Verdict
from afcore.retrieval.bank import Bank
from pages import common

JOB = "failures"


def main() -> None:
    """Draw the page."""
    common.heading("Model card", "What mini is, what it was trained on, what it scores, and where it fails.")
    card, played = st.tabs(["The card", "Hear it fail"])
    with card:
        _card()
    with played:
        _failures()


def _card() -> None:
    file = paths.MINI / "README.md"
    if not file.is_file():
        st.caption("This model has no card.")
        return
    text = re.sub(r"\A# .*\n", "", file.read_text(encoding="utf-8"))  # the page has a title
    # Links to files of the repository lead nowhere from here.
    st.markdown(re.sub(r"\[([^]]+)\]\((?:\.\./)+([^):]+)\)", r"\1 (`\2`)", text))


@st.cache_resource(show_spinner=False)
def _answers() -> FailureAnswers:
    return FailureAnswers(Bank(paths.SHIPPED_BANK))


@st.cache_data(show_spinner=False, max_entries=64)
def _wav(_case: Case, key: str) -> bytes:
    clip = _answers().clip(_case)
    return wav_bytes(clip.samples, clip.rate)


def _failures() -> None:
    cases, answers = failures.read(), _answers()
    engine = common.loaded()
    name = engine.name if engine is not None else common.model_host().name
    st.markdown(
        f"{len(cases)} sounds of the example bank on which mini was wrong when they were listed. Play one, answer the "
        f"question yourself, then ask **{markdown_safe(name)}**: it answers now, with the weights that are here."
    )
    if st.button(f"Ask {name} about all of them", icon=":material/hearing:", type="primary", key="ask-failures"):
        asked = engine = common.engine()
        common.session().jobs.pop(JOB, None)
        common.session().run(JOB, weights_of(asked), lambda job: answers.ask(job, asked, cases), None)
    weights = weights_of(engine) if engine is not None else ""
    summary = st.container()
    places: dict[Case, Any] = {}
    for kind in failures.KINDS:
        listed = [case for case in cases if case.kind == kind]
        if listed:
            st.subheader(kind.capitalize(), anchor=False)
            st.markdown(failures.WHY[kind])
            places |= {case: _draw(answers, case) for case in listed}
    with summary:
        _follow(answers, places, weights)


def _draw(answers: FailureAnswers, case: Case) -> Any:
    """A case with its player; returns the place for what the model says."""
    with st.container(border=True):
        sound, asked = st.columns([2, 3], gap="medium")
        with sound:
            st.audio(_wav(case, repr(case)), format="audio/wav")
            st.caption(f"Truly: **{answers.truth(case)}**")
            st.caption(markdown_safe("; ".join(answers.credits(case))))
        with asked:
            choice = f" ({', '.join(case.options)}?)" if case.kind == failures.ALIKE else ""
            st.markdown(markdown_safe(f"{case.question}{choice}"))
            st.markdown(f"Right would be: **{markdown_safe(case.right)}**")
            return st.empty()


def _follow(answers: FailureAnswers, places: dict[Case, Any], weights: str) -> None:
    """Fill the places with what is known, as it comes."""
    job = common.session().jobs.get(JOB)
    progress = st.empty()
    drawn: dict[Case, Verdict | None] = {}
    while True:
        under_way = job is not None and not job.wait(0.2)
        for case, place in places.items():
            verdict = answers.verdict(weights, case)
            if verdict is not drawn.get(case, ...):
                _say(place, verdict)
                drawn[case] = verdict
        if job is None or not under_way:
            break
        progress.progress(job.fraction or 0.0, text=job.stage)
    progress.empty()
    if job is not None and job.error is not None:
        st.error(job.error, icon=":material/error:")
    known = [verdict for verdict in drawn.values() if verdict is not None]
    if known:
        st.markdown(f"Of {len(known)} it gets **{sum(not verdict.right for verdict in known)} wrong** now.")


def _say(place: Any, verdict: Verdict | None) -> None:
    if verdict is None:
        place.caption("Not asked yet.")
        return
    said = markdown_safe(verdict.said) or "(nothing)"
    if verdict.right:
        place.success(f"Gets it right now: “{said}”", icon=":material/check:")
    else:
        place.warning(f"Says: “{said}”", icon=":material/close:")


main()
