"""In the sidebar: which model answers, choosing another, and fetching the files of one that is not here."""

from pathlib import Path

import streamlit as st

from afcore.app.markdown import markdown_safe
from afcore.app.model_host import InUse, ModelHost, offered
from afcore.engine import loading as engines
from afcore.engine import own_models
from afcore.errors import BadRequest
from afcore.jobs import Job
from afcore.published import peer_files
from pages import common

TITLES = {
    "mini": "Mini",
    "audio-flamingo-chat": "Audio Flamingo chat",
    "audio-flamingo-foundation": "Audio Flamingo foundation",
    **{name: name.partition("/")[2] for name in peer_files.OFFERED},
}
_AGREED = "agreed"
_FACTS = "hub-facts"
"""The job that asks the hub for sizes and licences."""
_WANTED = "model-that-replaces"
"""A model for which there is no room beside one that somebody else uses, and why; until the person has decided."""
GUIDE = Path(__file__).parent.parent / "docs" / "published-model.md"


def busy() -> bool:
    """Whether there is something to see: files on their way, or a choice that is not here yet."""
    host, mine = common.model_host(), common.model_name()
    chosen = st.session_state.get(f"model-{mine}", mine)
    return chosen != mine or _WANTED in st.session_state or any(not job.done for job in host.getting.values())


def choose(name: str, replace: bool = False) -> None:
    """As the callback of a widget: have this session use the model ``name``; where somebody else would lose theirs, ask
    first."""
    st.session_state.pop(_WANTED, None)

    def change() -> None:
        try:
            common.model_host().choose(name, common.session().id, replace)
        except InUse as asks:
            st.session_state[_WANTED] = name, str(asks)

    common.attempt(change)


def draw() -> None:
    """Draw it; call once per run."""
    host, mine = common.model_host(), common.model_name()
    names = [*engines.MODELS, *own_models.names(), *peer_files.OFFERED]
    # The key names the model in use, so that the box follows when it was changed elsewhere.
    key = f"model-{mine}"
    typed = st.session_state.get(key, mine)
    more = [
        *host.held,
        mine,
        *([typed] if typed and _refusal(typed) is None else []),
    ]  # a folder elsewhere, or one that was typed
    names += [name for name in dict.fromkeys(more) if name not in names]
    name = st.selectbox(
        "Model",
        names,
        names.index(mine),
        key=key,
        format_func=lambda name: TITLES.get(name, name),
        on_change=_chosen,
        args=(key,),
        accept_new_options=True,
        help="It changes for you alone where there is room for it beside the models that others use. Your sound, chat "
        "and examples stay. Another audio model of transformers can be typed: hf:OWNER/NAME.",
    )
    _ask_first()
    if name is not None and name != mine:
        refusal = _refusal(name)
        if refusal is None:
            _missing(host, name)
        else:
            st.warning(refusal, icon=":material/help:")


def _chosen(key: str) -> None:
    name = st.session_state[key]
    st.session_state.pop(_WANTED, None)
    if name is not None and _refusal(name) is None and ModelHost.is_here(name):
        choose(name)


def _refusal(name: str | None) -> str | None:
    """Why a visitor may not choose it: a typed name may be no folder of the server, but for what it began with."""
    try:
        if name is not None and name not in common.model_host().held:
            offered(name)
    except BadRequest as error:
        return str(error)
    return None


def _ask_first() -> None:
    wanted = st.session_state.get(_WANTED)
    if wanted is None:
        return
    name, why = wanted
    with st.container(border=True, key="replace"):
        st.warning(f"{why} Replace it for everybody who uses it?", icon=":material/group:")
        st.button("Replace it", on_click=choose, args=(name, True), key="replace-yes", width="stretch")
        st.button("Leave it", on_click=_leave, key="replace-no", width="stretch")


