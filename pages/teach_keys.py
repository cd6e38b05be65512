"""Teach: keys on the review card. Space plays and pauses, the others judge the clip that is shown.

Streamlit's own shortcuts cannot serve alone. While the next clip is drawn, buttons of the one before still stand on
the page, and a shortcut presses those of both; and of several presses between two drawings their order is lost. So the
keys are taken before Streamlit sees them, noted with the clip over the card, and sent as a list that grows until the
server has said how far it has come (`afcore.app.review_keys`). The buttons keep their shortcuts, since Streamlit then
draws the key on each.
"""

from collections.abc import Callable, Mapping

import streamlit as st

from afcore.app.review_keys import LABEL, NONE_OF_THESE, SKIP, UNDO
from afcore.teach.schema import ProjectClip

CARD, PLAYER = "teach-card", "teach-player"
"""Keys of the containers that the script looks for."""

OF_CLIP = "teach-clip-"
"""Start of the key of everything on the card that belongs to one clip as it stands; see `key_of`."""

NAME = "name"
"""The part of the card that says which clip is shown: its heading, whose id this is."""

SCRIPT = (
    """
const writing = e => e.closest &&
  e.closest('input, textarea, select, [contenteditable=true], [role=slider], [role=combobox]');
// A button that was clicked keeps the focus, and space would press it again: on the card it belongs to the player.
const elsewhere = e => e.closest &&
  e.closest('button, a, summary, [role=button], [role=tab]') && !e.closest('.st-key-CARD');

// One for the page, whichever card is drawn: it outlives the elements, and its numbers grow over a reload too.
const keys = window.teachKeys ??=
  { n: Date.now(), sent: 0, log: [], clip: null, guessed: '', meanings: {}, send: null, say: null };

// The clip over the card: the next one's name stands there before its buttons do. Without a name it is the last one's.
// The heading itself is asked, since what stands around it may change before the name that a person reads does.
const shown = () => {
  const name = [...document.querySelectorAll('.st-key-CARD h2[id^="OF_CLIP"]')].pop();
  const found = name && /^OF_CLIP(\\d+)-(\\d+)-NAME$/.exec(name.id);
  if (found) keys.clip = [Number(found[1]), Number(found[2])];
  return keys.clip;
};

const take = event => {
  // While Streamlit draws, this element may be away for a moment: what is pressed then is sent when it is back.
  if (!keys.send && !document.querySelector('.st-key-CARD')) return;
  if (event.ctrlKey || event.metaKey || event.altKey || writing(event.target)) return;
  const audio = document.querySelector('.st-key-PLAYER audio');
  if (event.code === 'Space') {
    if (elsewhere(event.target) || event.target === audio) return;
    event.preventDefault();  // also while the player is not there yet: it would press a button of the card
    event.stopImmediatePropagation();
    if (audio && event.type === 'keydown' && !event.repeat) audio.paused ? audio.play() : audio.pause();
    return;
  }
  if (event.key === 'Enter' && event.target.closest?.('button, a, summary, [role=button], [role=tab]')) return;
  const meaning = keys.meanings[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!meaning) return;
  event.stopImmediatePropagation();  // Streamlit's shortcut would press the button too
  if (event.type !== 'keydown' || event.repeat) return;  // a key that is held down judges one clip
  const clip = shown();
  if (!clip) return;
  // The guess may still be that of the card before: then the press waits until the guess for its clip is here.
  const known = event.key !== 'Enter' || keys.guessed === `${clip}`;
  const label = known ? meaning[1] : undefined;
  keys.log.push({ n: ++keys.n, clip: clip[0], version: clip[1], meaning: meaning[0], label });
  keys.say?.(label ?? { label: '', none: 'none of these', skip: 'skipped', undo: 'undone' }[meaning[0]]);
  send();
};

const send = () => {
  const waits = keys.log.findIndex(press => press.label === undefined);
  const ready = waits < 0 ? keys.log : keys.log.slice(0, waits);
  if (!ready.length || !keys.send) return;
  keys.sent = ready.at(-1).n;
  keys.send([...ready]);
};

if (!window.teachKeysListen) {
  window.teachKeysListen = true;
  for (const type of ['keydown', 'keyup']) window.addEventListener(type, event => window.teachKeysTake(event), true);
}
window.teachKeysTake = take;

export default function ({ data, setStateValue, parentElement }) {
  keys.meanings = data.meanings;
  keys.guessed = `${data.clip}`;
  const mine = keys.send = log => setStateValue('pressed', log);
  keys.log = keys.log.filter(press => press.n > data.taken);
  if (keys.log.some(press => press.label === undefined)) {
    const guess = data.meanings.Enter?.[1];
    for (const press of keys.log)
      if (press.label === undefined && `${[press.clip, press.version]}` === keys.guessed) press.label = guess;
    // Of a clip whose guess never came, nothing is known that the press could mean.
    keys.log = keys.log.filter(press => press.label !== undefined);
  }
  if (keys.log.some(press => press.n > keys.sent)) send();
  const said = parentElement.querySelector('p');
  said.textContent = '';
  keys.say = what => { said.textContent = `${what} ✓`; };
  // The element that takes the place of this one may have come before this one goes.
  return () => { if (keys.send === mine) keys.send = keys.say = null; };
}
""".replace("CARD", CARD)
    .replace("PLAYER", PLAYER)
    .replace("OF_CLIP", OF_CLIP)
    .replace("NAME", NAME)
)

_listen = st.components.v2.component(
    "teach_keys",
    html='<p role="status"></p>',
    css="p { margin: 0; min-height: 1.4em; font: 600 0.95rem var(--st-font); color: var(--st-primary-color); }",
    js=SCRIPT,
)


def key_of(item: ProjectClip, part: str) -> str:
    """The key of the ``part`` of the card that belongs to ``item``.

    It is a new one after each change of the clip, so that a second click that comes too late still means the clip that
    it was made for.
    """
    return f"{OF_CLIP}{item.id}-{item.version}-{part}"


def meanings(labels: list[str], guess: str | None) -> dict[str, tuple[str, str | None]]:
    """What each key means on a card: a digit each of the first nine ``labels``, Enter the model's ``guess``."""
    found: dict[str, tuple[str, str | None]] = {str(n): (LABEL, label) for n, label in enumerate(labels[:9], 1)}
    found |= {"0": (NONE_OF_THESE, None), "s": (SKIP, None), "u": (UNDO, None)}
    return found if guess is None else found | {"Enter": (LABEL, guess)}


def listen(
    key: str, item: ProjectClip, taken: int, keys: Mapping[str, tuple[str, str | None]], press: Callable[[object], None]
) -> None:
    """Takes keys from now on, and calls ``press`` with what the browser sent; ``taken``: number of the last press that
    the server knows. Also the place that says which key was taken last, until the next card is there."""

    def changed() -> None:
        press(st.session_state[key].get("pressed"))

    _listen(
        key=key, data={"taken": taken, "meanings": keys, "clip": [item.id, item.version]}, on_pressed_change=changed
    )
