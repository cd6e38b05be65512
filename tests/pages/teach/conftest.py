"""Fixtures of the tests of the Teach page, in the place of those of the other pages."""

import pytest
import streamlit as st
from teach_support import reviewer
from teaching import NamedEngine, sound

from afcore import paths
from afcore.engine.loading import MODELS
from afcore.retrieval.bank import Bank
from afcore.teach.tutorial import CLASSES, GIVEN, QUEUED, TESTED
from pages import common, teach_common
from pages.teach_common import store


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """As many sounds of each class as the tutorial takes."""
    top = tmp_path_factory.mktemp("sounds")
    for number, (label, _) in enumerate(CLASSES.values()):
        (top / label).mkdir()
        for n in range(GIVEN + QUEUED + TESTED):
            (top / label / f"{label} {chr(97 + n)}.wav").write_bytes(sound(100 * number + n))
    return top


@pytest.fixture
def engine(folder, tmp_path, monkeypatch):
    """What the pages get instead of mini, with an empty data folder."""
    monkeypatch.setattr(paths, "DATA", tmp_path / "data")
    monkeypatch.delenv("AFCORE_PROJECTS", raising=False)
    monkeypatch.delenv("AFCORE_SERVER_FOLDERS", raising=False)
    bank = Bank.from_folder(folder)
    fake = NamedEngine(bank=bank)
    monkeypatch.setitem(MODELS, "mini", lambda device, dtype, progress: fake)
    monkeypatch.setattr(common, "_shipped_bank", lambda: bank)
    monkeypatch.setattr(teach_common, "cookie_in_browser", lambda: "")  # AppTest has no cookies
    st.cache_resource.clear()
    st.cache_data.clear()
    yield fake
    store().close()
    st.cache_resource.clear()


@pytest.fixture
def app(engine):
    """Mara's browser on the Teach page."""
    return reviewer("Mara")
