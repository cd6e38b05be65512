"""What the tests of the Teach page share: a reviewer's browser session, driven by Streamlit's AppTest."""

from pages_support import button, good, page, texts, visit
from streamlit.testing.v1 import AppTest

from afcore.app.teach_session import TeachSession
from afcore.teach.project import Project
from pages.teach_common import store


def reviewer(name: str) -> AppTest:
    at = good(page(visit(), "teach"))
    return good(field(at, "Your name").set_value(name).run())


def field(at: AppTest, label: str):
    [found] = [w for w in at.text_input if w.label == label]
    return found


def uploader(at: AppTest, label: str):
    [found] = [w for w in at.file_uploader if w.label == label]
    return found


def teach(at: AppTest) -> TeachSession:
    return at.session_state["teach"]


def project(at: AppTest) -> Project:
    return store().open(teach(at).project_id)


def tab(at: AppTest, name: str) -> AppTest:
    teach(at).go(name)
    return good(at.run())


def rested(at: AppTest) -> AppTest:
    """The page when the background work of the project and of the session is done."""
    state = teach(at)
    for job in (state.work, *state.jobs.values()):
        assert job is None or job.wait(60)
    return good(at.run())


def tutorial(at: AppTest) -> AppTest:
    return rested(good(button(at, "Try the tutorial project").click().run()))


def shown(at: AppTest):
    """The clip on the card."""
    return project(at).item(teach(at).shown[0])


def new(at: AppTest, name: str, labels: str) -> AppTest:
    field(at, "Name").set_value(name)
    next(w for w in at.text_area if w.label == "Labels, one a line").set_value(labels)
    return good(button(at, "Make the project").click().run())


def added(at: AppTest, files: list[tuple[str, bytes]], place: int = 0) -> AppTest:
    """Uploads files; ``place`` 0: to be labelled, n: as examples of the n-th label."""
    next(w for w in at.selectbox if w.label == "What are they?").set_value(place).run()
    widget = uploader(at, "Sound files, as many as you like")
    for name, data in files:
        widget.upload(name, data, "audio/wav")
    button(at, "Add").click().run()
    return rested(at)


def said_by(at: AppTest) -> str:
    return texts(at) + "\n".join(m.value for m in [*at.success, *at.warning, *at.error]).replace("\\", "")
