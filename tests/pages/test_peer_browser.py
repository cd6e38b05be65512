"""Another audio model on Compare, in a real Chromium: a tiny random Qwen2-Audio answers beside the server's own."""

import sys

import pytest
import tiny_peers
from browser_support import DESKTOP, PATIENCE, fits, go, serve, settled, shown
from media import chirps, encode
from playwright.sync_api import expect

pytestmark = pytest.mark.browser
NAME = "hf:tiny/qwen2-audio"


@pytest.fixture
def with_peer(tmp_path):
    tiny_peers.in_cache(tmp_path / "hub", NAME.removeprefix("hf:"))
    for seed, label in enumerate(("bell", "rain")):
        (tmp_path / label).mkdir()
        (tmp_path / label / f"{label}.wav").write_bytes(encode(chirps(1.0, 16_000, seed), 16_000))
    command = [sys.executable, "tests/fakes.py", str(tmp_path), "3"]
    more = {"AFCORE_DATA": str(tmp_path / "data"), "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    with serve(command, tmp_path / "log", **more) as url:
        yield url


def test_a_peer_answers_on_compare(with_peer, chromium):
    expect.set_options(timeout=PATIENCE)
    page = chromium.new_context(**DESKTOP).new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(with_peer)
    page.locator(".st-key-examples").get_by_role("button").first.click()
    shown(page.get_by_role("heading", name="What the model hears"))
    go(page, "Compare")
    page.get_by_role("tab", name="Settings side by side").click()
    box = page.get_by_role("combobox", name="Model").nth(1)  # of column B; the sidebar's box is closed
    box.fill(NAME)
    page.keyboard.press("Enter")  # while its list is open, the box is no longer called by its label
    settled(page)
    page.get_by_role("button", name="Ask all columns").click()
    # A column's answer says how long its first token took; a model that could not be had says why instead.
    expect(page.get_by_text("First token after")).to_have_count(2)
    main = page.get_by_test_id("stMain")
    expect(main).to_contain_text("word0 word1 word2")
    expect(main).to_contain_text(f"B: {NAME}, 4 examples")
    assert main.get_by_role("alert").count() == 0
    fits(page)
    page.context.close()
