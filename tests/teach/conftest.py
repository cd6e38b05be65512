"""Fixtures of the tests of Teach: a store, an empty project, a project of animals and the loop over it."""

import pytest
from teaching import CATS, DOGS, NamedEngine, sounds

from afcore.teach.ingest import add_files
from afcore.teach.loop import Loop
from afcore.teach.schema import Label, Settings
from afcore.teach.store import Store


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "projects")
    yield store
    store.close()


@pytest.fixture
def project(store):
    return store.create("Pumps", [Label("running", "a steady hum"), "cavitating"], "Mara")


@pytest.fixture
def animals(tmp_path):
    store = Store(tmp_path / "projects")
    project = store.create("Animals", ["dog", "cat"], "Mara", Settings(k=2))
    add_files(project, sounds(*DOGS), "Mara", "dog")
    add_files(project, sounds(*CATS, seed=1), "Mara", "cat")
    add_files(
        project, sounds(*(f"{animal} {n}.wav" for n in range(10, 13) for animal in ("dog", "cat")), seed=2), "Mara"
    )
    yield project
    store.close()


@pytest.fixture
def loop(animals, tmp_path):
    return Loop(animals, NamedEngine(tmp_path / "bank"))
