"""Teach, review: one uncertain clip after the other; what a person says becomes an example for the next."""

from html import escape

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from afcore.app.markdown import markdown_safe
from afcore.app.teach_history import change_text
from afcore.app.teach_session import EXPORT, PROOF, SETUP, TeachSession
from afcore.audio.clock import clock_text
from afcore.teach.changes import METHODS, UNDOABLE
from afcore.teach.loop import Loop
from afcore.teach.project import Project
from afcore.teach.schema import EXAMPLE, Prediction, ProjectClip
from pages import common, teach_keys, teach_proof, teach_sound, teach_why

KEYS, SHOWN_LABELS = 9, 12


def draw(teach: TeachSession, project: Project) -> None:
    """Draw it."""
    counts = project.counts()
    if len(project.labels) < 2:
        _first(teach, "Give the project at least two labels first.")
        return
    if not counts.open + counts.skipped + counts.example + counts.none:
        _first(teach, "There is nothing to review yet: add some clips first.")
        return
    engine = common.engine()
    loop = teach.loop_for(project, engine)
    work = st.container()
    _card(teach, loop)
    with work:
        _work(teach, loop)  # after the card: it looks at what is drawn there
    _labels(teach, project)
    _faulty(project)


def _first(teach: TeachSession, why: str) -> None:
    st.info(why, icon=":material/lightbulb:")
    st.button("Go to Set up", key=teach.key("to-setup"), on_click=teach.go, args=(SETUP,))


# --- the model at work ---------------------------------------------------------------------------------------------


@st.fragment(run_every=1.5)
def _work(teach: TeachSession, loop: Loop) -> None:
    """What the model is doing for this project; draws the page again when the card's clip has another prediction."""
    with common.error_boundary(), st.container(horizontal=True, vertical_alignment="center", key="teach-work"):
        if loop.engine.closed:
            common.redraw()
        job = teach.keep_working()
        if job is not None and not job.done:
            st.progress(
                min(job.fraction or 0.0, 1.0),
                text=f"{job.stage or 'Listening to the clips'} … You can go on meanwhile.",
            )
            st.button("Pause", icon=":material/pause:", key=teach.key("pause"), on_click=job.stop)
        elif job is not None and job.error is not None:
            st.error(job.error, icon=":material/error:")
            st.button("Try again", key=teach.key("again"), on_click=teach.resume)
        elif job is not None and job.stopped:
            st.markdown(f":material/pause_circle: Paused; {loop.stale()} predictions are missing or stale.")
            st.button("Resume", icon=":material/play_arrow:", key=teach.key("resume"), on_click=teach.resume)
        else:
            st.caption(":material/check_circle: All predictions are up to date.")
    if teach.card_is_stale():
        common.redraw()


# --- the card ------------------------------------------------------------------------------------------------------


@st.fragment
def _card(teach: TeachSession, loop: Loop) -> None:
    with common.error_boundary():
        if loop.engine.closed:  # another model was chosen: the page finds the new one
            common.redraw()
        common.problem()
        project = loop.project
        item = loop.queue.next_clip(teach.who)
        teach.show(item)
        left = st.container()
        if item is None:
            _nothing_left(teach, loop)
        else:
            with _place(teach), st.container(border=True, key=teach_keys.CARD):
                prediction = project.prediction(item.id)
                _clip(teach, loop, item, prediction)
            if prediction is not None:
                _shots(project, prediction)
                with st.expander("Why?", icon=":material/help:"):
                    teach_why.draw(teach, loop, item, prediction)
        _history(teach, project)
        # Last: whoever reads that there is one less has the next one before them.
        with left:
            _left(teach, loop)


def _place(teach: TeachSession) -> DeltaGenerator:
    """Where the card stands: each clip's at the other of two places, of which one is emptied first. At one and the same
    place, what was drawn for the clip before stays beside it when a key comes while the page is still being drawn."""
    places = [st.container(), st.container()]
    with places.pop(teach.other_place):
        st.empty()
    return places[0]


