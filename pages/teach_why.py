"""Teach, why: what each example and window changed about one prediction, and the text that was sent."""

import streamlit as st

from afcore.app import teach_plots, teach_work
from afcore.app.markdown import markdown_safe
from afcore.app.teach_session import TeachSession
from afcore.teach.explain import Why
from afcore.teach.loop import Loop
from afcore.teach.schema import Prediction, ProjectClip
from pages import common
from pages.teach_common import under_way


def draw(teach: TeachSession, loop: Loop, item: ProjectClip, prediction: Prediction) -> None:
    """Draw it."""
    about = (item.id, prediction.at)
    job = teach.jobs.get("why")
    if job is not None and job.key != about:
        job.stop()
        job = None
    if prediction.method.startswith("lm-"):
        st.caption(
            "The model is asked again without each example and without each window: by how much does that move the "
            "label's probability?"
        )
        if job is None or (job.done and job.result is None):
            st.button(
                "Work it out",
                icon=":material/science:",
                key=f"teach-why-{item.id}",
                on_click=common.do,
                args=(teach.begin, "why", teach_work.explanation(loop, item, prediction), about),
            )
        under_way(job, "Asking again", f"teach-why-stop-{item.id}")
        if job is not None and job.result is not None:
            _draw(job.result)
    else:
        st.caption("Plain CLAP compares whole sounds, so nothing can be taken away: the nearest example is the reason.")
    for number, text in enumerate(prediction.prompts, 1):
        st.markdown("**The text that was sent**" + (f", pass {number}" if len(prediction.prompts) > 1 else ""))
        st.code(text, language=None, wrap_lines=True)


def _draw(why: Why) -> None:
    st.markdown(markdown_safe(why.sentence()))
    label = markdown_safe(why.label)
    shots, windows = st.columns(2, gap="large")
    if why.shots:
        with shots:
            st.markdown(f"**Examples** (similarity): percentage points for “{label}”")
            common.figure(teach_plots.shot_effects(why), "teach-why-shots", f"What each example adds to {why.label}")
    if why.windows:
        with windows:
            st.markdown(f"**Windows** of the clip: percentage points for “{label}”")
            common.figure(teach_plots.window_effects(why), "teach-why-windows", f"What each window adds to {why.label}")
            if len(why.windows) > 1:
                st.caption("Windows overlap, so most of what one hears is heard by its neighbours too.")
