"""What is true of a clip, in the table's classes: what is surely heard, what it may be, and what is surely not there.

It is read from the teacher's tags and from the clip's label. A tag from `SURE` on is an event; where there is none the
likeliest tags are guesses, to be said as such; only what stays below `ABSENT` may be called absent. A class that
another heard one implies or stands under is not named beside it: "a dog barks" says "dog" and "animal" too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from afcore.knowledge.table import SoundClass, ancestors, related, table
from afcore.knowledge.words import stems

SURE, GUESS, ABSENT = 0.3, 0.08, 0.02  # probabilities of the teacher
KEPT = 0.01  # fainter tags are not kept of a clip
LABELLED = 0.75  # what the class that a label names counts as, where the teacher does not contradict it
SPECIFIC = 0.45  # share of a general class's probability from which on a class under it is named instead
CLOSE = 0.6  # of the likeliest guess's probability, from which on a second one is named beside it
MOST_EVENTS = 3
BEHIND = frozenset(("room", "recording"))  # kinds that are named only where nothing else is
VAGUE = frozenset(("Sound effect", "Field recording", "Effects unit", "Cacophony", "Environmental noise"))
"""Classes that are true of many sounds and tell a person nothing: a guess is said in their place."""


@dataclass(frozen=True)
class Truth:
    """What is true of a clip."""

    events: tuple[SoundClass, ...]
    """Surely heard, strongest first, none implied by another; where nothing is sure, one or two guesses."""
    sure: bool
    possible: frozenset[int]
    """Indices of all classes that may be heard: none of them is absent."""

    @property
    def main(self) -> SoundClass:
        """The strongest event. Raises IndexError where there is none."""
        return self.events[0]

    def of_kind(self, kind: str) -> tuple[SoundClass, ...]:
        """The events of a kind of the table, those first that name no whole group."""
        found = [event for event in self.events if kind in event.kinds]
        return tuple(sorted(found, key=lambda event: event.general))

    def has(self, sound: SoundClass) -> bool | None:
        """Whether a class is heard: True, False, or None where it is not known."""
        if any(sound == event or sound.name in above(event) for event in self.events) and self.sure:
            return True
        return None if sound.index in self.possible or any(related(sound, event) for event in self.events) else False


NOTHING = Truth((), False, frozenset())


@cache
def above(sound: SoundClass) -> frozenset[str]:
    """Names of the classes that are true wherever ``sound`` is heard."""
    return frozenset((*ancestors(sound.name), *sound.implies))


def tags_of(logits: np.ndarray) -> dict[int, float]:
    """The tags of a clip that are worth keeping: index → probability, strongest first. ``logits`` (527,)."""
    probability = 1 / (1 + np.exp(-logits.astype(np.float64)))
    order = np.argsort(-probability)
    return {int(i): round(float(probability[i]), 3) for i in order if probability[i] >= KEPT}


def together(a: Mapping[int, float], b: Mapping[int, float]) -> dict[int, float]:
    """Tags of two clips heard at once."""
    return {i: max(a.get(i, 0.0), b.get(i, 0.0)) for i in (*a, *(j for j in b if j not in a))}


def named_class(tags: Mapping[int, float], labelled: Iterable[int]) -> int | None:
    """The one class that a clip's label names: the likeliest of ``labelled``; None where the teacher contradicts."""
    possible = [i for i in labelled if tags.get(i, 0.0) >= ABSENT]
    return max(possible, key=lambda i: (tags[i], -i), default=None)


def truth_of(tags: Mapping[int, float], labelled: Iterable[int] = ()) -> Truth:
    """What is true of a clip with these tags (index → probability), of which ``labelled`` are what its label names."""
    score, named = dict(tags), named_class(tags, labelled)
    if named is not None:
        score[named] = max(score[named], LABELLED)
    classes = table()
    order = sorted(score, key=lambda i: (-score[i], i))
    sure = [i for i in order if score[i] >= SURE and classes[i].name not in VAGUE]
    if any(classes[i].kind not in BEHIND for i in sure):
        sure = [i for i in sure if classes[i].kind not in BEHIND]
    found = distinct(sure, score)
    if found:
        events, certain = found[:MOST_EVENTS], True
    else:
        guesses = [i for i in order[:6] if score[i] >= GUESS and classes[i].kind not in BEHIND]
        likely = distinct(guesses, score)[:2]
        events, certain = [i for i in likely if score[i] >= CLOSE * score[likely[0]]], False
    possible = frozenset(i for i in score if score[i] >= ABSENT)
    return Truth(tuple(classes[i] for i in events), certain, possible)


def distinct(order: list[int], score: Mapping[int, float]) -> list[int]:
    """Of classes in the order of their score those that say something of their own: the more specific of two that are
    both true, and one of those that are easily taken for each other."""
    classes = table()
    told = [
        i
        for i in order
        if not any(classes[i].name in above(classes[j]) and score[j] >= SPECIFIC * score[i] for j in order if j != i)
    ]
    kept: list[int] = []
    for i in told:
        if not any(related(classes[i], classes[j]) for j in kept):
            kept.append(i)
    return kept


@cache
def named_by(label: str) -> tuple[int, ...]:
    """Indices of the classes that a label names in so many words: "dog barking" names Bark, "cat" Cat. What makes a
    sound ("train") counts only where it is no class's own name."""
    said = stems(label)
    own = [sound.index for sound in table() if any(stems(name) == said for name in _names(sound))]
    return tuple(own or [sound.index for sound in table() if stems(sound.source) == said])


@cache
def named_among(label: str) -> tuple[int, ...]:
    """Indices of the classes whose whole name stands among other words of a label, without those that name a whole
    group or stand above another of them."""
    said, classes = stems(label), table()
    found = [
        sound
        for sound in classes
        if not (sound.general or sound.kind in BEHIND or sound.name in VAGUE)
        and any(stems(name) <= said for name in _names(sound)[:-2])
    ]
    return tuple(sound.index for sound in found if not any(sound.name in above(other) for other in found))


def _names(sound: SoundClass) -> tuple[str, ...]:
    """What a class is called: the name, its parts, the tag, and last the first two phrases."""
    return (sound.name, *sound.name.split(","), sound.tag, *sound.phrases[:2])
