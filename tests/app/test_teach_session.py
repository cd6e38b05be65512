"""Teach's browser session: the name in the cookie, the project of the address, one judgement for two clicks."""

import pytest
from teaching import NamedEngine, sounds

from afcore.app.teach_session import PROOF, REVIEW, SETUP, TeachSession, cookie_of, name_of_cookie, teach_session_in
from afcore.errors import BadRequest
from afcore.teach.ingest import add_files
from afcore.teach.schema import EXAMPLE, OPEN, SKIPPED, Label
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
