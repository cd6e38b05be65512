"""Fine-tune: a model of one's own from labelled sounds, or from questions with their answers."""

import streamlit as st

from afcore.app import finetunes, plots
from afcore.app.finetunes import FineTunes
from afcore.app.markdown import markdown_safe
from afcore.app.model_host import ModelHost
from afcore.engine import own_models
from afcore.engine.loading import MODELS
from afcore.training.finetune.compare import row_text
from pages import common, models
from pages.models import TITLES
from pages.teach_common import store

NAMED = 12  # left-out questions that are named
_TEACH, _ZIP = "A Teach project", "A zip with questions"
_WAYS = {
    "lora": ("Lightly (LoRA)", "Quick, and forgets the least. A good beginning."),
    "cross-attention": ("The part that listens", "Audio transformer and cross-attention; the language model stays."),
    "full": ("Everything", "The whole model but the audio encoder. For much data."),
}


@st.cache_resource(show_spinner=False)
def tunes() -> FineTunes:
    """The fine-tunings of this server."""
    return FineTunes()


def main() -> None:
    """Draw the page."""
    common.heading("Fine-tune", "Make a model of your own from your labels, or from your questions and answers.")
    _unfinished()
    _new()
    _under_way()
    _models()


def _new() -> None:
    with st.expander("A new model", icon=":material/add:", expanded=not finetunes.models() and not tunes().running):
        source = _source()
        bases = [name for name in MODELS if ModelHost.is_here(name)] + own_models.names()
        left, right = st.columns(2)
        base = left.selectbox("Begin with", bases, format_func=lambda name: TITLES.get(name, name), key="tune-base")
        name = right.text_input("Name of the new model", max_chars=64, placeholder="My model", key="tune-name")
        train = left.radio(
            "What is trained",
            list(_WAYS),
            format_func=lambda way: _WAYS[way][0],
            captions=[says for _, says in _WAYS.values()],
            key="tune-way",
        )
        epochs = right.select_slider(
            "How often each question is seen",
            range(41),
            format_func=lambda times: f"{times} times" if times else "automatic",
            key="tune-epochs",
        )
        right.caption(
            "Automatic is 4 times, and up to 20 where there are few questions. The more often, the better it knows "
            "yours, and the more of all else it forgets."
        )
        free = not tunes().running
        with st.container(horizontal=True):
            if st.button("Look at the data", icon=":material/search:", disabled=not (source and free)):
                common.attempt(lambda: tunes().look(str(source), base).wait(1.0))
                common.redraw()
            if st.button(
                "Train", type="primary", icon=":material/play_arrow:", disabled=not (source and free and name.strip())
            ):
                common.attempt(lambda: tunes().begin(name, str(source), base, train, float(epochs) or None))
                common.redraw()
        if source and not name.strip():
            st.caption("To train it, give the new model a name.")


def _source() -> str | None:
    """What the command takes as data."""
    kind = st.segmented_control("The data", [_TEACH, _ZIP], default=_TEACH, key="tune-kind")
    if kind == _ZIP:
        st.caption(
            "One CSV beside the sounds (file, question, answer, and where you have it source), or JSON lines of "
            "dialogues. Whole sources are held out, and their questions are asked before and after."
        )
        file = st.file_uploader("A zip of sounds with their questions", type="zip", key="tune-zip")
        if file is None:
            return None
        known = st.session_state.setdefault("tune-unpacked", {})
        if file.file_id not in known and common.attempt(lambda: known.update({file.file_id: _unpacked(file)})):
            return str(known[file.file_id])
        common.problem()
        return known.get(file.file_id)
    projects = {summary.id: f"{summary.name}: {summary.counts.example} examples" for summary in store().projects()}
    if not projects:
        st.caption("There is no project on Teach yet: label some sounds there, or bring a zip.")
        return None
    return st.selectbox("Project", list(projects), format_func=lambda name: projects[name], key="tune-project")


def _unpacked(file: st.runtime.uploaded_file_manager.UploadedFile) -> str:
    return finetunes.unpacked(file.getvalue())


def _under_way() -> None:
    job = tunes().job
    if job is None:
        return
    st.header(f"Training “{markdown_safe(job.key)}”" if job.key else "The data", anchor=False)
    if job.done:
        _told()
        if job.error is not None:
            st.error(job.error, icon=":material/error:")
        elif job.stopped:
            st.caption(":material/stop_circle: Stopped. What it has come to is kept; it can go on above.")
        elif job.key:
            st.success(f"“{markdown_safe(job.key)}” is ready.", icon=":material/check:")
        return
    _progress()


