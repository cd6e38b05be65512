"""What the tests of the pages share: a browser session driven by Streamlit's AppTest, and what stands on its page."""

from pathlib import Path

from streamlit.testing.v1 import AppTest

from afcore.app.session import BrowserSession, session_in
from pages import common

ROOT = Path(__file__).resolve().parents[1]
RATE = 16_000  # Hz
LABELS = ("dog", "rain", "bell")
"""Labels of the bank that the pages are tested over."""


def visit() -> AppTest:
    """A browser session."""
    common.model_host().loading.wait(30)
    return good(AppTest.from_file(str(ROOT / "pages" / "frame.py"), default_timeout=240).run())


def good(at: AppTest) -> AppTest:
    """Nothing went wrong."""
    assert not at.exception and not at.error, [entry.value for entry in (*at.exception, *at.error)]
    return at


def session(at: AppTest) -> BrowserSession:
    """What the browser session holds."""
    return session_in(at.session_state)


def upload(at: AppTest, data: bytes, name: str = "sound.wav") -> AppTest:
    widget = next(w for w in at.file_uploader if w.label == "A sound or a video file")
    widget.upload(name, data, "audio/wav")
    return at.run()


def example(at: AppTest, label: str = "Dog") -> AppTest:
    return good(button(at, label).click().run())


def button(at: AppTest, label: str):
    found = [b for b in at.button if b.label == label]
    assert found, f"no button {label!r} among {[b.label for b in at.button]}"
    return found[0]


def page(at: AppTest, name: str) -> AppTest:
    return at.switch_page(f"{name}.py").run()


def texts(at: AppTest) -> str:
    return "\n".join(m.value for m in [*at.markdown, *at.caption, *at.info, *at.html]).replace("\\", "")


def figures(at: AppTest) -> int:
    return len(at.get("plotly_chart"))


def shot_boxes(at: AppTest):
    return [box for box in at.checkbox if box.key.startswith("use-")]


def ask(at: AppTest, question: str) -> AppTest:
    return good(at.chat_input[0].set_value(question).run())


def chat_texts(at: AppTest) -> list[str]:
    return [message.markdown[0].value.replace("\\", "") for message in at.chat_message]


def slider(at: AppTest, label: str):
    [found] = [s for s in at.slider if s.label == label]
    return found


def opened(at: AppTest, data: bytes) -> AppTest:
    widget = next(w for w in at.file_uploader if w.label == "Open a session file")
    return good(widget.upload("session.zip", data, "application/zip").run())
