"""Listen's "which of these?": labels that are likely for a sound, and how probable the model finds each."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from afcore.errors import BadRequest
from afcore.jobs import Job
from afcore.knowledge.table import by_name, option_name

if TYPE_CHECKING:
    from afcore.app.session import BrowserSession
    from afcore.audio.recording import Clip
    from afcore.engine.engine import Engine
    from afcore.engine.results import Heard

OFFERED, CHOSEN = 10, 4
"""Likely labels that are offered, and those that are asked about unless somebody chooses."""
TAGS = 6


def likely_labels(engine: Engine, heard: Heard, most: int = OFFERED) -> list[str]:
    """What it may be, the likeliest first, each once: the encoder's specific tags, and labels of the nearest
    examples."""
    tags = [name for name, _ in heard.tags if name in by_name() and not by_name()[name].general][:TAGS]
    names = [option_name(by_name()[name]) for name in tags]
    if engine.bank is not None:
        names += [shot.example.label for shot in engine.neighbours(heard, most)]
    found: dict[str, str] = {}
    for name in names:
        found.setdefault(name.lower(), name)
    return list(found.values())[:most]


def chosen(labels: Sequence[str], most: int = CHOSEN) -> list[str]:
    """The first of ``labels`` that do not say the same: beside "dog" neither "dog barking" nor "dog or wolf"; at least
    two where there are two."""
    found: list[str] = []
    for label in labels:
        words = set(label.lower().split())
        if not any(words <= (other := set(one.lower().split())) or other <= words for one in found):
            found.append(label)
    if len(found) < 2:
        found += [label for label in labels if label not in found][: 2 - len(found)]
    return found[:most]


def key_of(engine: Engine, clip: Clip, labels: Sequence[str]) -> Hashable:
    """What the job that `ask` starts is about."""
    return engine.name, clip.key, tuple(labels)


def ask(session: BrowserSession, engine: Engine, heard: Heard, labels: Sequence[str]) -> Job:
    """The job whose result is the `LabelScores` of ``labels``. Raises BadRequest for fewer than two."""
    if len(labels) < 2:
        raise BadRequest("Choose at least two, so that there is something to choose from.")
    _, clip = session.sound()
    return session.run("closed", key_of(engine, clip, labels), lambda job: engine.score(heard, labels), engine.turns)
