"""On Model card: facts of the loaded model, and what moved its last answer."""

import streamlit as st

from afcore import prompts
from afcore.app import model_facts, plots
from afcore.app.session import BrowserSession
from afcore.engine.engine import Engine
from pages import common

JOB = "moved"


def draw(session: BrowserSession, engine: Engine) -> None:
    """Draw it."""
    left, right = st.columns(2, gap="large")
    with left:
        st.header("What it is", anchor=False)
        st.table([{"": name, " ": text} for name, text in model_facts.limits(engine).items()])
    with right:
        parts = model_facts.parameters(engine)
        st.header("Parameters by part", anchor=False)
        if parts:
            common.figure(plots.amounts(parts, "M", 1e6), "facts-parts", "Millions of parameters of each part")
            st.caption(f"{sum(parts.values()):,} in all.")
        gates = model_facts.gates(engine)
        if gates:
            st.header("How far each layer's gate is open", anchor=False)
            common.figure(plots.gates(gates), "facts-gates", "Gates of attention and feed-forward, by layer")
            st.caption("tanh of the gate: at 0 a layer does not look at the sound at all.")
    _moved(session, engine)


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
