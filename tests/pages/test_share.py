"""A result is shared from its page, shown to somebody else, and deleted on About."""

from pages_support import button, example, good, page, session, texts, visit

from pages.share import shares


def _shared(app) -> str:
    good(button(app, "Make a link").click().run())
    [name] = app.session_state["my-shares"]
    assert any(f"/shared?share={name}" in code.value for code in app.code)
    return name


def _open(name: str):
    at = visit()
    at.query_params["share"] = name
    return good(page(at, "shared"))


def test_a_link_shows_a_colleague_what_was_said_and_is_gone_when_it_is_deleted(app, engine):
    name = _shared(example(app))
    at = _open(name)
    assert engine.answer.removesuffix(" .") in texts(at) and session(at).recording is None
    assert len(at.get("plotly_chart")) == 3 and any("<audio>" in code.value for code in at.code)
    assert not [one for one in at.button if one.label.startswith("Delete")]  # read-only
    good(page(app, "about"))
    good(button(app, "Delete").click().run())
    assert shares().find(name) is None and "nothing that is still there" in texts(app)
    assert "not here (any more)" in texts(_open(name))


def test_whoever_has_the_link_can_go_on_with_the_sound(app):
    at = _open(_shared(example(app)))
    good(button(at, "Try this sound yourself").click().run())  # goes to Listen
    assert session(at).recording is not None and session(at).clip.duration > 0.9


def test_an_address_that_was_made_up_shows_nothing(app):
    assert "not here (any more)" in texts(_open("A" * 22))