@st.fragment(run_every=2.0)
def _progress() -> None:
    job = tunes().job
    if job is None or job.done:
        common.redraw()
    with common.error_boundary():
        with st.container(horizontal=True, vertical_alignment="center"):
            st.progress(min(job.fraction or 0.0, 1.0), text=f"{job.stage or 'Getting ready'} …")
            st.button("Stop", icon=":material/stop_circle:", on_click=job.stop, key="tune-stop")
        _told()


def _told() -> None:
    seen = tunes().seen
    for sentence in seen.sentences:
        st.markdown(f"- {markdown_safe(sentence)}")
    if seen.left_out:
        lines = "\n".join(f"- {markdown_safe(why)}" for why in list(seen.left_out.values())[:NAMED])
        rest = f"\n- and {len(seen.left_out) - NAMED} more" if len(seen.left_out) > NAMED else ""
        st.warning(f"{len(seen.left_out)} left out:\n\n{lines}{rest}", icon=":material/info:")
    if len(seen.loss) > 1:
        common.figure(plots.loss(seen.loss), "tune-loss", "Loss over the steps of training")


def _unfinished() -> None:
    job = tunes().job
    running = job.key if job is not None and not job.done else None
    for name in finetunes.stopped():
        if name == running:
            continue
        with st.container(border=True, horizontal=True, vertical_alignment="center", key=f"stopped-{name}"):
            st.markdown(f"“{markdown_safe(name)}” was begun and is not done.")
            st.button(
                "Go on",
                icon=":material/play_arrow:",
                disabled=tunes().running,
                on_click=common.do,
                args=(tunes().resume, name),
                key=f"resume-{name}",
            )
            st.button(
                "Discard",
                icon=":material/delete:",
                type="tertiary",
                on_click=common.do,
                args=(tunes().discard, name),
                key=f"discard-{name}",
            )


def _models() -> None:
    found = finetunes.models()
    if found:
        st.header("Your models", anchor=False)
    for name, facts in found:
        with st.container(border=True, key=f"own-{name}"):
            _model(name, facts.based_on, dict(facts.notes))
    if finetunes.has_data():
        common.delete_button(
            "The sounds and questions that were kept for training go; the models stay. A training that was stopped and "
            "needs them can't go on.",
            "delete-tune-data",
            tunes().delete_data,
            label="Delete training data",
        )


def _model(name: str, based_on: str, notes: dict) -> None:
    host, mine = common.model_host(), common.model_name()
    st.markdown(f"**{markdown_safe(name)}**" + (f", made from {markdown_safe(based_on)}" if based_on else ""))
    for entry in [*notes.get("scores", []), *notes.get("elsewhere", [])]:
        st.markdown(f"- {markdown_safe(row_text(entry))}")
    if notes.get("answers"):
        with st.expander("Held-out questions, before and after"):
            columns = ("file", "question", "right", "before", "after")
            st.dataframe(
                [{column: one.get(column, "") for column in columns} for one in notes["answers"]], hide_index=True
            )
            for sentence in notes.get("data", []):
                st.caption(markdown_safe(sentence))
            if len(notes.get("loss", [])) > 1:
                common.figure(plots.loss(notes["loss"]), f"loss-{name}", "Loss over the steps of training")
    size = finetunes.size(name)
    with st.container(horizontal=True):
        st.button(
            "In use" if mine == name else "Use it",
            icon=":material/check:" if mine == name else ":material/memory:",
            disabled=mine == name,
            on_click=models.choose,
            args=(name,),
            key=f"use-{name}",
        )
        if size <= finetunes.LARGEST_DOWNLOAD:
            label = f"Download ({size / 1e6:.0f} MB)"
            common.download_zip(label, lambda: finetunes.as_zip(name), name, f"download-{name}")
        warning = "The model is deleted from this server."
        common.delete_button(warning, f"delete-{name}", finetunes.delete, name, host.held)
    if size > finetunes.LARGEST_DOWNLOAD:
        st.caption(f"Its folder, {size / 1e9:.1f} GB, is copied faster as it is: `{own_models.home() / name}`")


main()
