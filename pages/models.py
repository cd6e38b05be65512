"""In the sidebar: which model answers, choosing another, and fetching the files of one that is not here."""

from pathlib import Path

import streamlit as st

from afcore.app.model_host import ModelHost
from afcore.engine import loading as engines
from pages import common

TITLES = {
    "mini": "Mini",
    "audio-flamingo-chat": "Audio Flamingo chat",
    "audio-flamingo-foundation": "Audio Flamingo foundation",
}
_AGREED = "agreed"
GUIDE = Path(__file__).parent.parent / "docs" / "published-model.md"


def draw() -> None:
    """Draw it; call once per run."""
    host = common.model_host()
    names = list(engines.MODELS)
    # The key names the model in use, so that the box follows when another visitor has chosen.
    key = f"model-{host.name}"
    name = st.selectbox(
        "Model",
        names,
        names.index(host.name) if host.name in names else None,
        key=key,
        format_func=lambda name: TITLES.get(name, name),
        on_change=_choose,
        args=(host, key),
        help="One model at a time answers everybody on this server. Your sound, chat and examples stay when you "
        "change it.",
    )
    if name is not None and name != host.name:
        _missing(host, name)


def _choose(host: ModelHost, key: str) -> None:
    name = st.session_state[key]
    if name is not None and ModelHost.is_here(name):
        common.attempt(host.choose, name)


def _missing(host: ModelHost, name: str) -> None:
    with st.container(border=True, key="get"):
        job = host.getting.get(name)
        if job is not None and not job.done:
            _progress(name)
            st.button("Cancel", icon=":material/close:", on_click=job.stop, key="get-cancel")
            return
        if ModelHost.is_here(name):
            if job is not None and job.error is not None:  # all but LAION-CLAP has come
                st.warning(job.error, icon=":material/hub:")
                st.button("Get the rest", on_click=common.do, args=(host.get, name), key="get-rest", width="stretch")
            st.button("Use it now", type="primary", on_click=host.choose, args=(name,), key="get-use", width="stretch")
            return
        if job is not None and job.error is not None:
            st.error(job.error, icon=":material/error:")
        elif job is not None:
            st.caption("Stopped. What has been downloaded is kept, and Get goes on from there.")
        _offer(host, name)


def _offer(host: ModelHost, name: str) -> None:
    from afcore.published.items import CONVERTED, files_of  # here, since mini does without

    wanted = files_of(name)
    total = sum(item.size for item in wanted) / 1e9
    st.markdown(
        f"**Not on this machine yet.** About {total:.0f} GB to download, and {CONVERTED / 1e9:.0f} GB more once "
        "converted. Only a GPU answers at the speed of a conversation."
    )
    with st.expander("What and under which licence"):
        for item in wanted:
            st.caption(f"**{item.shown_size}** {item.what}: {item.licence}")
        st.caption(f"All from the Hugging Face hub. For files that you have: `python -m afcore get {name} --from PATH`")
    if st.button("Which GPU, which licence: the guide", icon=":material/menu_book:", type="tertiary", key="get-guide"):
        _guide()
    agreed = st.checkbox(
        "I agree to the licences of NVIDIA and Meta: non-commercial use only",
        st.session_state.get(_AGREED, False),
        key="get-agree",
    )
    st.button(
        "Get",
        icon=":material/download:",
        type="primary",
        disabled=not agreed,
        on_click=_get,
        args=(host, name),
        key="get-start",
        width="stretch",
    )


@st.dialog("The published 2.2 B model", width="large")
def _guide() -> None:
    _, _, text = GUIDE.read_text(encoding="utf-8").partition("\n")  # without its title
    st.markdown(text)


def _get(host: ModelHost, name: str) -> None:
    st.session_state[_AGREED] = True  # the box is gone while the download runs
    host.get(name)


@st.fragment(run_every=1.0)
def _progress(name: str) -> None:
    job = common.model_host().getting[name]
    if job.done:
        st.rerun()
    st.progress(job.fraction or 0.0, text=job.stage or "Asking the hub")
