"""The sidebar: the sound and the model in use, a session to keep or to open, and where the audio goes."""

import streamlit as st

from afcore.app.privacy import SIDEBAR
from afcore.app.session import BrowserSession
from afcore.app.session_file import pack, unpack
from pages import advanced, common, models


def draw() -> None:
    """Draw it; call once per run, before the page."""
    with st.sidebar:
        st.session_state["_status"] = st.empty()
        ready = common.loaded()
        if ready is not None:
            common.session().follow_model(ready)
        common.status()
        job = common.loading()
        if not job.done:
            _progress()
        elif job.error is not None:
            st.markdown(":material/error: The model is not ready")
        with st.expander("Advanced", icon=":material/tune:", expanded=models.busy()):
            models.draw()
            advanced.draw(common.session())
            _keep(common.session())
        _privacy(common.session())


def _privacy(session: BrowserSession) -> None:
    st.caption(f":material/lock: {SIDEBAR}")
    if session.recording is not None:
        st.button(
            "Forget this sound now",
            icon=":material/delete:",
            type="tertiary",
            on_click=common.do,
            args=(common.forget,),
            key="forget",
            help="Removes the sound, its chat and what is kept of them for a reload.",
        )


@st.fragment(run_every=0.5)
def _progress() -> None:
    job = common.loading()
    if job.done:
        # Once more as a whole: the fragment ends and the pages find their model.
        st.rerun()
    common.loading_progress(job)


def _keep(session: BrowserSession) -> None:
    with st.popover("Save or open a session", icon=":material/save:", width="stretch"):
        st.caption("A session file holds the sound, the examples you chose, the chat and the settings.")
        st.download_button(
            "Save this session",
            data=lambda: pack(session),
            file_name="audio-flamingo-session.zip",
            mime="application/zip",
            icon=":material/download:",
            disabled=session.recording is None,
            on_click="ignore",
            width="stretch",
        )
        file = st.file_uploader("Open a session file", type="zip", key=session.key("session-file"))
        if file is not None and file.file_id not in session.seen:
            session.seen.add(file.file_id)
            common.attempt(unpack, session, file.getvalue(), common.bank())
            st.rerun()
