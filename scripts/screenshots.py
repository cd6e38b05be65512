"""Every picture in the README and in docs: starts the real app, lets a real clip be heard, and photographs each page.

    .venv/bin/python scripts/screenshots.py [SOUND] [--out docs/screenshots] [--dark] [--only-teach]

Without SOUND the first example on the Listen page is taken. Needs requirements-dev.txt and a Chromium, as `make test`.
"""

import argparse
import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

REPOSITORY = Path(__file__).resolve().parent.parent
PATIENCE = 180_000  # ms, for a slow machine's first load of the model
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDTH = 1280  # px
CLIPS_ON_CARD = """new Set([...document.querySelectorAll('.st-key-teach-card [class*="st-key-teach-clip-"]')]
    .map(e => /st-key-teach-clip-(\\d+-\\d+)/.exec(e.className)[1])).size"""


@contextlib.contextmanager
def app(projects: Path) -> Iterator[str]:
    """The app on a free port with its projects in a folder of their own; gives its address, ends it afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "streamlit",
            "run",
            "app.py",
            "--server.port",
            str(port),
            "--server.address",
            "127.0.0.1",
            "--server.headless",
            "true",
        ],
        cwd=REPOSITORY,
        env={**os.environ, "AFCORE_PROJECTS": str(projects)},
    )
    try:
        for _ in range(120):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2).close()
                break
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def settled(page: Page) -> None:
    """Wait until the page has been drawn to its end, answers included: at rest for three seconds on end."""
    at_rest = 0
    while at_rest < 6:
        page.wait_for_timeout(500)
        state = page.locator('[data-testid="stApp"]').get_attribute("data-test-script-state")
        busy = state != "notRunning" or page.get_by_role("button", name=re.compile(r"\bStop$")).count()
        at_rest = 0 if busy else at_rest + 1


def shoot(page: Page, name: str, out: Path, highest: int = 2600) -> None:
    """One picture, as high as the page is, but at most ``highest`` pixels."""
    height = page.locator('[data-testid="stMainBlockContainer"]').evaluate("box => box.scrollHeight")
    page.set_viewport_size({"width": WIDTH, "height": min(max(height, 800), highest)})
    page.wait_for_timeout(1500)  # figures are drawn anew
    page.screenshot(path=out / f"{name}.png")
    print(out / f"{name}.png", flush=True)
    page.set_viewport_size({"width": WIDTH, "height": 900})


def photograph(page: Page, address: str, sound: str | None, out: Path) -> None:
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    page.get_by_role("heading", name="Listen").wait_for()
    if sound:
        page.locator('input[type="file"]').first.set_input_files(sound)
    else:
        page.locator(".st-key-examples button").first.click()
    page.get_by_role("heading", name="What the model hears").wait_for()
    settled(page)
    shoot(page, "listen", out)

    page.get_by_role("link", name="Retrieve").first.click()
    page.get_by_role("heading", name="One question, three answers").wait_for()
    settled(page)
    labels = page.get_by_role("button", name="Use the examples' labels")
    if labels.count():
        labels.click()
        settled(page)
    page.get_by_role("button", name="Compare").click()
    page.locator(".st-key-answer-2 h3").wait_for()
    settled(page)
    shoot(page, "retrieve", out)

    page.get_by_role("link", name="Chat").first.click()
    for question in ("What do you hear?", "Where could this be?"):
        page.get_by_placeholder("Ask about this sound").fill(question)
        page.get_by_placeholder("Ask about this sound").press("Enter")
        settled(page)
    shoot(page, "chat", out)

    page.get_by_role("link", name="About").first.click()
    page.get_by_role("heading", name="About", exact=True).wait_for()
    settled(page)
    shoot(page, "about", out, 1200)


def teach(page: Page, address: str, projects: Path, out: Path) -> None:
    """The tutorial, each clip labelled as it truly is."""
    sys.path.insert(0, str(REPOSITORY))
    from afcore.teach.project import Project

    page.set_default_timeout(PATIENCE)
    page.goto(address)
    page.get_by_role("heading", name="Listen").wait_for()
    page.get_by_test_id("stSidebarNav").get_by_text("Teach", exact=True).click()
    page.get_by_role("heading", name="Teach", exact=True).wait_for()
    page.get_by_label("Your name").fill("Mara")
    page.get_by_label("Your name").press("Enter")
    page.locator(".st-key-teach-name").wait_for(state="detached")
    settled(page)
    page.get_by_role("button", name="Try the tutorial project").click()
    page.get_by_role("heading", name=re.compile(r"^Clip \d+$")).wait_for()
    [folder] = [file.parent for file in projects.glob("*/project.sqlite")]
    project = Project(folder)
    names = [label.name for label in project.labels]
    waiting, title = project.counts().open, "none yet"
    for left in range(waiting, 0, -1):
        page.get_by_text(f"{left} left").wait_for()
        page.get_by_role("heading", name=title, exact=True).wait_for(state="detached")
        page.wait_for_function(f"{CLIPS_ON_CARD} === 1")  # a key that is pressed amid two clips is for neither
        title = page.get_by_role("heading", name=re.compile(r"^Clip \d+$")).inner_text()
        if left == waiting - 5:
            page.get_by_text("All predictions are up to date.").wait_for()
            page.get_by_text("Why?").click()
            page.get_by_role("button", name="Work it out").click()
            page.locator(".st-key-teach-why-shots .js-plotly-plot").wait_for()
            settled(page)
            shoot(page, "teach-review", out)
        truth = project.item(int(title.split()[1])).truth
        assert truth is not None, "the tutorial knows it"
        page.keyboard.press(str(1 + names.index(truth)))
    page.get_by_role("button", name="See what your labels brought").click()
    page.get_by_text("Suggested:").wait_for()
    settled(page)
    shoot(page, "teach-proof", out)
    page.get_by_role("tab", name="Set up").click()
    settled(page)
    page.get_by_text(re.compile(rf"^{names[0]} \(\d+\)$")).first.click()
    settled(page)
    shoot(page, "teach-setup", out)
    project.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sound", nargs="?", help="a sound file; otherwise the first example")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs" / "screenshots")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--only-teach", action="store_true", help="leave the other pages' pictures as they are")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    projects = Path(tempfile.mkdtemp(prefix="projects-"))
    with app(projects) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        page = browser.new_page(
            color_scheme="dark" if options.dark else "light", viewport={"width": WIDTH, "height": 900}
        )
        if not options.only_teach:
            photograph(page, address, options.sound, options.out)
        teach(page, address, projects, options.out)
        browser.close()
    shutil.rmtree(projects)


if __name__ == "__main__":
    main()