def _leave() -> None:
    st.session_state.pop(_WANTED, None)
    st.session_state.pop(f"model-{common.model_name()}", None)  # the box shows the model in use again


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
            if _WANTED not in st.session_state:
                st.button("Use it now", type="primary", on_click=choose, args=(name,), key="get-use", width="stretch")
            return
        if job is not None and job.error is not None:
            st.error(job.error, icon=":material/error:")
        elif job is not None:
            st.caption("Stopped. What has been downloaded is kept, and Get goes on from there.")
        if name.startswith(engines.PEER):
            _offer_peer(host, name)
        else:
            _offer(host, name)


def _offer(host: ModelHost, name: str) -> None:
    from afcore.published.items import CONVERTED, files_of  # here, since mini does without

    job = common.session().jobs.get(_FACTS)
    asked = None if job is None or job.key != name or job.stopped else common.finish(job, "Asking the hub")
    wanted = asked or files_of(name)
    total = sum(item.size for item in wanted) / 1e9
    st.markdown(
        f"**Not on this machine yet.** {'' if asked else 'About '}{total:.0f} GB to download, and "
        f"{CONVERTED / 1e9:.0f} GB more once converted. Only a GPU answers at the speed of a conversation."
    )
    with st.expander("What and under which licence", expanded=asked is not None):
        for item in wanted:
            st.caption(f"**{item.shown_size}** {item.what}: {markdown_safe(item.licence)}")
        if asked is None:
            _ask_hub(name, "Ask the hub for sizes and licences")
        st.caption(f"All from the Hugging Face hub. For files that you have: `python -m afcore get {name} --from PATH`")
    if st.button("Which GPU, which licence: the guide", icon=":material/menu_book:", type="tertiary", key="get-guide"):
        _guide()
    _agree(host, name, "I agree to the licences of NVIDIA and Meta: non-commercial use only")


def _ask_hub(name: str, label: str) -> None:
    st.button(label, icon=":material/cloud:", on_click=_look, args=(name,), key="get-look", width="stretch")


def _offer_peer(host: ModelHost, name: str) -> None:
    repository = peer_files.repository_of(name)
    tested = "Its kind is tested here, with tiny random weights." if name in peer_files.OFFERED else "Not tested here."
    st.markdown(f"**Not on this machine yet.** {tested} Only a GPU answers at the speed of a conversation.")
    job = common.session().jobs.get(_FACTS)
    if job is None or job.key != name or job.stopped:
        _ask_hub(name, "Ask the hub for size and licence")
        return
    found = common.finish(job, "Asking the hub")
    if found is None:
        _ask_hub(name, "Ask again")
        return
    item, _ = found
    st.markdown(f"**{item.shown_size}** to download. Licence: **{markdown_safe(item.licence)}**")
    st.caption(f"From [huggingface.co/{repository}](https://huggingface.co/{repository}); no code of it is run.")
    _agree(host, name, "I have read its licence and agree to it")


def _look(name: str) -> None:
    def work(job: Job) -> object:
        if name.startswith(engines.PEER):
            return peer_files.files_of(name, job.stopping)
        from afcore.published.items import as_the_hub_says, files_of

        return as_the_hub_says(files_of(name), job.stopping)

    common.session().jobs.pop(_FACTS, None)
    common.session().run(_FACTS, name, work, None)


def _agree(host: ModelHost, name: str, to: str) -> None:
    key = f"{_AGREED}-{name}" if name.startswith(engines.PEER) else _AGREED
    agreed = st.checkbox(to, st.session_state.get(key, False), key=f"get-agree-{name}")
    st.button(
        "Get",
        icon=":material/download:",
        type="primary",
        disabled=not agreed,
        on_click=_get,
        args=(host, name, key),
        key="get-start",
        width="stretch",
    )


@st.dialog("The published 2.2 B model", width="large")
def _guide() -> None:
    _, _, text = GUIDE.read_text(encoding="utf-8").partition("\n")  # without its title
    st.markdown(text)


def _get(host: ModelHost, name: str, key: str) -> None:
    st.session_state[key] = True  # the box is gone while the download runs
    host.get(name)


@st.fragment(run_every=1.0)
def _progress(name: str) -> None:
    job = common.model_host().getting[name]
    if job.done:
        st.rerun()
    st.progress(job.fraction or 0.0, text=job.stage or "Asking the hub")
