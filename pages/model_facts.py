"""On Model card: facts of the loaded model, and what moved its last answer."""

import streamlit as st

from afcore import prompts
from afcore.app import model_facts, plots
from afcore.app.session import BrowserSession
from afcore.engine.engine import Engine
from pages import common

JOB, COST = "moved", "cost"


def draw(session: BrowserSession, engine: Engine) -> None:
    """Draw it."""
    left, right = st.columns(2, gap="large")
    with left:
        st.header("What it is", anchor=False)
        st.table([{"": name, " ": text} for name, text in model_facts.limits(engine).items()])
    with right:
        parts = model_facts.parameters(engine)
        if parts:
            st.header("Parameters by part", anchor=False)
            common.figure(plots.amounts(parts, "M", 1e6), "facts-parts", "Millions of parameters of each part")
            st.caption(f"{sum(parts.values()):,} in all.")
        gates = model_facts.gates(engine)
        if gates:
            st.header("How far each layer's gate is open", anchor=False)
            common.figure(plots.gates(gates), "facts-gates", "Gates of attention and feed-forward, by layer")
            st.caption("tanh of the gate: at 0 a layer does not look at the sound at all.")
    _moved(session, engine)
    if gates:
        _cost(session, engine)


def _moved(session: BrowserSession, engine: Engine) -> None:
    st.header("What moved the last answer", anchor=False)
    answered = [turn for turn in session.turns if turn.answer and not turn.open]
    caption = session.jobs.get("caption")
    if session.clip is None or not (answered or (caption is not None and caption.done and caption.text)):
        st.caption(
            "Ask something on Chat, or have a sound described on Listen: then this shows which windows mattered."
        )
        return
    heard = common.finish(session.hear(engine), "Listening")
    if heard is None:
        return
    if answered:
        turn = answered[-1]
        history = [(one.question, one.answer) for one in answered[:-1]]
        prompt = engine.build_prompt(heard, turn.question, turn.shots, history, chat=True)
        question, answer = turn.question, turn.answer
    else:
        assert caption is not None
        prompt, question, answer = engine.build_prompt(heard, prompts.CAPTION), prompts.CAPTION, caption.text.strip()
    st.markdown(f"“{common.markdown_safe(question)}” “{common.markdown_safe(answer)}”")
    key = (engine.name, heard.key, prompt.text, answer)
    if st.button("Show what moved it", icon=":material/tune:", key=session.key("moved")):
        session.run(JOB, key, lambda job: model_facts.moved(job, engine, heard, prompt, answer), engine.turns)
    job = session.jobs.get(JOB)
    if job is not None and job.key == key:
        found = common.finish(job, "Leaving one thing out at a time")
        if found:
            common.figure(plots.moved(found), "facts-moved", "What each window and example moved in the answer")
            st.caption(
                "How much less likely each token of the answer is (in nats) when a window, or an example's sound, is "
                "silence instead. Below zero: it spoke against the answer."
            )


def _cost(session: BrowserSession, engine: Engine) -> None:
    st.header("What a longer sound costs", anchor=False)
    st.markdown(
        "The paper has the sound beside the text, behind cross-attention, and not in front of it, as other models "
        "have: with L tokens of text and N of audio the work of attention then grows with L · N, and not with the "
        "square of L + N. Here both ways are measured on one decoder of this model's shape."
    )
    job = session.jobs.get(COST)
    if job is None or job.key != engine.name:
        st.button(
            "Measure it on this machine (half a minute)",
            icon=":material/timer:",
            key="cost",
            on_click=common.do,
            args=(session.run, COST, engine.name, lambda job: model_facts.cost(job, engine), None),
        )
        return
    stop = st.empty()
    if not job.done:
        stop.button("Stop", icon=":material/stop:", key="cost-stop", on_click=job.stop)
    found = common.finish(job, "Measuring")
    stop.empty()
    if found:
        common.figure(plots.costs(found), "facts-cost", "Milliseconds to read a sound and a prompt, by windows")
        both = {cost.way: cost for cost in found[-2:]}
        kept = ", ".join(f"{cost.kept_mb:.0f} MB with {way}" for way, cost in both.items())
        st.caption(
            f"With {found[-1].windows} windows ({found[-1].tokens} audio tokens) and 32 tokens of text, keys and "
            f"values take {kept}. `python -m afcore bench --cost` measures the same, and more."
        )
