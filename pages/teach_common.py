"""Teach: the browser session, the projects of this server, and slow work in progress."""

import streamlit as st

from afcore.app.teach_session import COOKIE, TEACH, TeachSession, cookie_of, teach_session_in
from afcore.jobs import Job
from afcore.teach.store import Store
from pages import common


@st.cache_resource(show_spinner=False)
def store() -> Store:
    """The projects of this server."""
    return Store()


def teach_session() -> TeachSession:
    """The browser session on this page; a new one knows the name that this browser gave before."""
    return teach_session_in(st.session_state, store(), cookie_in_browser(), st.query_params.get("project", ""))


def cookie_in_browser() -> str:
    """The reviewer's cookie, or ''."""
    return st.context.cookies.get(COOKIE, "")


def remember(who: str) -> None:
    """Have the browser keep the reviewer's name for a year."""
    st.html(
        f'<script>document.cookie = "{COOKIE}={cookie_of(who)}; max-age=31536000; path=/; samesite=lax"</script>',
        unsafe_allow_javascript=True,
    )


def forget_name() -> None:
    """Have the browser forget the reviewer's name, and this session too."""
    st.html(
        f'<script>document.cookie = "{COOKIE}=; max-age=0; path=/; samesite=lax"</script>',
        unsafe_allow_javascript=True,
    )
    if TEACH in st.session_state:
        st.session_state[TEACH].rename_reviewer("")


def under_way(job: Job | None, doing: str, key: str) -> bool:
    """Draws progress and Stop while ``job`` runs, and why it failed when it has; returns whether it runs."""
    if job is None:
        return False
    if not job.done:
        _progress(job, doing, key)
        return True
    if job.error is not None:
        st.error(job.error, icon=":material/error:")
    elif job.stopped:
        st.caption(":material/stop_circle: Stopped")
    return False


@st.fragment(run_every=1.0)
def _progress(job: Job, doing: str, key: str) -> None:
    if job.done:
        common.redraw()  # once more as a whole: this part ends, and the page draws the result
    with common.error_boundary(), st.container(horizontal=True, vertical_alignment="center"):
        st.progress(min(job.fraction or 0.0, 1.0), text=f"{job.stage or doing} …")
        st.button("Stop", icon=":material/stop_circle:", on_click=job.stop, key=key)
