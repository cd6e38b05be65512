"""Teach: the space bar plays and pauses the clip on the review card; the labels' keys are Streamlit's own shortcuts."""

import streamlit as st

from afcore.teach.schema import Item

CARD, PLAYER = "teach-card", "teach-player"
"""Keys of the containers that the script looks for."""

UNDO = "undo"
"""Name of the button that takes the last judgement back."""

OF_CLIP = "teach-clip-"
"""Start of the key of everything on the card that belongs to one clip as it stands; see `key_of`."""

_SCRIPT = (
    """
<script>
if (!window.teachKeys) {
  window.teachKeys = true;
  const writing = e => e.closest &&
    e.closest('input, textarea, select, [contenteditable=true], [role=slider], [role=combobox]');
  // A button that was clicked keeps the focus, and space would press it again: on the card it belongs to the player.
  const elsewhere = e => e.closest &&
    e.closest('button, a, summary, [role=button], [role=tab]') && !e.closest('.st-key-CARD');
  // While the next clip is being drawn, parts of the one before still stand on the card: a key would judge both.
  const clips = () => new Set([...document.querySelectorAll('.st-key-CARD [class*="st-key-OF_CLIP"]')].map(
    e => /st-key-OF_CLIP(\\d+-\\d+)/.exec(e.className)[1]));
  const take = event => {
    const audio = document.querySelector('.st-key-PLAYER audio');
    if (!audio || event.ctrlKey || event.metaKey || event.altKey || writing(event.target)) return;
    if (event.code === 'Space' && !elsewhere(event.target) && event.target !== audio) {
      event.preventDefault();
      event.stopImmediatePropagation();
      if (event.type === 'keydown' && !event.repeat) audio.paused ? audio.play() : audio.pause();
    } else if (event.key.length === 1 && (event.repeat || clips().size > 1)) {
      event.stopImmediatePropagation();  // a key that is held down judges one clip, not the next ones too
      if (event.type === 'keydown' && !event.repeat && event.key.toLowerCase() === 'u') undoWhenDrawn();
    }
  };
  // To undo means the last judgement, whichever clip is being drawn: the key waits for the card rather than be lost.
  let waiting = null;
  const undoWhenDrawn = () => {
    if (waiting) return;
    waiting = setInterval(() => {
      const undo = document.querySelector('[class*="st-key-UNDO-"] button');
      if (!undo || clips().size > 1) return;
      clearInterval(waiting);
      waiting = null;
      undo.click();
    }, 50);
  };
  for (const type of ['keydown', 'keyup']) window.addEventListener(type, take, true);
}
</script>
""".replace("UNDO", f"teach-{UNDO}")
    .replace("CARD", CARD)
    .replace("PLAYER", PLAYER)
    .replace("OF_CLIP", OF_CLIP)
)


def key_of(item: Item, part: str) -> str:
    """The key of the ``part`` of the card that belongs to ``item``.

    It is a new one after each change of the clip, so that a second click that comes too late still means the clip that
    it was made for, and a key is taken by one clip alone.
    """
    return f"{OF_CLIP}{item.id}-{item.version}-{part}"


def draw() -> None:
    """Puts the script into the page; once there, it stays and does nothing where there is no player."""
    st.html(_SCRIPT, unsafe_allow_javascript=True)