def _left(teach: TeachSession, loop: Loop) -> None:
    counts, waiting = loop.project.counts(), loop.queue.waiting()
    judged = counts.example + counts.none
    st.progress(
        judged / max(1, judged + waiting),
        text=f"**{waiting}** left · {judged} have a label"
        + (f" · {counts.none} are none of these" if counts.none else "")
        + (f" · {counts.skipped} skipped" if counts.skipped else ""),
    )
    for item, who in loop.queue.in_hands():
        if who != teach.who:
            said = markdown_safe(f"{who} is judging “{item.name}” just now, so you get another clip.")
            st.caption(f":material/group: {said}")


def _clip(teach: TeachSession, loop: Loop, item: ProjectClip, prediction: Prediction | None) -> None:
    left, right = st.columns([3, 2], gap="large")
    with left:
        # A file's name may give the tutorial's answer away.
        name = item.name if item.truth is None else f"Clip {item.id}"
        # HTML, since name and id then change in one step; of a Markdown heading the id may come first.
        st.html(f'<h2 id="{teach_keys.key_of(item, teach_keys.NAME)}">{escape(name)}</h2>')
        end = clock_text(item.start + item.seconds)
        stretch = f"{clock_text(item.start)} – {end}" if item.start else end
        # Nor is the source shown there: its file is called like the sound.
        source = item.source if item.truth is None else ""
        st.caption(markdown_safe(" · ".join(part for part in (stretch, source) if part)))
        with st.container(key=teach_keys.PLAYER):
            # Only once somebody is at it: nobody wants a page that makes a noise when it is opened.
            part = teach_sound.player(loop.project, item, autoplay=teach.judged > 0)
    with right:
        _guess(loop, prediction)
        _buttons(teach, loop, item, prediction)
    if part is not None:
        with left:
            teach_sound.waveform(part, loop.engine.encoder.plan, item.name, f"teach-waveform-{item.id}")


def _guess(loop: Loop, prediction: Prediction | None) -> None:
    if prediction is None:
        st.markdown(":material/hourglass_top: The model has not come to this clip yet. You can label it all the same.")
        return
    settings = loop.project.settings
    if prediction.verdict(settings.reject_below, settings.reject_similarity) is None:
        st.markdown("The model thinks: **none of these**. If one of them after all:")
    else:
        st.markdown("The model thinks:")
    for label, p in prediction.top:
        st.progress(min(p, 1.0), text=f"**{markdown_safe(label)}** {100 * p:.0f} %")
    if not loop.is_fresh(prediction):
        st.caption(":material/update: Stale: examples, labels or settings have changed since. It is being made afresh.")


def _buttons(teach: TeachSession, loop: Loop, item: ProjectClip, prediction: Prediction | None) -> None:
    st.markdown("What is it?")
    best = prediction.label if prediction else None
    with st.container(horizontal=True, key="teach-labels"):
        for number, label in enumerate(loop.project.labels):
            st.button(
                markdown_safe(label.name),
                key=teach_keys.key_of(item, f"label-{number}"),
                type="primary" if label.name == best else "secondary",
                help=label.description or None,
                shortcut=str(number + 1) if number < KEYS else None,
                on_click=common.do,
                args=(teach.judge, item, label.name),
            )
    with st.container(horizontal=True):
        st.button(
            "None of these",
            key=teach_keys.key_of(item, "none"),
            shortcut="0",
            icon=":material/block:",
            on_click=common.do,
            args=(teach.judge, item, None),
        )
        st.button(
            "Skip",
            key=teach_keys.key_of(item, "skip"),
            shortcut="s",
            icon=":material/skip_next:",
            on_click=common.do,
            args=(teach.skip, item),
        )
        _undo_button(teach)
    labels = [label.name for label in loop.project.labels]
    keys = teach_keys.meanings(labels, best)
    teach_keys.listen(teach.key("keys"), item, teach.keys.taken, keys, lambda sent: common.do(teach.press, sent))
    st.caption(
        "Keys: **1–9** for a label, **Enter** for the model's guess, **0** none of these, **space** plays, **u** "
        "undoes, **s** skips. A second key while the clip is still there corrects the first."
    )


def _undo_button(teach: TeachSession) -> None:
    st.button(
        "Undo",
        key=teach.key("undo"),
        shortcut="u",
        icon=":material/undo:",
        on_click=common.do,
        args=(teach.undo,),
    )


