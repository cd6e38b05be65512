"""Teach, proof: how often each method is right on the user's own sounds, and which one the project should use."""

from dataclasses import replace
from functools import partial

import streamlit as st

from afcore.app import shares, teach_plots, teach_work
from afcore.app.markdown import markdown_safe
from afcore.app.teach_advice import headlines, method_in_use, with_method
from afcore.app.teach_session import TeachSession
from afcore.teach.ingest import add_folder, add_zip, allowed_folders
from afcore.teach.loop import Loop
from afcore.teach.project import Project
from afcore.teach.proof import RULE, Method, Proof, Score
from afcore.teach.threshold import Threshold
from pages import common, share, teach_add
from pages.teach_common import under_way


def draw(teach: TeachSession, project: Project) -> None:
    """Draw it."""
    counts = project.counts()
    st.markdown(
        "Does it work on **your** sounds? Clips whose label is known are labelled by every method, without examples "
        "and with 1, 2, 4 and 8."
    )
    if counts.test:
        st.caption(f"{counts.test} test clips are used; they are never shown to the model as examples.")
    else:
        st.caption(
            "There are no test clips, so each example is judged with itself left out (leave-one-out). Test clips of "
            "your own say more."
        )
    with st.expander("Add labelled test clips", icon=":material/folder_zip:"):
        _tests(teach, project)
    engine = common.engine()
    loop = teach.loop_for(project, engine)
    job = teach.jobs.get("proof")
    running = job is not None and not job.done
    st.button(
        "Test again" if job is not None else "Start the test",
        type="secondary" if job is not None else "primary",
        icon=":material/insights:",
        key=teach.key("prove"),
        disabled=running,
        on_click=begin,
        args=(teach, loop),
    )
    under_way(job, "Testing", teach.key("stop-proof"))
    if job is not None and job.result is not None:
        if job.key != teach_work.proof_key(loop):
            st.info(
                "This was measured before the last change of examples, labels or model: test again for the present "
                "ones.",
                icon=":material/update:",
            )
        _result(teach, project, job.result)
        share.box(teach.key("proof"), lambda: (shares.of_proof(project.name, job.result, engine), b""))
    st.divider()
    _reject(teach, loop)


def _tests(teach: TeachSession, project: Project) -> None:
    st.caption(
        "A zip with a folder for each label, named like it: `running/a.wav`, `blocked/b.wav`. These clips are never "
        "examples. Take them from other recordings than the examples, or the result will be too good."
    )
    with st.form(teach.key("test-form"), border=False, clear_on_submit=True):
        file = st.file_uploader("A zip of labelled folders", type="zip", key=teach.key("test-zip"))
        if st.form_submit_button("Add the test clips", icon=":material/add:") and file is not None:
            add = partial(add_zip, project, file, teach.who, folders_are_labels=True, test=True, name=f"“{file.name}”")
            teach_add.add(teach, add, "tests")
    if allowed_folders():
        with st.form(teach.key("test-folder-form"), border=False):
            folder = st.text_input(
                "Or a folder on this server with a folder in it for each label",
                value=str(allowed_folders()[0]),
                key=teach.key("test-folder"),
            )
            if st.form_submit_button("Add the folder's test clips", icon=":material/add:"):
                add_all = partial(add_folder, project, folder, teach.who, folders_are_labels=True, test=True)
                teach_add.add(teach, add_all, "tests")
    teach_add.report(teach, "tests")


def begin(teach: TeachSession, loop: Loop) -> None:
    """Starts the test."""
    teach.begin("proof", teach_work.proof(loop), teach_work.proof_key(loop))


def _result(teach: TeachSession, project: Project, proof: Proof) -> None:
    st.caption(f"{markdown_safe(proof.note)} {proof.done} clips of {proof.sources} sources.")
    _headline(proof)
    common.figure(teach_plots.accuracy(proof), "teach-accuracy", "Share of clips that each method labels rightly")
    st.caption("Lines: 95 % intervals. Few clips make long lines: differences within them may be chance.")
    if proof.suggested is not None:
        _suggestion(teach, project, proof, proof.suggested)
    else:
        st.info(proof.reason, icon=":material/info:")
    titles = [score.method.title for score in proof.scores]
    best = next((n for n, score in enumerate(proof.scores) if score.method == proof.suggested), 0)
    chosen = st.selectbox(
        "Look closer at", range(len(titles)), best, format_func=titles.__getitem__, key=teach.key("closer")
    )
    _closer(proof, proof.scores[chosen])


def _headline(proof: Proof) -> None:
    for place, one in zip(st.columns(3), headlines(proof), strict=False):
        gain = None if one.gain is None else f"{one.gain:+.0f} points"
        place.metric(one.title, f"{one.accuracy:.0%}", gain, border=True)
    st.caption(
        "The best number of examples and the best plain method are chosen on these very clips, so expect a little "
        "less on new ones."
    )


def _suggestion(teach: TeachSession, project: Project, proof: Proof, method: Method) -> None:
    now = project.settings
    new, said = with_method(now, method)
    with st.container(border=True, key="teach-suggestion"):
        st.markdown(f"**Suggested:** {markdown_safe(proof.reason)}", help=RULE)
        if new == now:
            st.markdown(":material/check: The project uses it.")
        else:
            st.button(
                f"Use it: {method.title}",
                type="primary",
                icon=":material/check:",
                key=teach.key("use"),
                on_click=common.do,
                args=(teach.use_settings, project, new, said),
            )
            st.caption(f"The project uses {method_in_use(proof, now)} now.")


def _closer(proof: Proof, score: Score) -> None:
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**Which labels are taken for which**")
        common.figure(
            teach_plots.confusion(proof.labels, score.confusion), "teach-confusion", "True labels and answers"
        )
    with right:
        st.markdown("**How much more of each label is found than without examples**, in percentage points")
        if score.gain is None or score.gain_interval is None:
            st.caption("This is the one that the others are compared with.")
        else:
            common.figure(teach_plots.label_gains(proof, score), "teach-gains", "Gain of each label")
            low, high = score.gain_interval
            st.caption(f"In all {100 * score.gain:+.0f} points (95 % interval {100 * low:+.0f} to {100 * high:+.0f}).")


# --- none of these -------------------------------------------------------------------------------------------------


def _reject(teach: TeachSession, loop: Loop) -> None:
    st.header("None of these", anchor=False)
    project = loop.project
    st.caption(
        "Sounds that are none of your labels should not be forced into one. The limit is put where your examples are "
        "seldom turned away and sounds of the example bank with other labels seldom let in."
    )
    job, key = teach.jobs.get("limit"), teach_work.limit_key(loop)
    st.button(
        "Find the limit",
        icon=":material/block:",
        key=teach.key("calibrate"),
        on_click=common.do,
        args=(teach.begin, "limit", teach_work.limit(loop, common.bank()), key),
        disabled=job is not None and not job.done,
    )
    if job is not None and job.done and job.key != key:
        st.caption(
            ":material/update: Examples, labels or the method have changed since it was looked for: find it again."
        )
        return
    under_way(job, "Trying", teach.key("stop-reject"))
    if job is None or job.result is None:
        return
    limit: Threshold = job.result
    st.markdown(limit.sentence())
    new = replace(project.settings, reject_below=limit.probability, reject_similarity=limit.similarity)
    if new == project.settings:
        st.markdown(":material/check: The project uses this limit.")
    else:
        st.button(
            "Use this limit",
            type="primary",
            key=teach.key("use-limit"),
            on_click=common.do,
            args=(teach.use_settings, project, new, "The limit is used from now on."),
        )
