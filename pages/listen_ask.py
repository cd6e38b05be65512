"""Listen, below the sentence: which of these is it, was the answer right, and teaching what it should have been."""

from io import BytesIO

import streamlit as st

from afcore import prompts
from afcore.app import certainty, closed_question, plots
from afcore.app.markdown import markdown_safe
from afcore.app.session import BrowserSession
from afcore.app.teach_session import SETUP
from afcore.engine.engine import Engine
from afcore.engine.results import Heard, LabelScores
from afcore.engine.scoring import LANGUAGE
from afcore.teach.ingest import add_files
from pages import common
from pages.teach_common import store, teach_session

NEW = "A new project"


def draw(session: BrowserSession, engine: Engine, heard: Heard, said: str) -> None:
    """Draw it, for the present sound."""
    if said.strip():
        prompt = engine.build_prompt(heard, prompts.CAPTION)
        common.thumbs("caption", common.answered(prompts.CAPTION, said.strip(), prompt.text, engine.name))
        common.exact_prompt(prompt, "The exact prompt of the sentence")
    with st.container(border=True, key="closed"):
        st.markdown("**Which of these is it?**")
        offered = closed_question.likely_labels(engine, heard)
        labels = st.multiselect(
            "Labels to choose from",
            offered,
            closed_question.chosen(offered),
            accept_new_options=True,
            key=session.key("closed-labels"),
            label_visibility="collapsed",
            placeholder="Choose labels, or type your own",
            max_selections=20,
        )
        asked = st.button("Ask", type="primary", icon=":material/checklist:", key=session.key("closed-ask"))
        job = session.jobs.get("closed")
        if asked:
            job = closed_question.ask(session, engine, heard, labels)
        if job is not None and job.key == closed_question.key_of(engine, heard.clip, labels):
            scores = common.finish(job, "Weighing the labels")
            if scores is not None:
                _scores(engine, heard, scores)
    _teach(session)


def asked(session: BrowserSession, engine: Engine, heard: Heard) -> LabelScores | None:
    """The answer to "which of these?" about the present sound, where there is one."""
    job = session.jobs.get("closed")
    return job.result if job is not None and job.key[:2] == (engine.name, heard.clip.key) else None


def _scores(engine: Engine, heard: Heard, scores: LabelScores) -> None:
    common.doubt(engine, lambda limits: certainty.of_labels(scores, limits.labels))
    ordered = sorted(scores.probabilities.items(), key=lambda pair: -pair[1])
    common.figure(plots.tags(ordered), "closed-bars", "How probable each label is")
    st.caption(scores.judged_by)
    labels = list(scores.probabilities)
    prompt = engine.build_prompt(heard, prompts.CLASSIFY, labels=labels)
    question = f"{prompts.CLASSIFY} {', '.join(labels)}"
    common.thumbs("closed", common.answered(question, scores.best, prompt.text, engine.name))
    if any(opinion.judge == LANGUAGE for opinion in scores.opinions):
        common.exact_prompt(prompt)
    else:
        st.caption("The language model was not asked, so there was no prompt: the sound itself was compared.")


def _teach(session: BrowserSession) -> None:
    """Correct it: the sound goes into a project of Teach, with its right label."""
    if saved := st.session_state.pop("taught", None):
        st.success(saved, icon=":material/school:")
    with st.popover("Wrong? Teach it", icon=":material/school:", key=session.key("teach-it")):
        teach = teach_session()
        projects = {summary.id: summary.name for summary in store().projects()}
        right = st.text_input("What is it?", key=session.key("taught-label"), max_chars=100, placeholder="chainsaw")
        choices = [*projects, NEW]
        place = st.selectbox(
            "Project",
            choices,
            format_func=lambda choice: projects.get(choice, choice),
            key=session.key("taught-project"),
        )
        who = teach.who or st.text_input("Your name", key=session.key("taught-who"), max_chars=60, placeholder="Mara")
        st.button(
            "Add it as an example",
            type="primary",
            icon=":material/add:",
            key=session.key("taught-add"),
            disabled=not right.strip() or not who.strip(),
            on_click=common.do,
            args=(_add, session, right.strip(), None if place == NEW else place, who.strip()),
        )
        st.caption("The sound is kept in the project until it is deleted; everybody who opens this app can see it.")


def _add(session: BrowserSession, label: str, project_id: str | None, who: str) -> None:
    recording, _ = session.sound()
    teach = teach_session()
    if not teach.who:
        teach.rename_reviewer(who)
    project = store().open(project_id) if project_id else store().create("Corrected on Listen", [label], teach.who)
    label = project.add_labels([label], teach.who)[label]
    added = add_files(project, [(recording.name, BytesIO(recording.data))], teach.who, label)
    teach.open(project.id, SETUP)
    count = len(added.clips)
    what = f"Added to “{markdown_safe(project.name)}” as “{markdown_safe(label)}”: go on there on the Teach page."
    st.session_state["taught"] = what if count else " ".join([*added.known, *added.refused])
