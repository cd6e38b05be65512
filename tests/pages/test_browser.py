"""The real app in a real Chromium: a clip is uploaded, its windows and neighbours are seen, a question is answered."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from browser_support import DESKTOP, LENGTH, NARROW, PATIENCE, PHONE, fits, go, local, made_up_app, settled, shown
from playwright.sync_api import Page, expect

from afcore import paths
from afcore.retrieval.bank import Bank

pytestmark = pytest.mark.browser


@pytest.fixture
def clip(tmp_path) -> Path:
    """A real sound from the bank, under a name of its own; longer than a window, so that there is more than one."""
    bank = Bank(paths.BANK)
    longest = max(bank.examples(), key=lambda example: example.seconds)
    assert longest.seconds > 7.5
    file = tmp_path / "my recording.ogg"
    shutil.copy(bank.audio_path(longest.id), file)
    return file


@pytest.mark.parametrize("screen", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_clip_is_uploaded_heard_compared_and_asked_about(address, chromium, clip, screen):
    context = chromium.new_context(**screen)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    outside: list[str] = []
    page.on("request", lambda request: outside.append(request.url) if not local(request.url, address) else None)
    expect.set_options(timeout=PATIENCE)

    page.goto(address)
    page.locator('input[type="file"]').first.set_input_files(clip)

    # Windows: the figure is there and numbers at least two of them; then tags and a sentence.
    waveform = page.locator(".st-key-waveform .js-plotly-plot")
    shown(waveform)
    expect(waveform.get_by_text("2", exact=True).first).to_be_attached()
    shown(page.locator(".st-key-tags .js-plotly-plot"))
    settled(page)
    assert len(page.locator(".st-key-caption").inner_text().split()) > 3
    fits(page)

    go(page, "Retrieve")
    cards = page.locator("[class*='st-key-card-']")
    expect(cards).to_have_count(4)
    shown(cards.first.locator("audio"))
    shown(cards.first.get_by_text("Similarity"))
    settled(page)
    fits(page)

    go(page, "Chat")
    box = page.get_by_placeholder("Ask about this sound")
    box.fill("What do you hear?")
    if screen is PHONE:  # Enter is a new line there
        page.get_by_test_id("stChatInputSubmitButton").tap()
    else:
        box.press("Enter")
    answer = page.get_by_test_id("stChatMessage").nth(1)
    shown(answer)
    settled(page)
    shown(page.get_by_text("What do you hear?", exact=True))
    # Its words alone: what the message also shows, an icon's name for instance ("smart_toy"), would pass for an
    # answer. Mini may name a sound in one word.
    said = answer.get_by_test_id("stMarkdownContainer").first.inner_text().strip()
    assert re.fullmatch(r"[A-Za-z][A-Za-z ,.'-]{2,}", said), said
    assert answer.get_by_role("alert").count() == 0, answer.inner_text()
    fits(page)

    # Another page and back: the chat is still there.
    go(page, "About")
    settled(page)
    fits(page)
    go(page, "Chat")
    expect(page.get_by_test_id("stChatMessage").nth(1)).to_contain_text(said)
    assert outside == [], "a page that promises to keep audio here asks nobody else for anything"
    context.close()


def test_a_page_is_whole_where_its_address_is_the_first_that_a_new_server_is_asked_for(chromium, tmp_path):
    expect.set_options(timeout=PATIENCE)
    with made_up_app(tmp_path) as url:
        page = chromium.new_context(**DESKTOP).new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(f"{url}/chat")
        shown(page.get_by_role("heading", name="Chat", exact=True))
        shown(page.get_by_role("heading", name="First, a sound"))
        shown(page.get_by_test_id("stSidebar").get_by_text("mini is ready"))
        expect(page.get_by_test_id("stSidebarNavLink")).to_have_count(8)
        page.get_by_role("link", name="Use my own sound").click()
        shown(page.get_by_role("heading", name="Listen", exact=True))
        page.context.close()


def test_a_figure_is_saved_as_png_or_svg(chromium, tmp_path):
    expect.set_options(timeout=PATIENCE)
    with made_up_app(tmp_path) as url:  # its own: the answer that is begun here would stand before others' in a queue
        page = chromium.new_context(**DESKTOP).new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(url)
        page.locator(".st-key-examples").get_by_role("button").first.click()
        shown(page.get_by_role("heading", name="What the model hears"))
        figure = page.locator(".st-key-waveform .js-plotly-plot")
        shown(figure)
        for ending, begins in (("png", b"\x89PNG"), ("svg", b"<svg")):
            if ending == "svg":
                page.get_by_test_id("stSidebar").get_by_text("Advanced").click()
                page.get_by_test_id("stSidebar").get_by_role("radio", name="SVG").click()
                page.wait_for_timeout(3000)  # the page is drawn to its end only when the answer is
            figure.hover()
            with page.expect_download() as saving:
                figure.locator(".modebar-btn").first.click()
            assert saving.value.suggested_filename == f"audio-flamingo-waveform.{ending}"
            assert Path(saving.value.path()).read_bytes().lstrip().startswith(begins)
        page.context.close()


def test_stop_queue_and_page_switches_in_mid_answer(made_up, chromium):
    """Two people, one model: over made-up answers that take long enough to click in."""
    expect.set_options(timeout=PATIENCE)
    one, two = _chat(chromium, made_up), _chat(chromium, made_up, **NARROW)
    _ask(one, "First question")
    expect(one.get_by_test_id("stChatMessage").nth(1)).to_contain_text("word1")
    _ask(two, "Second question")
    shown(two.get_by_text("1 person is ahead of you."))

    one.get_by_role("button", name="Stop").click()
    shown(one.get_by_text("Stopped"))
    settled(one)  # the Stop button goes when the page has been drawn to its end
    kept = one.get_by_test_id("stChatMessage").nth(1).inner_text()
    assert "word1" in kept and f"word{LENGTH - 1}" not in kept

    expect(two.get_by_test_id("stChatMessage").nth(1)).to_contain_text("word2")
    go(two, "About")
    go(two, "Chat")
    expect(two.get_by_test_id("stChatMessage").nth(1)).to_contain_text("word0 word1 word2")
    two.get_by_role("button", name="Stop").click()
    shown(two.get_by_text("Stopped"))
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
    with made_up_app(tmp_path, PATH=str(tmp_path)) as url:
        page = _recorder(chromium, url)
        shown(page.get_by_text("ffmpeg, which streamlit-audiorecorder needs, is not installed here"))
        recorder = page.get_by_test_id("stAudioInput")
        recorder.get_by_role("button", name="Record").click()
        _hears(page, lambda: recorder.get_by_role("button", name="Stop").click())

        page = _recorder(chromium, url.replace("127.0.0.1", "elsewhere.example"))
        shown(page.get_by_text("Browsers allow the microphone only on https pages"))
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
    shown(page.get_by_role("heading", name="Recording.wav"))
    [seconds] = re.findall(r"([\d.]+) s · ", page.get_by_test_id("stMain").inner_text())
    assert 0.3 < float(seconds) < 60  # on a busy machine the microphone starts late
    assert page.get_by_text("silent").count() == 0  # the beeps are in it
    page.context.close()


def _chat(chromium, address: str, **screen) -> Page:
    page = chromium.new_context(**(screen or DESKTOP)).new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    expect(page.get_by_test_id("stSidebar").get_by_text("mini is ready")).to_be_attached()
    page.locator(".st-key-examples").get_by_role("button").first.click()
    shown(page.get_by_role("heading", name="What the model hears"))
    go(page, "Chat")
    shown(page.get_by_text("Some questions to begin with"))  # it has been heard
    return page


def _ask(page: Page, question: str) -> None:
    box = page.get_by_placeholder("Ask about this sound")
    box.fill(question)
    box.press("Enter")
