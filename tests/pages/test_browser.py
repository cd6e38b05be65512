"""The real app in a real Chromium: a clip is uploaded, its windows and neighbours are seen, a question is answered."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from media import chirps, encode
from playwright.sync_api import Locator, Page, expect, sync_playwright

from afcore import paths
from afcore.retrieval.bank import Bank

ROOT = Path(__file__).resolve().parents[2]
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
    "user_agent": "Mozilla/5.0 (Linux; Android 15; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile "
    "Safari/537.36",
}
NARROW = {"viewport": {"width": 390, "height": 844}}  # a small window on a desktop

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The app on a free port."""
    with _serve([sys.executable, "-m", "streamlit"], tmp_path_factory.mktemp("server") / "log") as url:
        yield url


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    """The app over an engine without a model, whose answers take five minutes."""
    with _made_up(tmp_path_factory.mktemp("made-up")) as url:
        yield url


@contextlib.contextmanager
def _made_up(folder: Path, **more: str) -> Iterator[str]:
    for seed, label in enumerate(("bell", "rain")):
        (folder / label).mkdir()
        (folder / label / f"{label}.wav").write_bytes(encode(chirps(1.0, 16_000, seed), 16_000))
    command = [sys.executable, "tests/fakes.py", str(folder), str(LENGTH)]
    with _serve(command, folder / "log", AFCORE_DATA=str(folder / "data"), **more) as url:
        yield url


@contextlib.contextmanager
def _serve(streamlit: list[str], log: Path, **more: str) -> Iterator[str]:
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


@pytest.fixture
def clip(tmp_path) -> Path:
    """A real sound from the bank, under a name of its own; longer than a window, so that there is more than one."""
    bank = Bank(paths.BANK)
    longest = max(bank.examples(), key=lambda example: example.seconds)
    assert longest.seconds > 7.5
    file = tmp_path / "my recording.ogg"
    shutil.copy(bank.audio_path(longest.id), file)
    return file


def _go(page: Page, name: str) -> None:
    narrow = page.viewport_size["width"] < 768
    if narrow:
        page.get_by_test_id("stExpandSidebarButton").click()
    page.get_by_test_id("stSidebarNav").get_by_text(name, exact=True).click()
    _shown(page.get_by_role("heading", name=name, exact=True))
    if narrow:  # the sidebar has gone again, and with it what covered the page
        _shown(page.get_by_test_id("stExpandSidebarButton"))


def _shown(locator: Locator) -> None:
    """``locator`` comes to stand on the page, and once. While Streamlit draws anew, what stood there may for a moment stand
    beside what takes its place: then ``expect(locator).to_be_visible()`` does not wait but fails."""
    expect(locator).to_have_count(1)
    expect(locator.first).to_be_visible()


def _settled(page: Page) -> None:
    page.wait_for_timeout(1000)  # what was clicked must have reached the server
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]', timeout=PATIENCE)


def _fits(page: Page) -> None:
    """The page does not scroll sideways."""
    wide = page.evaluate(
        "(document.querySelector('[data-testid=stMain], [data-testid=stAppScrollToBottomContainer]')"
        " ?? document.documentElement).scrollWidth"
    )
    assert wide <= page.viewport_size["width"], f"{page.title()} is {wide} px wide"


