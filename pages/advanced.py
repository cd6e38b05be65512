"""In the sidebar's Advanced box: which example banks are used, by which CLAP similar sounds are found, how the
foundation model's samples are padded, and as what figures are saved."""

from pathlib import Path

import streamlit as st

from afcore.app.banks import SHIPPED
from afcore.app.markdown import markdown_safe
from afcore.app.session import BrowserSession
from afcore.errors import AfcoreError
from afcore.prompts import BENCHMARK, DEMO
from afcore.published.folders import LAION, MINI, claps
from afcore.retrieval import own_banks
from pages import common

_TITLES = {SHIPPED: "The one that comes with the app"}


_FINDERS = {"": "The model's own CLAP", MINI: "Mini CLAP", LAION: "LAION-CLAP"}
_PADDINGS = {DEMO: "As the demo: 1 audio", BENCHMARK: "As the benchmarks: 8 audios"}


def draw(session: BrowserSession) -> None:
    """Draw it, where there is anything to set; call once per run."""
    _padding()
    _retrieval()
    _banks(session)
    st.segmented_control(
        "Save figures as",
        common.FIGURE_FORMATS,
        default=common.FIGURE_FORMATS[0],
        required=True,
        key=common.FIGURE_FORMAT,
        help="The camera over a figure saves it: PNG for slides, SVG to draw on. For you alone.",
    )


def _padding() -> None:
    engine = common.loaded()
    if engine is None or engine.kind != "foundation" or not engine.paddings:
        return
    key = f"padding-{engine.padding}"  # so that the box follows when another visitor has chosen
    st.selectbox(
        "A sound without examples",
        engine.paddings,
        engine.paddings.index(engine.padding),
        key=key,
        format_func=_PADDINGS.__getitem__,
        on_change=lambda: common.do(common.model_host().use_padding, st.session_state[key], common.session().id),
        help="Both are published, and answers differ a little. With examples a sample always has 8 audios, as in its "
        "training. For everybody who uses this model.",
    )


def _retrieval() -> None:
    host = common.model_host()
    here = list(dict.fromkeys(["", *claps(), host.retrieval]))
    key = f"retrieval-{host.retrieval}"
    st.selectbox(
        "Similar sounds are found by",
        here,
        here.index(host.retrieval),
        key=key,
        format_func=lambda name: _FINDERS.get(name, Path(name).name),
        on_change=lambda: common.do(host.use_retrieval, st.session_state[key]),
        help="Examples, and sounds by text. A bank keeps the vectors of each CLAP; they are made once. Labels are "
        "judged as before. LAION-CLAP comes with `python -m afcore get laion-clap`; a CLAP of transformers goes in a "
        "folder of data/published/claps. For everybody on this server: the model is loaded again.",
    )


def _banks(session: BrowserSession) -> None:
    own = own_banks.names()
    if not own:
        return
    chosen = st.multiselect(
        "Example banks",
        [SHIPPED, *own],
        [name for name in session.banks if name == SHIPPED or name in own],
        key=session.key(f"banks-{len(own)}"),
        format_func=lambda name: _TITLES.get(name, name),
        help="Where the examples on Retrieve and in the chat come from.",
    )
    try:
        common.own_banks().channels(chosen)
    except AfcoreError as error:
        st.warning(f"{markdown_safe(str(error))} The choice before it stays.", icon=":material/hub:")
        return
    session.banks = tuple(chosen) or (SHIPPED,)
    if not chosen:
        st.caption("None chosen: the one that comes with the app is used.")
