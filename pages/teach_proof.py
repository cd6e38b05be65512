"""Teach, proof: how often each method is right on the user's own sounds, and which one the project should use."""

from dataclasses import replace

import streamlit as st

from afcore.app import teach_plots
from afcore.app.markdown import markdown_safe
from afcore.app.teach_session import TeachSession
from afcore.errors import Cancelled
from afcore.jobs import Job
from afcore.teach import threshold
from afcore.teach.ingest import add_folder, add_zip, allowed_folders
from afcore.teach.loop import Loop
from afcore.teach.predict import model_name
from afcore.teach.project import Project
from afcore.teach.proof import RULE, Proof, Score, of_project
from afcore.teach.schema import Settings
from pages import common, teach_add
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
        if job.key != _about(loop):
            st.info(
                "This was measured before the last change of examples, labels or model: test again for the present "
                "ones.",
                icon=":material/update:",
            )
        _result(teach, project, job.result)
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
            how = {"folders_are_labels": True, "test": True, "name": f"“{file.name}”"}
            teach_add.add(teach, lambda job, **more: add_zip(project, file, teach.who, **how, **more), "tests")
    if allowed_folders():
        with st.form(teach.key("test-folder-form"), border=False):
            folder = st.text_input(
                "Or a folder on this server with a folder in it for each label",
                value=str(allowed_folders()[0]),
                key=teach.key("test-folder"),
            )
            if st.form_submit_button("Add the folder's test clips", icon=":material/add:"):
                how = {"folders_are_labels": True, "test": True}
                teach_add.add(teach, lambda job, **more: add_folder(project, folder, teach.who, **how, **more), "tests")
    teach_add.report(teach, "tests")


def _about(loop: Loop) -> tuple:
    project = loop.project
    return project.revision, project.version("labels"), project.counts().test, model_name(loop.engine)


def begin(teach: TeachSession, loop: Loop) -> None:
    """Starts the test."""

    def work(job: Job) -> Proof | None:
        job.report("Listening to the clips", 0.0)
        loop.embed(lambda done, total: job.report(f"Listening to clip {done} of {total}", done / total), job.stopping)
        tally = None
        try:
            for tally in of_project(loop.project, loop.engine, stop=job.stopping):
                job.report(f"Testing, {tally.done} of {tally.total} clips", tally.done / tally.total)
        except Cancelled:  # what is known by now is shown
            pass
        return tally.result() if tally is not None else None

    teach.begin("proof", work, _about(loop))


def _result(teach: TeachSession, project: Project, proof: Proof) -> None:
    st.caption(f"{markdown_safe(proof.note)} {proof.done} clips of {proof.sources} sources.")
    _headline(proof)
    common.figure(teach_plots.accuracy(proof), "teach-accuracy", "Share of clips that each method labels rightly")
    st.caption("Lines: 95 % intervals. Few clips make long lines: differences within them may be chance.")
    if proof.suggested is not None:
        _suggestion(teach, project, proof)
    titles = [score.method.title for score in proof.scores]
    best = next((n for n, score in enumerate(proof.scores) if score.method == proof.suggested), 0)
    chosen = st.selectbox(
        "Look closer at", range(len(titles)), best, format_func=titles.__getitem__, key=teach.key("closer")
    )
    _closer(proof, proof.scores[chosen])


def _headline(proof: Proof) -> None:
    first = proof.scores[0]
    shots = [score for score in proof.scores if score.method.name == "lm-shots"]
    plain = [score for score in proof.scores if not score.method.language_model]
    places = st.columns(3)
    places[0].metric("Without examples", f"{first.accuracy:.0%}", border=True)
    for place, some in zip(places[1:], (shots, plain), strict=True):
        if some:
            best = max(some, key=lambda score: score.right)
            title = f"With {best.method.title}" if some is shots else best.method.title
            place.metric(
                title, f"{best.accuracy:.0%}", f"{100 * (best.accuracy - first.accuracy):+.0f} points", border=True
            )
    st.caption(
        "The best number of examples and the best plain method are chosen on these very clips, so expect a little "
        "less on new ones."
    )


