"""On Compare: two to four settings side by side, on this sound or on all sounds of the visit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from afcore.app import comparison as comparisons
from afcore.app import plots
from afcore.app.comparison import CHANNELS, COLUMNS, DECODINGS, MOST_SOUNDS, Cell, Comparison, Setup
from afcore.app.labels import split_labels
from afcore.app.markdown import markdown_safe
from afcore.app.model_host import ModelHost
from afcore.app.session import BrowserSession
from afcore.audio.recording import Recording
from afcore.engine import own_models
from afcore.engine.engine import Engine
from afcore.engine.loading import MODELS
from afcore.jobs import Job
from afcore.published import peer_files
from afcore.stats import wilson
from pages import common, share

JOB = "columns"
ONE, ALL = "This sound", "All sounds of this visit"
_EXAMPLES = (0, 4, 1, 8)
"""How many each column begins with, so that no two are the same."""
IN_FULL = 4
"""Sounds up to which all answers are drawn in columns; more are a table, and one of them in columns."""


def draw(session: BrowserSession, engine: Engine) -> None:
    """Draw it."""
    st.caption(
        "The same question by different settings: the model, how many examples it sees, the words you ask in. "
        "Differences from column A are marked."
    )
    _form(session, engine)
    _file(session)
    run = session.comparison
    if run is None:
        return
    _follow(session, run)
    if any(cell for _, cells in run.rows() for cell in cells):
        _totals(run)
        _keep(session, run)
    recordings = _recordings(session)
    missing = [1 for sha256, cells in run.rows() if sha256 in recordings for cell in cells if cell is None]
    if missing and _job(session) is None:
        st.button(
            f"Ask what is missing ({len(missing)} answers)",
            icon=":material/resume:",
            on_click=_begin,
            args=(session, engine, run),
            key=session.key("columns-go-on"),
        )


def _keep(session: BrowserSession, run: Comparison) -> None:
    with st.container(horizontal=True):
        st.download_button(
            "Keep this comparison as a file",
            run.to_json(),
            "audio-flamingo-comparison.json",
            "application/json",
            icon=":material/download:",
            on_click="ignore",
        )
        st.button(
            "Make a link",
            icon=":material/link:",
            on_click=common.do,
            args=(_link, session, run),
            key=session.key("columns-link"),
            help="Whoever has it sees these settings and answers with the sounds' names, not the sounds, for a month.",
        )
    if (link := session.comparison_links.get(id(run))) and link in share.mine():
        st.code(share.address(link, "shelf", "comparison"), language=None, wrap_lines=True)
        st.caption("The About page lists what you have shared, and deletes it.")
    share.remember()


def _link(session: BrowserSession, run: Comparison) -> None:
    name = share.comparisons().keep(run)
    share.mine().append(name)
    session.comparison_links = {id(run): name}


def open_linked(session: BrowserSession) -> None:
    """Open the comparison that the address names, once."""
    name = st.query_params.get("comparison", "")
    if not name or f"comparison-{name}" in session.seen:
        return
    session.seen.add(f"comparison-{name}")
    found = share.comparisons().find(name)
    if found is None:
        st.warning("That comparison is not here (any more): links are kept for a month.", icon=":material/link_off:")
    else:
        _show(session, found)


def _recordings(session: BrowserSession) -> dict[str, Recording]:
    return {sha256: one.recording for sha256, one in session.shelf.sounds.items()}


def _job(session: BrowserSession) -> Job | None:
    job = session.jobs.get(JOB)
    return job if job is not None and not job.done and job.key == id(session.comparison) else None


def _form(session: BrowserSession, engine: Engine) -> None:
    known = dict.fromkeys((*MODELS, *own_models.names(), *peer_files.OFFERED, *common.model_host().held))
    here = [name for name in known if ModelHost.is_here(name)]
    count = st.segmented_control(
        "Columns", list(range(COLUMNS[0], COLUMNS[1] + 1)), default=2, key=session.key("columns-n"), required=True
    )
    setups = []
    for number, place in enumerate(st.columns(count, gap="medium")):
        with place, st.container(border=True):
            st.markdown(f"**{'ABCD'[number]}**")
            setups.append(_setup(session, engine, here, number))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        which = st.segmented_control(
            "About",
            [ONE, ALL],
            default=ONE if session.recording else ALL,
            key=session.key("columns-which"),
            required=True,
        )
        labels = st.text_input(
            "Labels to weigh too, with commas",
            key=session.key("columns-labels"),
            placeholder="dog, rain",
            max_chars=500,
        )
        if st.button(
            "Ask all columns", type="primary", icon=":material/compare_arrows:", key=session.key("columns-ask")
        ):
            common.attempt(_start, session, engine, setups, which, labels)
            st.rerun()


def _setup(session: BrowserSession, engine: Engine, here: list[str], number: int) -> Setup:
    def key(name: str) -> str:
        return session.key(f"column-{number}-{name}")

    model = st.selectbox(
        "Model",
        here,
        here.index(engine.name) if engine.name in here else 0,
        key=key("model"),
        accept_new_options=True,
        help="Or type hf:OWNER/NAME, an audio model of transformers; the sidebar fetches its files.",
    )
    most = engine.max_shots if model == engine.name else 8
    shots = st.slider("Examples", 0, most, min(_EXAMPLES[number], most), key=key("shots"))
    prompt = st.text_input("Question", Setup.prompt, key=key("prompt"), max_chars=500)
    with st.expander("Advanced", icon=":material/tune:"):
        decoding = st.selectbox(
            "Decoding",
            list(DECODINGS),
            key=key("decoding"),
            help="How the words of the answer are chosen. What is drawn is drawn alike each time.",
        )
        channel = st.selectbox("Channel", list(CHANNELS), key=key("channel"), help="Of a sound with several.")
        text_only = st.toggle(
            "Examples as text only",
            key=key("text"),
            help="What the nearest sounds are said to be stands in the prompt, their sounds do not.",
        )
    return Setup(model, shots, prompt, decoding, channel, text_only)


def _start(session: BrowserSession, engine: Engine, setups: list[Setup], which: str, labels: str) -> None:
    recordings = _recordings(session)
    if which == ONE and session.recording is not None:
        chosen = {session.recording.sha256: session.recording.name}
    else:
        chosen = {sha256: one.name for sha256, one in list(recordings.items())[-MOST_SOUNDS:]}
    _begin(session, engine, Comparison(tuple(setups), chosen, tuple(split_labels(labels))))


def _begin(session: BrowserSession, engine: Engine, run: Comparison) -> None:
    session.comparison = run
    recordings = _recordings(session)
    session.jobs.pop(JOB, None)
    host, who = common.model_host(), session.id

    def beside(name: str, in_turn: bool) -> Job:
        return host.beside(name, who, in_turn)

    session.run(JOB, id(run), lambda job: run.run(job, recordings, engine, beside), None)


def _file(session: BrowserSession) -> None:
    with st.popover("Open a kept comparison", icon=":material/folder_open:"):
        file = st.file_uploader("A comparison's file", type="json", key=session.key("columns-file"))
        if file is not None and file.file_id not in session.seen:
            session.seen.add(file.file_id)
            common.attempt(_open, session, file.getvalue())
            st.rerun()


def _open(session: BrowserSession, data: bytes) -> None:
    _show(session, Comparison.from_json(data))


def _show(session: BrowserSession, opened: Comparison) -> None:
    if job := session.jobs.pop(JOB, None):
        job.stop()
    session.comparison = opened


def _follow(session: BrowserSession, run: Comparison) -> None:
    """Draw what there is, and what comes while it comes."""
    many = len(run.sounds) > IN_FULL
    progress, table = st.empty(), st.empty()
    shown = _in_full(session, run)
    places, listed = _places(run, shown), -1
    job = session.jobs.get(JOB)
    drawn: dict[tuple[str, int], Any] = {}
    running = _job(session)
    if running is not None:
        st.button("Stop", icon=":material/stop_circle:", on_click=running.stop, key=session.key("columns-stop"))
    while True:
        over = running is None or running.wait(0.3)
        if many and listed != (listed := len(run.cells)):
            table.dataframe(comparisons.to_table(run), hide_index=True)
        for (sha256, column), place in places.items():
            cell = run.cells.get((sha256, column))
            state = cell if cell is not None else run.partial if run.now == (sha256, column) else None
            if state is not None and drawn.get((sha256, column)) != state:
                drawn[sha256, column] = state
                _cell(place, session, run, sha256, state, over)
        if running is None or over:
            break
        progress.progress(running.fraction or 0.0, text=f"{running.stage or 'Waiting'} …")
    progress.empty()
    if job is not None and job.done and job.error is not None:
        st.error(job.error, icon=":material/error:")
    if running is not None:
        st.rerun()  # once more as a whole: thumbs, totals and the file come with the end
    _bars(run, shown)


def _in_full(session: BrowserSession, run: Comparison) -> dict[str, str]:
    """The sounds whose answers stand in columns: of many the one that is chosen."""
    if len(run.sounds) <= IN_FULL:
        return run.sounds
    chosen = st.selectbox(
        "One of them in full: differences, thumbs, probabilities",
        list(run.sounds),
        format_func=run.sounds.__getitem__,
        key=session.key("columns-one"),
    )
    return {chosen: run.sounds[chosen]}


def _places(run: Comparison, shown: Mapping[str, str]) -> dict[tuple[str, int], Any]:
    places = {}
    for sha256, name in shown.items():
        st.markdown(f"**{markdown_safe(name)}**")
        for column, place in enumerate(st.columns(len(run.setups), gap="medium")):
            with place, st.container(border=True):
                st.caption(markdown_safe(comparisons.named(run.setups)[column]))
                places[sha256, column] = st.empty()
    return places


def _cell(place: Any, session: BrowserSession, run: Comparison, sha256: str, state: Cell | str, final: bool) -> None:
    with place.container():
        if isinstance(state, str):
            st.markdown(markdown_safe(state) or "…")
            return
        if state.error:
            st.error(state.error, icon=":material/error:")
            return
        first = run.cells.get((sha256, 0))
        told = comparisons.marked(first.answer if first and state.column else state.answer, state.answer)
        st.markdown(
            " ".join(
                f":orange-background[{markdown_safe(word)}]" if differs else markdown_safe(word)
                for word, differs in told
            )
            or "*Nothing to say.*"
        )
        speed = f"First token after {state.first_token:.2f} s"
        if state.tokens_per_second:
            speed += f", then {state.tokens_per_second:.1f} tokens/s"
        st.caption(f"{speed}. Examples: {markdown_safe(', '.join(state.examples)) or 'none'}.")
        if final:
            _thumb(session, run, state)
            if state.prompt:
                common.exact_prompt(state.prompt)


def _thumb(session: BrowserSession, run: Comparison, cell: Cell) -> None:
    key = session.key(f"columns-thumb-{id(run)}-{cell.sound[:12]}-{cell.column}")
    st.session_state.setdefault(key, {"up": 1, "down": 0}.get(cell.thumb))

    def keep() -> None:
        value = st.session_state[key]
        thumb = run.thumb(cell, None if value is None else bool(value))
        if thumb is not None:
            common.feedback().add(thumb)

    st.feedback("thumbs", key=key, on_change=common.do, args=(keep,))


def _bars(run: Comparison, shown: Mapping[str, str]) -> None:
    for sha256, cells in run.rows():
        if sha256 not in shown:
            continue
        found = {
            name: cell.probabilities
            for name, cell in zip(comparisons.named(run.setups), cells, strict=True)
            if cell is not None and cell.probabilities
        }
        if found:
            alt = f"How probable each label is of {run.sounds[sha256]}"
            st.caption(f"How probable each label is: {markdown_safe(run.sounds[sha256])}")
            common.figure(plots.compare(found), f"columns-bars-{sha256[:12]}", alt)


def _share(count: int, total: int) -> str:
    if not total:
        return ""
    low, high = wilson(count, total)
    return f"{count} of {total} ({low:.0%} to {high:.0%})".replace("%", " %")


def _totals(run: Comparison) -> None:
    rows = []
    for column, name in enumerate(comparisons.named(run.setups)):
        up, down = run.thumbs(column)
        same, both = run.agreeing(column)
        first, speed = run.mean(column, lambda c: c.first_token), run.mean(column, lambda c: c.tokens_per_second)
        rows.append(
            {
                "column": name,
                "answers": sum((s, column) in run.cells for s in run.sounds),
                "same as A (95 % interval)": _share(same, both) if column else "",
                "first token (s)": None if first is None else round(first, 2),
                "tokens/s": None if speed is None else round(speed, 1),
                "thumbs up": up,
                "thumbs down": down,
            }
        )
    st.dataframe(rows, hide_index=True, key="columns-totals")
