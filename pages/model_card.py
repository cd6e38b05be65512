"""Model card: the card that ships with mini, and its failure cases to play and to ask again."""

import re

import streamlit as st

from afcore import paths
from afcore.evaluation import failures
from afcore.evaluation.failures import Case, Sounds, Verdict
from afcore.jobs import Job
from afcore.retrieval.bank import Bank
from pages import common, frame
from pages.state import current

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
def _sounds() -> Sounds:
    return Sounds(Bank(paths.SHIPPED_BANK))


@st.cache_resource(show_spinner=False)
def _answers() -> dict[tuple[str, Case], Verdict]:
    """What was said, by the model's name with its weights and the case: other weights are asked anew."""
    return {}


@st.cache_data(show_spinner=False, max_entries=64)
def _wav(_case: Case, key: str) -> bytes:
    clip = _sounds().clip(_case)
    return common.wav(clip.samples, clip.rate)


def _weights(engine) -> str:
    from afcore.teach.predict import model_name

    return model_name(engine)


def _failures() -> None:
    cases = failures.read()
    engine = common.loaded()
    name = engine.name if engine is not None else common.shelf().name
    st.markdown(
        f"{len(cases)} sounds of the example bank on which mini was wrong when they were listed. Play one, answer the "
        f"question yourself, then ask **{common.markdown_safe(name)}**: it answers now, with the weights that are here."
    )
    if st.button(f"Ask {name} about all of them", icon=":material/hearing:", type="primary", key="ask-failures"):
        engine = common.engine()
        current().jobs.pop(JOB, None)
        current().run(JOB, _weights(engine), lambda job: _ask(job, engine, cases), None)
    weights = _weights(engine) if engine is not None else ""
    summary = st.container()
    places = {}
    for kind in failures.KINDS:
        listed = [case for case in cases if case.kind == kind]
        if listed:
            st.subheader(kind.capitalize(), anchor=False)
            st.markdown(failures.WHY[kind])
            places |= {case: _draw(case) for case in listed}
    with summary:
        _follow(places, weights)


def _ask(job: Job, engine, cases: list[Case]) -> None:
    """Asks about what has not been asked yet, one turn in the queue for each."""
    answers, weights = _answers(), _weights(engine)
    for number, case in enumerate(cases):
        job.report(f"Asking about sound {number + 1} of {len(cases)}", number / len(cases))
        if (weights, case) not in answers:
            with engine.turns.wait(stop=job.stopping):
                answers[weights, case] = failures.ask(engine, case, _sounds().clip(case))


def _draw(case: Case):
    """A case with its player; returns the place for what the model says."""
    sounds = _sounds()
    examples = [sounds.examples[part.sha256] for part in case.sounds if part.sha256 in sounds.examples]
    with st.container(border=True):
        sound, asked = st.columns([2, 3], gap="medium")
        with sound:
            st.audio(_wav(case, repr(case)), format="audio/wav")
            st.caption(f"Truly: **{_truth(case, sounds.labels(case))}**")
            credits = dict.fromkeys(f"{example.author}, {example.licence} ({example.package})" for example in examples)
            st.caption(common.markdown_safe("; ".join(credits)))
        with asked:
            choice = f" ({', '.join(case.options)}?)" if case.kind == failures.ALIKE else ""
            st.markdown(common.markdown_safe(f"{case.question}{choice}"))
            st.markdown(f"Right would be: **{common.markdown_safe(case.right)}**")
            return st.empty()


def _truth(case: Case, labels: list[str]) -> str:
    """What is to be heard, in words."""
    if case.kind == failures.COUNT:
        return f"{labels[0]}, {len(labels)} times"
    if case.kind == failures.ORDER:
        return f"{labels[0]}, then {labels[1]}"
    if case.kind == failures.QUIET:
        return f"{labels[0]}, with {labels[1]} {-case.sounds[1].gain:.0f} dB below it"
    return labels[0]


def _follow(places: dict, weights: str) -> None:
    """Fill the places with what is known, as it comes."""
    job = current().jobs.get(JOB)
    progress, drawn = st.empty(), {}
    while True:
        done = job is None or job.wait(0.2)
        for case, place in places.items():
            verdict = _answers().get((weights, case))
            if verdict is not drawn.get(case, ...):
                _say(place, verdict)
                drawn[case] = verdict
        if done:
            break
        progress.progress(job.fraction or 0.0, text=job.stage)
    progress.empty()
    if job is not None and job.error is not None:
        st.error(job.error, icon=":material/error:")
    known = [verdict for verdict in drawn.values() if verdict is not None]
    if known:
        st.markdown(f"Of {len(known)} it gets **{sum(not verdict.right for verdict in known)} wrong** now.")


def _say(place, verdict: Verdict | None) -> None:
    if verdict is None:
        place.caption("Not asked yet.")
        return
    said = common.markdown_safe(verdict.said) or "(nothing)"
    if verdict.right:
        place.success(f"Gets it right now: “{said}”", icon=":material/check:")
    else:
        place.warning(f"Says: “{said}”", icon=":material/close:")


frame.show(main)