@pytest.mark.parametrize("screen", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_clip_is_uploaded_heard_compared_and_asked_about(address, chromium, clip, screen):
    context = chromium.new_context(**screen)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    outside: list[str] = []
    page.on("request", lambda request: outside.append(request.url) if not _local(request.url, address) else None)
    expect.set_options(timeout=PATIENCE)

    page.goto(address)
    page.locator('input[type="file"]').first.set_input_files(clip)

    # Windows: the figure is there and numbers at least two of them; then tags and a sentence.
    waveform = page.locator(".st-key-waveform .js-plotly-plot")
    _shown(waveform)
    expect(waveform.get_by_text("2", exact=True).first).to_be_attached()
    _shown(page.locator(".st-key-tags .js-plotly-plot"))
    _settled(page)
    assert len(page.locator(".st-key-caption").inner_text().split()) > 3
    _fits(page)

    _go(page, "Retrieve")
    cards = page.locator("[class*='st-key-card-']")
    expect(cards).to_have_count(4)
    _shown(cards.first.locator("audio"))
    _shown(cards.first.get_by_text("Similarity"))
    _settled(page)
    _fits(page)

    _go(page, "Chat")
    box = page.get_by_placeholder("Ask about this sound")
    box.fill("What do you hear?")
    if screen is PHONE:  # Enter is a new line there
        page.get_by_test_id("stChatInputSubmitButton").tap()
    else:
        box.press("Enter")
    answer = page.get_by_test_id("stChatMessage").nth(1)
    _shown(answer)
    _settled(page)
    _shown(page.get_by_text("What do you hear?", exact=True))
    # Its words alone: what the message also shows, an icon's name for instance ("smart_toy"), would pass for an answer. Mini
    # may name a sound in one word.
    said = answer.get_by_test_id("stMarkdownContainer").first.inner_text().strip()
    assert re.fullmatch(r"[A-Za-z][A-Za-z ,.'-]{2,}", said), said
    assert answer.get_by_role("alert").count() == 0, answer.inner_text()
    _fits(page)

    # Another page and back: the chat is still there.
    _go(page, "About")
    _settled(page)
    _fits(page)
    _go(page, "Chat")
    expect(page.get_by_test_id("stChatMessage").nth(1)).to_contain_text(said)
    assert outside == [], "a page that promises to keep audio here asks nobody else for anything"
    context.close()


def test_stop_queue_and_page_switches_in_mid_answer(made_up, chromium):
    """Two people, one model: over made-up answers that take long enough to click in."""
    expect.set_options(timeout=PATIENCE)
    one, two = _chat(chromium, made_up), _chat(chromium, made_up, **NARROW)
    _ask(one, "First question")
    expect(one.get_by_test_id("stChatMessage").nth(1)).to_contain_text("word1")
    _ask(two, "Second question")
    _shown(two.get_by_text("1 person is ahead of you."))

    one.get_by_role("button", name="Stop").click()
    _shown(one.get_by_text("Stopped"))
    kept = one.get_by_test_id("stChatMessage").nth(1).inner_text()
    assert "word1" in kept and f"word{LENGTH - 1}" not in kept

    expect(two.get_by_test_id("stChatMessage").nth(1)).to_contain_text("word2")
    _go(two, "About")
    _go(two, "Chat")
    expect(two.get_by_test_id("stChatMessage").nth(1)).to_contain_text("word0 word1 word2")
    two.get_by_role("button", name="Stop").click()
    _shown(two.get_by_text("Stopped"))
    assert one.get_by_test_id("stChatMessage").nth(1).inner_text() == kept  # nothing came after the stop
    for page in (one, two):
        page.context.close()


def test_a_recording_arrives(made_up, chromium):
    if not (shutil.which("ffmpeg") and shutil.which("ffprobe")):
        pytest.skip("streamlit-audiorecorder needs ffmpeg on PATH (apt-get install ffmpeg)")
    page = _recorder(chromium, made_up)
    recorder = page.frame_locator('iframe[title*="audiorecorder"]')
    recorder.get_by_role("button", name="Record").click()
    _hears(page, lambda: recorder.get_by_role("button", name="Stop").click())


def test_a_recording_arrives_without_ffmpeg_and_from_elsewhere_the_page_says_what_browsers_refuse(chromium, tmp_path):
    with _made_up(tmp_path, PATH=str(tmp_path)) as url:
        page = _recorder(chromium, url)
        _shown(page.get_by_text("ffmpeg, which streamlit-audiorecorder needs, is not installed here"))
        recorder = page.get_by_test_id("stAudioInput")
        recorder.get_by_role("button", name="Record").click()
        _hears(page, lambda: recorder.get_by_role("button", name="Stop").click())

        page = _recorder(chromium, url.replace("127.0.0.1", "elsewhere.example"))
        _shown(page.get_by_text("Browsers allow the microphone only on https pages"))
        page.context.close()


def _recorder(chromium, address: str) -> Page:
    expect.set_options(timeout=PATIENCE)
    page = chromium.new_context(permissions=["microphone"], **DESKTOP).new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    page.get_by_role("tab", name="Record").click()
    return page


def _hears(page: Page, stop: Callable[[], None]) -> None:
    """A second and a half of the microphone becomes the session's sound."""
    page.wait_for_timeout(1500)
    stop()
    _shown(page.get_by_role("heading", name="Recording.wav"))
    [seconds] = re.findall(r"([\d.]+) s · ", page.get_by_test_id("stMain").inner_text())
    assert 1 < float(seconds) < 60
    assert page.get_by_text("silent").count() == 0  # the beeps are in it
    page.context.close()


def _chat(chromium, address: str, **screen) -> Page:
    page = chromium.new_context(**(screen or DESKTOP)).new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    expect(page.get_by_test_id("stSidebar").get_by_text("mini is ready")).to_be_attached()
    page.locator(".st-key-examples").get_by_role("button").first.click()
    _shown(page.get_by_role("heading", name="What the model hears"))
    _go(page, "Chat")
    _shown(page.get_by_text("Some questions to begin with"))  # it has been heard
    return page


def _ask(page: Page, question: str) -> None:
    box = page.get_by_placeholder("Ask about this sound")
    box.fill(question)
    box.press("Enter")


def _local(url: str, address: str) -> bool:
    return url.startswith((address, address.replace("http", "ws", 1), "data:", "blob:"))
