"""Teach's browser session: the name in the cookie, the project of the address, one judgement for two clicks."""

import pytest
from teaching import NamedEngine, sounds

from afcore.app.review_keys import presses_of
from afcore.app.teach_session import PROOF, REVIEW, SETUP, TeachSession, cookie_of, name_of_cookie, teach_session_in
from afcore.errors import BadRequest
from afcore.teach.ingest import add_files
from afcore.teach.schema import EXAMPLE, NONE, OPEN, SKIPPED, Label
from afcore.teach.store import Store


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "projects")
    yield store
    store.close()


@pytest.fixture
def project(store):
    """Two labels and three clips that wait."""
    project = store.create("Animals", [Label("dog"), Label("cat")], "Mara")
    add_files(project, sounds("dog 1.wav", "dog 2.wav", "cat 3.wav"), "Mara")
    return project


def test_a_name_comes_back_from_its_cookie_and_nothing_else_gets_into_the_script():
    name = 'Mara "; alert(1) // é'
    assert name_of_cookie(cookie_of(name)) == name
    assert not set(cookie_of(name)) & set("\"'; <>/\\")
    assert name_of_cookie("") == "" and len(name_of_cookie("x" * 500)) == 60


def test_a_session_begins_with_the_browsers_name_in_the_project_of_the_address(store, project):
    state = {}
    teach = teach_session_in(state, store, cookie_of("Mara"), project.id)
    assert (teach.who, teach.project_id, teach.tab) == ("Mara", project.id, REVIEW)
    assert teach_session_in(state, store, cookie_of("Ben"), "") is teach
    stranger = teach_session_in({}, store, "", project.id)
    assert stranger.project_id is None and stranger.tab == SETUP
    assert teach_session_in({}, store, cookie_of("Mara"), "another").project_id is None


def test_the_same_click_twice_is_one_judgement(store, project, tmp_path):
    teach = TeachSession(store, "Mara", project.id)
    loop = teach.loop_for(project, NamedEngine(tmp_path / "bank"))
    item = loop.queue.next_clip("Mara")
    teach.judge(item, "dog")
    teach.judge(item, "dog")
    now = project.item(item.id)
    assert (now.state, now.label, now.version, teach.judged) == (EXAMPLE, "dog", item.version + 1, 1)
    with pytest.raises(BadRequest):
        teach.judge(item, "cat")
    teach.undo()
    assert project.item(item.id).state == OPEN
    other = loop.queue.next_clip("Mara")
    teach.skip(other)
    teach.skip(other)
    assert project.item(other.id).state == SKIPPED and project.counts().skipped == 1
    assert teach.work.wait(60)


def test_a_project_is_not_removed_while_the_model_works_on_it(store, project, tmp_path):
    teach = TeachSession(store, "Mara", project.id, PROOF)
    loop = teach.loop_for(project, NamedEngine(tmp_path / "bank"))
    with loop.engine.turns.wait():  # nothing can be heard meanwhile
        teach.resume()
        with pytest.raises(BadRequest, match="pause"):
            teach.remove_project(project)
    assert teach.work.wait(60)
    teach.remove_project(project)
    assert store.projects() == [] and teach.project_id is None


def _press(number, item, meaning="label", label=None):
    return {"n": number, "clip": item.id, "version": item.version, "meaning": meaning, "label": label}


def test_keys_are_taken_in_order_for_the_clip_that_was_shown_and_none_twice(store, project, tmp_path):
    teach = TeachSession(store, "Mara", project.id)
    loop = teach.loop_for(project, NamedEngine(tmp_path / "bank"))
    first = loop.queue.next_clip("Mara")
    pressed = [_press(1, first, label="dog"), _press(2, first, label="cat"), _press(3, first, label="cat")]
    teach.press(pressed[:1])
    teach.press(pressed)  # the browser sends again what it has no word about
    assert project.item(first.id).label == "cat" and teach.judged == 1
    second = loop.queue.next_clip("Mara")
    assert second.id != first.id
    pressed += [_press(4, second, label="dog"), _press(5, second, "undo"), _press(6, second, "none")]
    teach.press(pressed)
    assert project.item(second.id).state == NONE and project.item(first.id).label == "cat"
    third = loop.queue.next_clip("Mara")
    teach.press([*pressed, _press(7, third, "skip"), _press(8, third, label="dog")])
    assert project.item(third.id).label == "dog" and loop.queue.waiting() == 0
    teach.press([_press(9, third, "undo"), _press(10, third, "undo")])
    assert project.item(third.id).state == project.item(second.id).state == OPEN
    assert teach.work.wait(60)


def test_a_key_never_overwrites_what_somebody_else_said_and_the_next_keys_count(store, project, tmp_path):
    teach = TeachSession(store, "Mara", project.id)
    loop = teach.loop_for(project, NamedEngine(tmp_path / "bank"))
    first = loop.queue.next_clip("Mara")
    teach.press([_press(1, first, label="dog")])
    project.relabel(first.id, "cat", "Ben", project.item(first.id).version)
    second = loop.queue.next_clip("Mara")
    with pytest.raises(BadRequest, match="Ben changed"):
        teach.press([_press(2, first, label="dog"), _press(3, second, label="dog")])
    assert project.item(first.id).label == "cat" and project.item(second.id).label == "dog"
    assert teach.work.wait(60)


@pytest.mark.parametrize(
    "sent",
    [None, "1", 3, [1], [{"n": 1}], [{"n": 1.5, "clip": 1, "version": 1, "meaning": "none"}], [{"meaning": "label"}]],
)
def test_what_is_no_press_does_nothing(sent):
    assert presses_of(sent) == []
