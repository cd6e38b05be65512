"""Teach's review by keyboard: every key counts once, in order, for the clip that was on the card when it was pressed.

The browser keeps what was pressed in a list and sends all of it that the server has not confirmed yet. So nothing is
lost where several presses come before the page is drawn again, and nothing counts twice where a press is sent twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from afcore.errors import AfcoreError
from afcore.teach.changes import JUDGEMENTS
from afcore.teach.schema import EXAMPLE, NONE, SKIPPED, ProjectClip

if TYPE_CHECKING:
    from afcore.teach.loop import Loop

LABEL, NONE_OF_THESE, SKIP, UNDO = "label", "none", "skip", "undo"
"""What a key can mean."""
MOST = 1000  # presses that are taken at once; a browser that sends more is no person's


@dataclass(frozen=True)
class Press:
    """A key that was pressed while a clip was on the card."""

    number: int
    """Grows from press to press, also over reloads of the page."""
    clip: int
    version: int
    """Of the clip, as it was shown."""
    meaning: str
    label: str | None = None
    """Where the meaning is a label: which."""


def presses_of(value: Any) -> list[Press]:
    """The presses that a browser sent, in order; what is not a press is left out."""
    found = []
    for entry in value[-MOST:] if isinstance(value, Sequence) and not isinstance(value, str) else ():
        if not isinstance(entry, Mapping):
            continue
        numbers = [entry.get(name) for name in ("n", "clip", "version")]
        meaning, label = entry.get("meaning"), entry.get("label")
        if (
            all(isinstance(number, int | float) and float(number).is_integer() for number in numbers)
            and meaning in (LABEL, NONE_OF_THESE, SKIP, UNDO)
            and isinstance(label, str) == (meaning == LABEL)
        ):
            number, clip, version = (int(number) for number in numbers)  # type: ignore[arg-type]  # looked at above
            found.append(Press(number, clip, version, str(meaning), label))
    return sorted(found, key=lambda press: press.number)


@dataclass
class ReviewKeys:
    """What one reviewer's keys have done so far."""

    taken: int = 0
    """Number of the last press that was carried out or refused."""
    _mine: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Clip → the version that was shown and the version that these keys made of it: all between are this reviewer's."""

    def take(self, loop: Loop, who: str, presses: Sequence[Press]) -> tuple[int, list[str]]:
        """Carry out what was pressed and not taken yet.

        A second key for a clip that is still on the card corrects the first. Returns how many judgements of other clips
        than before were made, and a sentence for each press that was refused.
        """
        judged, refused = 0, []
        for press in presses:
            if press.number <= self.taken:
                continue
            self.taken = press.number
            try:
                judged += self._carry_out(loop, who, press)
            except AfcoreError as error:
                refused.append(str(error))
        return judged, refused

    def _carry_out(self, loop: Loop, who: str, press: Press) -> int:
        if press.meaning == UNDO:
            back = loop.queue.undo(who)
            self._note(back.id, back.version - 1, back.version)
            return 0
        clip = self._as_shown(loop, press)
        state, label = {LABEL: (EXAMPLE, press.label), NONE_OF_THESE: (NONE, None), SKIP: (SKIPPED, None)}[
            press.meaning
        ]
        corrects = clip.version != press.version and clip.state in (EXAMPLE, NONE, SKIPPED)
        if corrects:
            if (clip.state, clip.label) == (state, label):
                return 0  # the same key twice
            self._take_back(loop, who, clip)
            clip = loop.project.item(clip.id)
        if press.meaning == SKIP:
            now = loop.queue.skip(clip.id, who, clip.version)
        else:
            now = loop.queue.accept(clip.id, label, who, clip.version)
        self._note(clip.id, clip.version, now.version)
        return int(not corrects and press.meaning != SKIP)

    def _as_shown(self, loop: Loop, press: Press) -> ProjectClip:
        """The clip as it is now where only these keys have changed it since it was shown; else with the version that
        was shown, so that what somebody else did is not overwritten."""
        now = loop.project.item(press.clip)
        first, last = self._mine.get(press.clip, (now.version, now.version))
        if first <= press.version <= last == now.version:
            return now
        return replace(now, version=press.version)

    def _take_back(self, loop: Loop, who: str, clip: ProjectClip) -> None:
        last = next((c for c in loop.project.history(1, clip.id) if c.action in JUDGEMENTS), None)
        if last is not None:
            loop.project.undo_change(last.id, who)
            self._note(clip.id, clip.version, loop.project.item(clip.id).version)

    def _note(self, clip: int, before: int, after: int) -> None:
        first, last = self._mine.get(clip, (before, before))
        self._mine[clip] = (first if last == before else before, after)
