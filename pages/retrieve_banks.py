"""Retrieve, example banks of one's own: make one of a zip or folder, see what was left out, and whether it helps."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import streamlit as st

from afcore.app import banks
from afcore.app.banks import SHIPPED
from afcore.app.markdown import markdown_safe
from afcore.app.session import BrowserSession
from afcore.retrieval import own_banks
from afcore.teach.ingest import allowed_folders
from pages import common, zip_names
from pages.teach_common import under_way

NAMED = 12  # left-out sounds that are named


def draw(session: BrowserSession) -> None:
    """Draw it."""
    running = any(name in session.jobs and not session.jobs[name].done for name in ("make-bank", "bank-help"))
    box = st.expander(
        "Example banks of your own", icon=":material/library_add:", key="own-banks", expanded=running, on_change="rerun"
    )
    with box:
        if not (box.open or running):
            return
        _make(session)
        for name in own_banks.names():
            with st.container(border=True, key=f"bank-{name}"):
                _one(session, name)
        _help(session)


def _make(session: BrowserSession) -> None:
    st.caption(
        "A zip with a folder for each label, or with a CSV (file, label, and where you have them caption and source). "
        "Takes of one source never stand as examples for each other."
    )
    source: Path | bytes | None = None
    code_page = zip_names.FIRST
    file = st.file_uploader("A zip of sounds", type="zip", key=session.key("bank-zip"))
    if file is not None:
        source = file.getvalue()
        code_page = zip_names.code_page(file, session.key("bank-code-page"))
    if allowed_folders():
        folder = st.text_input(
            "Or a folder on this server", key=session.key("bank-folder"), placeholder=str(allowed_folders()[0])
        )
        if folder.strip() and source is None:
            source = _allowed(folder.strip())
    name = st.text_input("Its name", key=session.key("bank-name"), max_chars=64, placeholder="My sounds")
    engine = common.loaded()
    ready = source is not None and bool(name.strip()) and engine is not None
    if st.button("Make the bank", icon=":material/add:", disabled=not ready, key="make-bank") and ready:
        assert source is not None and engine is not None, "ready says so"
        session.jobs.pop("make-bank", None)
        common.attempt(
            lambda: session.run("make-bank", name, banks.making(source, name, engine, code_page), None).wait(0.5)
        )
        common.problem()
    job = session.jobs.get("make-bank")
    if under_way(job, "Reading the sounds", "stop-make-bank") or job is None or job.result is None:
        return
    made: banks.Made = job.result
    st.success(f"**{markdown_safe(made.name)}**: {markdown_safe(made.summary)}", icon=":material/check:")
    if made.name not in session.banks:
        st.button(
            "Take examples from it",
            icon=":material/done:",
            on_click=common.do,
            args=(_take, session, made.name),
            key="take-bank",
        )
    _left_out(made.left_out)


def _allowed(folder: str) -> Path | None:
    path = Path(folder).expanduser().resolve()
    if any(path.is_relative_to(place) for place in allowed_folders()):
        return path
    st.warning("This folder is not among those that the server allows.", icon=":material/info:")
    return None


def _take(session: BrowserSession, name: str) -> None:
    common.own_banks().channels((*session.banks, name))
    session.banks = (*session.banks, name)
    session.epoch += 1  # the sidebar's box shows it


def _left_out(left_out: Mapping[str, str]) -> None:
    if left_out:
        lines = "\n".join(f"- {markdown_safe(why)}" for why in list(left_out.values())[:NAMED])
        rest = f"\n- and {len(left_out) - NAMED} more" if len(left_out) > NAMED else ""
        st.warning(f"{len(left_out)} left out:\n\n{lines}{rest}", icon=":material/info:")


def _one(session: BrowserSession, name: str) -> None:
    bank = common.own_banks().open(name)
    st.markdown(f"**{markdown_safe(name)}**" + (" · in use" if name in session.banks else ""))
    st.caption(markdown_safe(own_banks.summary(bank)))
    engine = common.loaded()
    with st.container(horizontal=True):
        if st.button("Does it help?", icon=":material/query_stats:", disabled=engine is None, key=f"help-{name}"):
            assert engine is not None, "the button is off without one"
            session.jobs.pop("bank-help", None)
            session.run("bank-help", name, banks.helping(engine, bank), engine.turns).wait(0.5)
        common.download_zip("Download", lambda: _zip(name), name, f"export-{name}")
        warning = "The bank and its sounds are deleted from this server."
        common.delete_button(warning, f"delete-{name}", _delete, session, name)


def _zip(name: str) -> bytes:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "bank.zip"
        own_banks.export(own_banks.open_own(name), file)
        return file.read_bytes()


def _delete(session: BrowserSession, name: str) -> None:
    session.banks = tuple(other for other in session.banks if other != name) or (SHIPPED,)
    session.jobs.pop("make-bank", None)
    session.epoch += 1
    own_banks.remove(name)


def _help(session: BrowserSession) -> None:
    job = session.jobs.get("bank-help")
    if under_way(job, "Labelling the bank's sounds", "stop-bank-help") or job is None or job.result is None:
        return
    found = job.result
    st.markdown(f"## Does “{markdown_safe(str(job.key))}” help?")
    st.info(markdown_safe(found.recommendation()), icon=":material/lightbulb:")
    rows = [
        {
            "examples": row.name,
            "right": f"{row.share:.0%} ({row.interval[0]:.0%} to {row.interval[1]:.0%})",
            "ms a sound": "" if not row.words else f"{1000 * row.seconds:.0f}",
            "words in the prompt": "" if not row.words else f"{row.words:.0f}",
        }
        for row in found.rows
    ]
    st.table(rows)
    st.caption(
        f"{found.sounds} sounds, each one of {found.options} labels, with examples of other sources alone; 95 % "
        "intervals over sources."
    )
    labels = [
        {"label": label, "sounds": count, "no examples": f"{bare:.0%}", found.best.name: f"{best:.0%}"}
        for label, count, bare, best in found.per_label()
    ]
    with st.expander("By label"):
        st.table(labels)
