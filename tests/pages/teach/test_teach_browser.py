"""The Teach page's tutorial in a real Chromium with the real mini: from an empty folder to the gain and a CSV."""

import csv
import re
import sys
from contextlib import contextmanager

import pytest
from browser_support import PATIENCE, PHONE, fits, go, local, serve, settled, shown
from playwright.sync_api import Locator, Page, expect

from afcore.app.teach_session import PROOF, TABS
from afcore.teach.project import Project
from afcore.teach.tutorial import CLASSES, GIVEN, QUEUED
from scripts.screenshots import CLIPS_ON_CARD

pytestmark = pytest.mark.browser

CLIPS = QUEUED * len(CLASSES)
PAUSED = "document.querySelector('.st-key-teach-player audio').paused"


def test_the_tutorial_from_an_empty_folder_to_a_csv(chromium, tmp_path):
    projects = tmp_path / "projects"
    with serve([sys.executable, "-m", "streamlit"], tmp_path / "log", AFCORE_PROJECTS=str(projects)) as address:
        context = chromium.new_context(viewport={"width": 1280, "height": 900})
        context.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        page, outside = context.new_page(), []
        page.on("request", lambda request: None if local(request.url, address) else outside.append(request.url))
        page.goto(address)
        go(page, "Teach")
        page.get_by_label("Your name").fill("Mara")
        page.get_by_label("Your name").press("Enter")
        expect(page.locator(".st-key-teach-name")).to_have_count(0)
        page.get_by_role("button", name="Try the tutorial project").click()
        shown(page.get_by_text(f"{CLIPS} left"))
        [folder] = [file.parent for file in projects.glob("*/project.sqlite")]
        project = Project(folder)

        first = _clip(page)
        _space(page)
        assert project.item(first).label is None
        _key_amid_two_clips(page)
        expect(_heading(page, first)).to_have_count(0)
        assert project.item(first).label == next(iter(CLASSES)) and _clip(page) != first
        _undo_amid_two_clips(page)
        shown(_heading(page, first))
        assert project.item(first).label is None

        last = 0
        for left in range(CLIPS, 0, -1):
            shown(page.get_by_text(f"{left} left"))
            expect(_heading(page, last)).to_have_count(0)
            last = _clip(page)  # a key counts for the clip that is named, also amid buttons of another
            truth = project.item(last).truth
            page.keyboard.press(str(1 + list(CLASSES).index(truth)))
        shown(page.get_by_text("Every clip has been judged"))

        # What was said is saved, and the browser knows its reviewer: a new tab finds both.
        again = context.new_page()
        again.goto(page.url)
        shown(again.get_by_text("Every clip has been judged").or_(again.get_by_text("16 examples")))
        again.close()

        page.get_by_role("button", name="See what your labels brought").click()
        shown(page.get_by_text("Suggested:"))
        settled(page)
        shares = [int(text.rstrip("%")) for text in page.get_by_test_id("stMetricValue").all_inner_texts()]
        assert len(shares) == 3 and shares[1] >= 75 and shares[1] > shares[0], (
            "the labels are a house's own words, so that it is the examples that teach them"
        )
        page.get_by_role("tab", name="Export").click()
        with page.expect_download() as download:
            page.get_by_role("button", name="CSV", exact=True).click()
        with download.value.path().open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == (GIVEN + QUEUED) * len(CLASSES) and {row["by"] for row in rows} == {"Mara"}
        assert {row["label"] for row in rows} == set(CLASSES)
        assert outside == []
        _fits_a_phone(chromium, page.url)
        project.close()
        context.close()


def _fits_a_phone(chromium, url: str) -> None:
    """No tab of the project at ``url`` scrolls sideways, the figures of the proof included."""
    context = chromium.new_context(**PHONE)
    context.set_default_timeout(PATIENCE)
    context.add_cookies([{"name": "reviewer", "value": "Mara", "url": url}])
    page = context.new_page()
    page.goto(url)
    for tab in TABS:
        page.get_by_role("tab", name=tab).click()
        settled(page)
        if tab == PROOF:
            page.get_by_role("button", name="Start the test").click()
            shown(page.locator(".st-key-teach-confusion .js-plotly-plot"))
            settled(page)
        fits(page)
    context.close()


def _heading(page: Page, clip: int) -> Locator:
    """What stands over the card when it shows ``clip``."""
    return page.get_by_role("heading", name=f"Clip {clip}", exact=True)


def _clip(page: Page) -> int:
    """The number of the clip on the card."""
    heading = page.get_by_role("heading", name=re.compile(r"^Clip \d+$"))
    shown(heading)
    return int(re.fullmatch(r"Clip (\d+)", heading.inner_text())[1])


def _key_amid_two_clips(page: Page) -> None:
    """While a part of another clip still stands on the card, a key judges the one whose name is over it, and is not
    lost."""
    with _stray(page):
        page.keyboard.press("1")
        shown(page.get_by_text(f"{CLIPS - 1} left"))


def _undo_amid_two_clips(page: Page) -> None:
    """To undo is no judgement of a clip on the card: it takes the last one back."""
    with _stray(page):
        page.keyboard.press("u")
        shown(page.get_by_text(f"{CLIPS} left"))


@contextmanager
def _stray(page: Page):
    """A part of another clip stands on the card."""
    before = page.evaluate(CLIPS_ON_CARD)
    page.evaluate("""document.querySelector('.st-key-teach-card').insertAdjacentHTML(
        'beforeend', '<i id=stray class=st-key-teach-clip-0-0-label-0></i>')""")
    assert page.evaluate(CLIPS_ON_CARD) == before + 1
    yield
    page.evaluate("document.getElementById('stray')?.remove()")


def _space(page: Page) -> None:
    """The space bar plays and pauses, also where a button has the focus."""
    settled(page)
    shown(page.locator(".st-key-teach-player audio"))
    page.locator(".st-key-teach-labels button").first.focus()
    assert page.evaluate(PAUSED)
    page.keyboard.press("Space")
    page.wait_for_function(f"!{PAUSED}")
    page.keyboard.press("Space")
    page.wait_for_function(PAUSED)
    shown(page.get_by_text(f"{CLIPS} left"))
