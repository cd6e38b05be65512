"""The pictures of docs/tour.md: the guided tour, done in the real app in a real browser.

    .venv/bin/python -m scripts.tour [--out docs/tour]

Needs requirements-dev.txt and a Chromium, as `make test`.
"""

import argparse
import os
import shutil
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, ViewportSize, sync_playwright

from afcore.teach.project import Project
from scripts.screenshots import PATIENCE, QUIET, REPOSITORY, app, settled

SIZE: ViewportSize = {"width": 1280, "height": 860}
SHOWN = 880  # px wide in the document


def picture(page: Page, out: Path, name: str, at: str | None = None) -> None:
    """What one sees, from the element ``at`` on, as a small WebP."""
    if at is not None:
        page.locator(at).first.evaluate("element => element.scrollIntoView({block: 'start'})")
        page.get_by_test_id("stMain").evaluate("main => main.scrollBy(0, -80)")  # from under the page's bar
    page.wait_for_timeout(1500)  # figures are drawn anew
    shot = Image.open(BytesIO(page.screenshot()))
    shot.resize((SHOWN, round(shot.height * SHOWN / shot.width))).convert("RGB").save(
        out / f"{name}.webp", quality=72, method=6
    )
    print(out / f"{name}.webp", flush=True)


def hear(page: Page, address: str, out: Path) -> None:
    """An example is heard."""
    page.goto(address)
    page.locator(".st-key-examples button").first.wait_for()
    picture(page, out, "1-begin")
    page.locator(".st-key-examples").get_by_role("button", name="Dog barking").click()
    page.locator(".st-key-tags .js-plotly-plot").wait_for()
    settled(page)
    picture(page, out, "2-hear")


def examples(page: Page, out: Path) -> None:
    """Similar sounds, and what they change."""
    page.get_by_test_id("stSidebarNav").get_by_role("link", name="Retrieve").click()
    page.get_by_role("heading", name="Similar examples").wait_for()
    settled(page)
    picture(page, out, "3-examples", "h2:has-text('Similar examples')")
    page.get_by_role("textbox", name="Labels to choose from (optional)").fill("dog, wolf, cow, rain")
    page.get_by_role("textbox", name="Labels to choose from (optional)").press("Enter")
    settled(page)
    page.get_by_role("button", name="Compare").click()
    page.locator(".st-key-answer-2 h3").wait_for()
    settled(page)
    picture(page, out, "4-compare", "h3:has-text('How probable each label is')")


def teach(page: Page, projects: Path, out: Path) -> None:
    """The tutorial, each clip labelled as it truly is, and the proof."""
    page.get_by_test_id("stSidebarNav").get_by_role("link", name="Teach").click()
    page.get_by_label("Your name", exact=True).fill("Mara")
    page.get_by_label("Your name").press("Enter")
    page.locator(".st-key-teach-name").wait_for(state="detached")
    page.get_by_role("button", name="Try the tutorial project").click()
    page.get_by_text("12 left").wait_for()
    [folder] = [file.parent for file in projects.glob("*/project.sqlite")]
    project = Project(folder)
    labels = [label.name for label in project.labels]
    last = ""
    for left in range(12, 0, -1):
        page.get_by_text(f"{left} left").wait_for()
        page.wait_for_function(
            "last => [...document.querySelectorAll('.st-key-teach-card h2')].length === 1"
            " && document.querySelector('.st-key-teach-card h2').innerText !== last",
            arg=last,
        )
        last = page.locator(".st-key-teach-card h2").inner_text()
        if left == 12:
            page.get_by_text("All predictions are up to date.").wait_for()
            picture(page, out, "5-teach")
        item = project.item(int(last.split()[-1]))
        page.keyboard.press(str(1 + labels.index(item.truth or "")))
    page.get_by_role("button", name="See what your labels brought").click()
    page.locator(".st-key-teach-accuracy .js-plotly-plot").wait_for(timeout=5 * PATIENCE)  # on a busy machine
    settled(page)
    picture(page, out, "6-proof", ".st-key-teach-bar")
    project.close()


def main() -> None:
    """Take the tour."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs" / "tour")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        projects = Path(folder, "projects")
        found = os.environ.get("CHROMIUM") or shutil.which("chromium") or playwright.chromium.executable_path
        browser = playwright.chromium.launch(executable_path=found, args=list(QUIET))
        with app(projects) as address:
            page = browser.new_page(viewport=SIZE)
            page.set_default_timeout(2 * PATIENCE)
            hear(page, address, out)
            examples(page, out)
            teach(page, projects, out)
        browser.close()


if __name__ == "__main__":
    main()
