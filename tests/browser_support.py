"""What the tests with a real browser share: the app on a free port, screens, and waiting for what a page shows."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from media import chirps, encode
from playwright.sync_api import Locator, Page, expect

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 240_000  # ms; a busy machine with two cores loads the model in a minute or more
LENGTH = 1200  # words of a made-up answer, a quarter of a second each: long enough to click in on any machine
FLAGS = (
    "--no-sandbox",  # it refuses to run as root otherwise
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--use-fake-device-for-media-stream",  # a microphone that beeps
    "--use-fake-ui-for-media-stream",  # and may be used without asking
    "--host-resolver-rules=MAP elsewhere.example 127.0.0.1",  # a name by which this machine seems to be another
)
DESKTOP = {"viewport": {"width": 1280, "height": 900}}
PHONE = {
    "viewport": {"width": 390, "height": 844},
    "is_mobile": True,
    "has_touch": True,
    "user_agent": "Mozilla/5.0 (Linux; Android 15; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/140.0.0.0 Mobile Safari/537.36",
}
NARROW = {"viewport": {"width": 390, "height": 844}}  # a small window on a desktop


@contextlib.contextmanager
def made_up_app(folder: Path, **more: str) -> Iterator[str]:
    """The address of the app over an engine without a model and two sounds; ``more``: environment variables."""
    for seed, label in enumerate(("bell", "rain")):
        (folder / label).mkdir()
        (folder / label / f"{label}.wav").write_bytes(encode(chirps(1.0, 16_000, seed), 16_000))
    command = [sys.executable, "tests/fakes.py", str(folder), str(LENGTH)]
    with serve(command, folder / "log", AFCORE_DATA=str(folder / "data"), **more) as url:
        yield url


@contextlib.contextmanager
def serve(streamlit: list[str], log: Path, **more: str) -> Iterator[str]:
    """The address of the app, started by the command ``streamlit`` on a free port; ``more``: environment variables."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [*streamlit, "run", "app.py", "--server.headless", "true"]
    command += ["--server.address", "127.0.0.1", "--server.port", str(port)]
    with log.open("w") as out:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **more}
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + PATIENCE / 1000
        while not _answers(f"http://127.0.0.1:{port}/_stcore/health"):
            assert server.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.3)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(30)
        server.kill()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def go(page: Page, name: str) -> None:
    """Choose the page ``name`` in the menu, and wait for its title."""
    narrow = page.viewport_size["width"] < 768
    if narrow:
        page.get_by_test_id("stExpandSidebarButton").click()
    page.get_by_test_id("stSidebarNav").get_by_role("link", name=name).click()  # its group may be called so too
    shown(page.get_by_role("heading", name=name, exact=True))
    if narrow:  # the sidebar has gone again, and with it what covered the page
        shown(page.get_by_test_id("stExpandSidebarButton"))


def shown(locator: Locator) -> None:
    """Wait until ``locator`` stands on the page, and once.

    While Streamlit draws anew, what stood there may for a moment stand beside what takes its place: then
    ``expect(locator).to_be_visible()`` does not wait but fails.
    """
    expect(locator).to_have_count(1)
    expect(locator.first).to_be_visible()


def settled(page: Page) -> None:
    """Wait until the page has been drawn to its end."""
    page.wait_for_timeout(1000)  # what was clicked must have reached the server
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]', timeout=PATIENCE)


def fits(page: Page) -> None:
    """The page does not scroll sideways."""
    wide = page.evaluate(
        "(document.querySelector('[data-testid=stMain], [data-testid=stAppScrollToBottomContainer]')"
        " ?? document.documentElement).scrollWidth"
    )
    assert wide <= page.viewport_size["width"], f"{page.title()} is {wide} px wide"


def local(url: str, address: str) -> bool:
    """Whether a request for ``url`` goes to the app at ``address``, or nowhere at all."""
    return url.startswith((address, address.replace("http", "ws", 1), "data:", "blob:"))
