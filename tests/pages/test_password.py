"""A server with a password: one page before all others, and one more page behind it."""

from pages_support import ROOT, button, good, page, texts, visit
from streamlit.testing.v1 import AppTest

from pages import common


def test_nothing_is_shown_before_the_password(engine, monkeypatch):
    monkeypatch.setenv("AFCORE_PASSWORD", "open sesame")
    at = AppTest.from_file(str(ROOT / "pages" / "frame.py"), default_timeout=240).run()
    assert [one.label for one in at.text_input] == ["Password of this server"] and not at.sidebar.button
    at.text_input[0].set_value("open barley")
    assert "not the password" in button(at, "Come in").click().run().error[0].value
    assert "browser-session" not in at.session_state
    at.text_input[0].set_value("open sesame")
    good(button(at, "Come in").click().run())
    assert "Drop in a sound" in texts(at)
    assert common.model_host().loading.wait(60), "the queue is that of a model that is there"
    good(page(at, "server"))
    tables = " ".join(" ".join(map(str, table.value.reset_index().to_numpy().ravel())) for table in at.table)
    assert "torch" in tables and "queue" in tables and "flamingo.safetensors" in tables


def test_without_a_password_the_server_tells_nobody_what_runs_on_it(engine):
    at = visit()
    assert not [one for one in at.text_input if "Password" in one.label]
