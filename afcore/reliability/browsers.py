"""The same as `afcore.reliability.soak` through real browsers: the app as it is served, a window of Chromium for each
person."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from afcore import paths
from afcore.errors import MissingPart
from afcore.reliability.soak import GROWTH, QUESTIONS, STOP

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 600.0  # seconds for anything, on a machine that is busy
IDLE = 20.0  # per cent of a core below which the server does nothing
FLAGS = ("--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu")


def soak(sessions: int, rounds: int, progress: Callable[[str], None] = lambda said: None) -> dict[str, Any]:
    """``rounds`` questions in all, asked in ``sessions`` windows at once; every third answer is stopped.

    Returns figures and what broke. Raises MissingPart without Playwright or Chromium.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise MissingPart("Real browsers need Playwright: `make test` installs it.") from error
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    memory: list[float] = []
    stops: list[float] = []
    failed: list[str] = []
    begun, done = time.perf_counter(), 0
    with _served() as (address, server), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        contexts = [browser.new_context() for _ in range(sessions)]
        pages = [context.new_page() for context in contexts]
        for page in pages:
            page.set_default_timeout(PATIENCE * 1000)
            page.on("pageerror", lambda error: failed.append(f"in the browser: {error}"))
            _begin(page, address)
        while done < rounds:
            asked = pages[: rounds - done]
            for page in asked:
                _ask(page, QUESTIONS[done % len(QUESTIONS)])
            for number, page in enumerate(asked):
                if number % 3 == 0:
                    stops += _stop(page)
                _ended(page)
                failed += page.get_by_test_id("stAlertContentError").all_inner_texts()
                done += 1
                memory.append(server.memory_info().rss / 2**20)
            progress(f"{done} rounds, {memory[-1]:.0f} MB")
        for page in pages:
            _ask(page, QUESTIONS[-1])
        closed = time.perf_counter()
        for context in contexts:
            context.close()
        freed = _idle(server, closed)
        browser.close()
    tenth = max(1, len(memory) // 10)
    early, late = float(np.median(memory[:tenth])), float(np.median(memory[-tenth:]))
    growth = 100 * (late - early) / early
    slow = [f"a stop took {seconds:.2f} s" for seconds in stops if seconds > STOP]
    grown = [f"memory grew by {growth:.1f} %"] if growth > GROWTH else []
    kept = [] if freed is not None else ["closed tabs kept the server busy"]
    return {
        "browsers": sessions,
        "rounds": done,
        "seconds": round(time.perf_counter() - begun, 1),
        "memory at first, MB": round(early),
        "memory at the end, MB": round(late),
        "growth, %": round(growth, 1),
        "stops": len(stops),
        "median stop, s": round(float(np.median(stops)), 2) if stops else None,
        "slowest stop, s": round(max(stops), 2) if stops else None,
        "idle after closing all tabs, s": freed,
        "failed": failed,
        "broken": [*failed, *slow, *grown, *kept],
    }


def _begin(page: Page, address: str) -> None:
    """A visitor who has chosen a sound and gone to the chat."""
    page.goto(address)
    page.locator(".st-key-examples button").first.click()
    page.get_by_role("heading", name="What the model hears").wait_for()
    page.get_by_test_id("stSidebarNav").get_by_role("link", name="Chat").click()
    page.get_by_test_id("stChatInputTextArea").wait_for()


def _ask(page: Page, question: str) -> None:
    box = page.get_by_test_id("stChatInputTextArea")
    box.fill(question)
    box.press("Enter")


def _stop(page: Page) -> list[float]:
    """Seconds from the click to the answer's end; none where the answer was faster."""
    button = page.get_by_role("button", name="Stop", exact=True)
    try:
        button.click(timeout=1000)
    except Exception:  # Playwright's own: there is no such button any more
        return []
    clicked = time.perf_counter()
    button.wait_for(state="detached")
    return [time.perf_counter() - clicked]


def _ended(page: Page) -> None:
    page.get_by_role("button", name="Stop", exact=True).wait_for(state="detached")
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')


def _idle(server: psutil.Process, since: float) -> float | None:
    """Seconds since ``since`` until the server does nothing; None where it goes on."""
    server.cpu_percent()
    while time.perf_counter() - since < PATIENCE:
        time.sleep(0.5)
        if server.cpu_percent() < IDLE:
            return round(time.perf_counter() - since, 1)
    return None


@contextmanager
def _served() -> Iterator[tuple[str, psutil.Process]]:
    """The app's address, and its process; its data in a folder that goes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as made:
        data = Path(made)
        if (paths.DATA / "mini-lm").exists():
            (data / "mini-lm").symlink_to((paths.DATA / "mini-lm").resolve())
        command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
        command += ["--server.address", "127.0.0.1", "--server.headless", "true"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "AFCORE_DATA": made, "AFCORE_PASSWORD": ""}
        with (data / "log").open("w") as log:
            server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            until = time.monotonic() + PATIENCE
            while not _answers(f"http://127.0.0.1:{port}/_stcore/health"):
                if server.poll() is not None or time.monotonic() > until:
                    raise MissingPart(f"The app did not start: {(data / 'log').read_text()[-300:]}")
                time.sleep(0.3)
            yield f"http://127.0.0.1:{port}", psutil.Process(server.pid)
        finally:
            server.terminate()
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
