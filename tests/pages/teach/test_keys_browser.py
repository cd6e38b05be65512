"""Teach's review by keyboard in a real Chromium, on a server that is slow to draw: no key is lost or hits another."""

import sqlite3
from contextlib import closing

import pytest
from browser_support import DESKTOP, PATIENCE, made_up_app, settled, shown
from playwright.sync_api import expect
from teaching import sounds

from afcore.teach.ingest import add_files
from afcore.teach.project import Project
from afcore.teach.schema import Label
from afcore.teach.store import Store
from pages import teach_keys

pytestmark = pytest.mark.browser

PRESSES = 60
NOTE = """
window.pressed = [];
window.addEventListener('keydown', event => {
  const names = [...document.querySelectorAll('.st-key-teach-card h2')].map(name => name.textContent.trim());
  window.card = names.pop() ?? window.card;  // between two cards there may be no name for a moment
  window.pressed.push([window.card, event.key]);
}, true);
"""


CARD = f"""<div class="st-key-{teach_keys.CARD}"><h2 id="{teach_keys.OF_CLIP}7-1-{teach_keys.NAME}">A clip</h2>
<button onclick="window.clicked = true">dog</button></div>
<div id="old"><p></p></div><div id="new"><p></p></div>"""
BEGIN = """async script => {
  const { default: begin } = await import(URL.createObjectURL(new Blob([script], { type: 'text/javascript' })));
  window.sent = [];
  const data = { taken: 0, clip: [7, 1], meanings: { 1: ['label', 'dog'], 2: ['label', 'cat'], u: ['undo', null] } };
  window.listen = place => begin({ data, parentElement: document.getElementById(place),
    setStateValue: (name, log) => window.sent.push(log.map(press => press.label ?? press.meaning)) });
}"""


def test_a_key_that_is_pressed_while_streamlit_puts_the_listener_elsewhere_is_not_lost(chromium):
    """Streamlit may take the element away and bring it back, and may take the old one away after the new one came."""
    page = chromium.new_page()
    page.set_content(CARD)
    page.evaluate(BEGIN, teach_keys.SCRIPT)
    page.evaluate("void (window.gone = listen('old'))")
    page.keyboard.press("1")
    assert page.evaluate("sent") == [["dog"]]
    page.evaluate("gone()")
    page.keyboard.press("2")
    assert page.evaluate("sent") == [["dog"]], "nobody could send it"
    page.locator("button").focus()
    page.keyboard.press("Space")
    assert page.evaluate("window.clicked") is None, "it belongs to the player, which is not there yet either"
    page.evaluate("void (window.gone = listen('new'))")
    assert page.evaluate("sent") == [["dog"], ["dog", "cat"]]
    page.evaluate("const old = gone; window.gone = listen('old'); old()")
    page.keyboard.press("u")
    assert page.evaluate("sent.at(-1)") == ["dog", "cat", "undo"]
    # Where no card is, another page is shown: its keys mean nothing here.
    page.evaluate("gone(); document.querySelector('[class^=st-key]').remove()")
    page.keyboard.press("1")
    page.evaluate("void listen('new')")
    assert page.evaluate("sent.length") == 3
    page.close()


def _project(folder, clips: int) -> Project:
    store = Store(folder)
    project = store.create("Animals", [Label("dog"), Label("cat")], "Mara")
    add_files(project, sounds(*(f"clip {n}.wav" for n in range(clips))), "Mara")
    return project


def test_sixty_fast_keys_on_a_slow_server_each_count_for_the_clip_that_was_shown(chromium, tmp_path):
    project = _project(tmp_path / "projects", PRESSES + 2)
    more = {"AFCORE_PROJECTS": str(tmp_path / "projects"), "FAKE_SLOW_REVIEW": "0.6"}
    (tmp_path / "app").mkdir()
    with made_up_app(tmp_path / "app", **more) as url:
        context = chromium.new_context(**DESKTOP)
        context.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        context.add_cookies([{"name": "reviewer", "value": "Mara", "url": url}])
        context.add_init_script(NOTE)
        page = context.new_page()
        page.goto(f"{url}/teach?project={project.id}")
        shown(page.get_by_text(f"{PRESSES + 2} left"))
        settled(page)
        for number in range(PRESSES):
            page.keyboard.press("120"[number % 3])
            page.wait_for_timeout(100)
        settled(page)
        pressed = page.evaluate("window.pressed")
        assert len(pressed) == PRESSES and all(name for name, _ in pressed)
        wanted = {name: {"1": "dog", "2": "cat", "0": None}[key] for name, key in pressed}
        assert len(wanted) > 3, "several cards came by"
        shown(page.get_by_text(f"{PRESSES + 2 - len(wanted)} left"))
        judged = {item.name: item.label for item in project.items("example", "none")}
        assert judged == wanted

        page.keyboard.press("Enter")  # takes the guess, whatever it is
        shown(page.get_by_text(f"{PRESSES + 1 - len(wanted)} left"))
        page.keyboard.press("u")
        shown(page.get_by_text(f"{PRESSES + 2 - len(wanted)} left"))
        assert page.get_by_role("alert").count() == 0
        context.close()
    with closing(sqlite3.connect(project.folder / "project.sqlite")) as db:
        assert db.execute("SELECT count(*) FROM change WHERE action = 'undone'").fetchone()[0] >= PRESSES - 2 * len(
            wanted
        )
    project.close()