def _suggestion(teach: TeachSession, project: Project, proof: Proof) -> None:
    method, now = proof.suggested, project.settings
    with st.container(border=True, key="teach-suggestion"):
        st.markdown(f"**Suggested:** {markdown_safe(proof.reason)}", help=RULE)
        new = replace(now, method=method.name, k=method.k or now.k)
        said = f"{method.title} is used from now on."
        if method.name != now.method and now.reject_below is not None:
            new = replace(new, reject_below=None)
            said += " The limit of probability for “none of these” was that of the other method: find it again."
        if new == now:
            st.markdown(":material/check: The project uses it.")
        else:
            st.button(
                f"Use it: {method.title}",
                type="primary",
                icon=":material/check:",
                key=teach.key("use"),
                on_click=_use,
                args=(teach, project, new, said),
            )
            st.caption(f"The project uses {_in_use(proof, now)} now.")


def _in_use(proof: Proof, settings: Settings) -> str:
    k = settings.k if settings.method == "lm-shots" else 0
    titles = {(score.method.name, score.method.k): score.method.title for score in proof.scores}
    return titles.get((settings.method, k), f"{k} shots")


def _use(teach: TeachSession, project: Project, settings: Settings, said: str) -> None:
    if common.attempt(project.set_settings, settings, teach.who):
        teach.expect.pop("settings", None)
        teach.epoch += 1
        teach.said = said


def _closer(proof: Proof, score: Score) -> None:
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**Which labels are taken for which**")
        common.figure(
            teach_plots.confusion(proof.labels, score.confusion), "teach-confusion", "True labels and answers"
        )
    with right:
        st.markdown("**How much more of each label is found than without examples**, in percentage points")
        if score is proof.scores[0]:
            st.caption("This is the one that the others are compared with.")
        else:
            common.figure(teach_plots.label_gains(proof, score), "teach-gains", "Gain of each label")
            low, high = score.gain_interval
            st.caption(f"In all {100 * score.gain:+.0f} points (95 % interval {100 * low:+.0f} to {100 * high:+.0f}).")


# --- none of these -------------------------------------------------------------------------------------------------


def _reject(teach: TeachSession, loop: Loop) -> None:
    st.subheader("None of these", anchor=False)
    project = loop.project
    st.caption(
        "Sounds that are none of your labels should not be forced into one. The limit is put where your examples are "
        "seldom turned away and sounds of the example bank with other labels seldom let in."
    )
    job, about = teach.jobs.get("reject"), (*_about(loop), project.settings.method, project.settings.k)
    st.button(
        "Find the limit",
        icon=":material/block:",
        key=teach.key("calibrate"),
        on_click=_calibrate,
        args=(teach, loop, about),
        disabled=job is not None and not job.done,
    )
    if job is not None and job.done and job.key != about:
        st.caption(
            ":material/update: Examples, labels or the method have changed since it was looked for: find it again."
        )
        return
    under_way(job, "Trying", teach.key("stop-reject"))
    if job is None or job.result is None:
        return
    limit: threshold.Threshold = job.result
    st.markdown(limit.sentence())
    new = replace(project.settings, reject_below=limit.probability, reject_similarity=limit.similarity)
    if new == project.settings:
        st.markdown(":material/check: The project uses this limit.")
    else:
        st.button(
            "Use this limit",
            type="primary",
            key=teach.key("use-limit"),
            on_click=_use,
            args=(teach, project, new, "The limit is used from now on."),
        )


def _calibrate(teach: TeachSession, loop: Loop, about: tuple) -> None:
    def work(job: Job) -> threshold.Threshold:
        job.report("Trying", 0.0)

        def progress(done: int, total: int) -> None:
            job.report(f"Trying {done} of {total}", done / total)

        return threshold.of_project(loop, common.bank(), progress=progress, stop=job.stopping)

    teach.begin("reject", work, about)
