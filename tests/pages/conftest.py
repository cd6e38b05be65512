"""Fixtures of the tests of the pages: an engine whose answers are made up, over a bank of few sounds; a browser."""

import os
import shutil
import sys
from pathlib import Path

import pytest
import streamlit as st
from browser_support import FLAGS, made_up_app, serve
from fakes import FakeEngine
from media import chirps, encode
from pages_support import LABELS, RATE, visit
from playwright.sync_api import sync_playwright

from afcore import paths
from afcore.engine.loading import MODELS
from afcore.retrieval.bank import Bank
from pages import common


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve sounds, four of each label, as ``Bank.from_folder`` takes them."""
    top = tmp_path_factory.mktemp("sounds")
    for number, label in enumerate(LABELS * 4):
        (top / label).mkdir(exist_ok=True)
        name = f"{label} {'abcd'[number // 3]}.wav"
        (top / label / name).write_bytes(encode(chirps(1.0, RATE, seed=number), RATE))
    return top


@pytest.fixture
def engine(folder, monkeypatch):
    """What the pages get instead of mini."""
    monkeypatch.setattr(paths, "DATA", folder.with_name(f"{folder.name}-data"))  # of this module alone
    bank = Bank.from_folder(folder)
    fake = FakeEngine(bank)
    monkeypatch.setitem(MODELS, "mini", lambda device, dtype, progress: fake)
    monkeypatch.setattr(common, "_shipped_bank", lambda: bank)
    st.cache_resource.clear()
    st.cache_data.clear()
    yield fake
    st.cache_resource.clear()


@pytest.fixture
def app(engine):
    """One browser session on its first page."""
    return visit()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The app on a free port."""
    with serve([sys.executable, "-m", "streamlit"], tmp_path_factory.mktemp("server") / "log") as url:
        yield url


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    """The app over an engine without a model, whose answers take five minutes."""
    with made_up_app(tmp_path_factory.mktemp("made-up")) as url:
        yield url


@pytest.fixture(scope="module")
def chromium():
    """Debian's Chromium (CHROMIUM names another); Playwright's own where there is one instead."""
    named = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        found = named or playwright.chromium.executable_path
        if not Path(found).exists():
            pytest.fail(
                "The browser test needs Chromium: run `apt-get install chromium`, or name one with CHROMIUM=.", False
            )
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()
