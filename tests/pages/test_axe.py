"""axe-core finds nothing serious on any page, light on a desktop and dark on a phone; text and focus are to be seen."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser_support import DESKTOP, NARROW, PATIENCE, go, made_up_app, settled, shown
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

PASSWORD = "open sesame"  # with one there is a page more
STREAMLITS_OWN = ("[data-testid=stSidebarNav]", "iframe[title*=audiorecorder]")
"""What we cannot change: Streamlit's menu, whose groups stand between the list and its items; the recorder's frame."""
FAINT = """
() => {
  const brightness = colour => {
    const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map(Number)
      .map(v => colour.startsWith('color(') ? v : v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const under = brightness(getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor);
  const texts = [...document.querySelectorAll('.js-plotly-plot :is(.xtick, .ytick, .infolayer) text')];
  return texts.filter(text => {
    const [low, high] = [under, brightness(getComputedStyle(text).fill)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05) < 4.5;
  }).map(text => `${text.textContent} ${getComputedStyle(text).fill}`);
}
"""
"""The words of the figures whose contrast is too small. axe-core does not look at words in pictures."""


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    """The app over an engine without a model, behind a password."""
    with made_up_app(tmp_path_factory.mktemp("locked"), AFCORE_PASSWORD=PASSWORD) as url:
        yield url


@pytest.mark.parametrize(("screen", "scheme"), [(DESKTOP, "light"), (NARROW, "dark")])
def test_no_page_has_a_serious_finding(locked, chromium, screen, scheme):
    page, found = _visit(chromium, locked, screen, scheme), []
    found += _findings(page, "Password")
    page.get_by_label("Password of this server").fill(PASSWORD)
    page.get_by_role("button", name="Come in").click()
    page.locator(".st-key-examples").get_by_role("button").first.wait_for()
    found += _findings(page, "Listen, without a sound")
    page.locator(".st-key-examples").get_by_role("button").first.click()
    shown(page.locator(".st-key-tags .js-plotly-plot"))
    found += _findings(page, "Listen")
    page.get_by_role("button", name="Share").first.click()
    found += _findings(page, "Share")
    page.keyboard.press("Escape")
    for name in ("Retrieve", "Chat", "Fine-tune", "Compare", "Model card", "About", "Server", "Teach"):
        go(page, name)
        found += _findings(page, name)
    page.get_by_label("Your name").fill("Mara")
    page.get_by_label("Your name").press("Enter")
    expect(page.locator(".st-key-teach-name")).to_have_count(0)
    page.get_by_label("Name", exact=True).fill(f"Bells {scheme}")
    page.get_by_role("textbox", name="Labels, one a line").fill("bell\nrain")
    page.get_by_role("button", name="Make the project").click()
    shown(page.get_by_role("heading", name="1. Labels"))
    found += _findings(page, "Teach, a project")
    page.context.close()
    assert not found, "\n".join(found)


def test_whoever_goes_by_keyboard_sees_where_they_are(locked, chromium):
    page = _visit(chromium, locked, DESKTOP, "light")
    page.get_by_label("Password of this server").focus()
    page.keyboard.press("Tab")  # to what shows the password
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Come in")).to_be_focused()
    style, width = page.evaluate(
        "(s => [s.outlineStyle, parseFloat(s.outlineWidth)])(getComputedStyle(document.activeElement))"
    )
    assert style == "solid" and width >= 2
    page.context.close()


def _visit(chromium, address: str, screen: dict, scheme: str) -> Page:
    expect.set_options(timeout=PATIENCE)
    page = chromium.new_context(**screen, color_scheme=scheme).new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    shown(page.get_by_label("Password of this server"))
    return page


def _findings(page: Page, name: str) -> list[str]:
    """What is serious, and headings that leave a level out."""
    settled(page)
    context = {"exclude": [[place] for place in STREAMLITS_OWN]}
    broken = Axe().run(page, context=context).response["violations"]
    return [f"{name}: too pale: {text}" for text in page.evaluate(FAINT)] + [
        f"{name}: {one['id']}: {node['html'][:200]} {node.get('failureSummary', '')[:300]}"
        for one in broken
        if one["impact"] in ("serious", "critical") or one["id"] == "heading-order"
        for node in one["nodes"][:4]
    ]