def _shots(project: Project, prediction: Prediction) -> None:
    similarity = "" if prediction.similarity is None else f", nearest example {prediction.similarity:.2f}"
    st.caption(f"{METHODS[prediction.method]}{similarity}. {prediction.note}")
    if not prediction.shots:
        return
    st.markdown("**Examples that the model was shown with it**, the most similar first")
    shots = prediction.shots[:8]
    for row in range(0, len(shots), 4):
        for column, shot in zip(st.columns(4), shots[row : row + 4], strict=False):
            with column, st.container(border=True):
                st.progress(
                    max(0.0, min(shot["similarity"], 1.0)),
                    text=f"**{markdown_safe(shot['label'])}** {shot['similarity']:.2f}",
                )
                teach_sound.player(project, project.item(shot["id"]))
    if len(prediction.shots) > len(shots):
        st.caption(f"… and {len(prediction.shots) - len(shots)} more.")


# --- the end, and what happened ------------------------------------------------------------------------------------


def _nothing_left(teach: TeachSession, loop: Loop) -> None:
    counts = loop.project.counts()
    others = sorted({who for _, who in loop.queue.in_hands() if who != teach.who})
    if others:
        st.info(
            f"What is left is in the hands of {', '.join(map(markdown_safe, others))}; a clip that is not judged "
            "within ten minutes comes back.",
            icon=":material/group:",
        )
    elif counts.skipped:
        st.info("Only skipped clips are left.", icon=":material/skip_next:")
    else:
        st.success("Every clip has been judged, and each is saved.", icon=":material/celebration:")
    with st.container(horizontal=True):
        if counts.skipped:
            st.button(
                f"Bring back the {counts.skipped} that were skipped",
                key=teach.key("restore"),
                on_click=common.do,
                args=(loop.queue.restore_skipped, teach.who),
            )
        if not others and not counts.skipped:
            # Whole-page changes: out of the fragment's reach unless the page is drawn again.
            if st.button(
                "See what your labels brought", type="primary", icon=":material/insights:", key=teach.key("to-proof")
            ):
                teach_proof.begin(teach, loop)
                _leave(teach, PROOF)
            if st.button("Download the labels", icon=":material/download:", key=teach.key("to-export")):
                _leave(teach, EXPORT)
        _undo_button(teach)


def _leave(teach: TeachSession, tab: str) -> None:
    teach.go(tab)
    st.rerun()


def _labels(teach: TeachSession, project: Project) -> None:
    box = st.expander(
        "What the labels sound like", icon=":material/menu_book:", key=teach.key("sounds"), on_change="rerun"
    )
    with box:
        if not box.open:  # players cost something each time the page is drawn
            return
        first = {item.label: item for item in reversed(project.items(EXAMPLE))}
        labels = project.labels[:SHOWN_LABELS]
        for row in range(0, len(labels), 3):
            for column, label in zip(st.columns(3), labels[row : row + 3], strict=False):
                with column:
                    st.markdown(f"**{markdown_safe(label.name)}** {markdown_safe(label.description)}")
                    if label.name in first:
                        teach_sound.player(project, first[label.name])


def _history(teach: TeachSession, project: Project) -> None:
    changes = project.history(12)
    if not changes:
        return
    st.caption(f":material/history: Last change: {markdown_safe(change_text(project, changes[0]))}")
    with st.expander("Who changed what", icon=":material/history:"):
        for change in changes:
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(markdown_safe(change_text(project, change)), width="stretch")
                if change.undone_by is None and change.action in UNDOABLE:
                    st.button(
                        "Take back",
                        type="tertiary",
                        icon=":material/undo:",
                        key=f"teach-back-{change.id}",
                        on_click=common.do,
                        args=(teach.take_back, change),
                    )


def _faulty(project: Project) -> None:
    faulty = [item.fault for item in project.items() if item.fault]
    if faulty:
        with st.expander(f"{len(faulty)} clips cannot be heard", icon=":material/volume_off:"):
            st.markdown("\n".join(f"- {markdown_safe(fault)}" for fault in faulty[:50]))
