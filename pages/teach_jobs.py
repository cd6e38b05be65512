"""Teach: slow work in progress, drawn in a part of the page that follows it by itself."""

import streamlit as st

from afcore.jobs import Job
from pages import common


def under_way(job: Job | None, doing: str, key: str) -> bool:
    """Draws progress and Stop while ``job`` runs, and why it failed when it has; returns whether it runs."""
    if job is None:
        return False
    if not job.done:
        _bar(job, doing, key)
        return True
    if job.error is not None:
        st.error(job.error, icon=":material/error:")
    elif job.stopped:
        st.caption(":material/stop_circle: Stopped")
    return False


@st.fragment(run_every=1.0)
def _bar(job: Job, doing: str, key: str) -> None:
    if job.done:
        st.rerun()  # once more as a whole: this part ends, and the page draws the result
    with common.sentences(), st.container(horizontal=True, vertical_alignment="center"):
        st.progress(min(job.fraction or 0.0, 1.0), text=f"{job.stage or doing} …")
        st.button("Stop", icon=":material/stop_circle:", on_click=job.stop, key=key)
