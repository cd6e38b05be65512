"""What is truly heard in a clip, as far as is known: its label as AudioSet classes, and what the teacher is sure of.

A class is heard where the label says so or the teacher is at least `SURE`, and with it all that it implies and what
stands above it. A class of which the teacher is less than `ABSENT` sure is absent. What lies between is open: held
neither for nor against an answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np

from afcore.corpus.labels import read_names
from afcore.evaluation.mentions import LABEL, Mention, mentions
from afcore.knowledge.table import SoundClass, ancestors, by_name, related, table
from afcore.knowledge.truth import ABSENT, SURE
from afcore.knowledge.truth import above as above_class


@dataclass(frozen=True)
class Truth:
    """What is known of a clip."""

    label: str
    """As people say it; '' for none."""
    called: tuple[str, ...]
    """What else the label goes by."""
    core: tuple[str, ...]
    """The classes heard that no other of them brings along: the label's first, then by how sure the teacher is."""
    heard: frozenset[str]
    """`core`, what it implies, and what stands above it."""
    open: frozenset[str]

    @property
    def main(self) -> SoundClass:
        """What it is a sound of before all. Raises IndexError where nothing is known."""
        return by_name()[self.core[0]]

    @property
    def classes(self) -> tuple[SoundClass, ...]:
        """`core` as the table has it."""
        return tuple(by_name()[name] for name in self.core)

    def absent(self, name: str) -> bool:
        """Whether a class is surely not heard."""
        return name not in self.heard and name not in self.open

    def hit(self, mention: Mention) -> frozenset[str]:
        """The classes heard that a mention names: its own, else those that stand above it and name no whole group
        (Guitar of an electric guitar)."""
        own = mention.targets & self.heard
        if own or mention.by_source:
            return own
        over = closure(frozenset(name for name in mention.targets if not name.startswith(LABEL))) & self.heard
        return frozenset(name for name in over if not by_name()[name].general)

    def verdict(self, mention: Mention) -> str:
        """ "true", "open" or "false" of what a text says is heard; "half" of a false sort of something heard."""
        if mention.targets & self.heard or LABEL + self.label in mention.targets:
            return "true"
        kin = self.hit(mention)
        if mention.targets & self.open:
            return "true" if kin else "open"
        return "half" if kin else "false"

    def groups(self) -> list[frozenset[str]]:
        """`core` in groups that are one kind of sound: related classes, and those below one class."""
        found: list[set[str]] = []
        for name in self.core:
            near = [group for group in found if any(_one_kind(name, other) for other in group)]
            found = [group for group in found if group not in near] + [{name}.union(*near)]
        return [frozenset(group) for group in found]

    def hits(self, mention: Mention, group: frozenset[str]) -> bool:
        """Whether what a text says is heard is of one of `groups`."""
        return bool(self.hit(mention) & closure(group)) or (
            LABEL + self.label in mention.targets and bool(self.core) and self.core[0] in group
        )


def _one_kind(a: str, b: str) -> bool:
    return related(by_name()[a], by_name()[b]) or bool({a, *ancestors(a)} & {b, *ancestors(b)})


@cache
def above(name: str) -> frozenset[str]:
    """A class with all that it implies and that stands above it."""
    return frozenset((name, *above_class(by_name()[name])))


def closure(names: Iterable[str]) -> frozenset[str]:
    """Classes with all that they imply and that stands above them."""
    return frozenset().union(*map(above, names))


@cache
def classes_of_label(label: str) -> tuple[str, ...]:
    """The AudioSet classes that a label names, the nearest first: of the labels of `label_names.txt` those that are
    listed there beside them. A label of a set names what its words name, true or not."""
    known = read_names().get(label)
    found = [mention for text in (label, known.phrase if known else label) for mention in mentions(text)]
    names = dict.fromkeys(name for one in found if not one.by_source for name in sorted(one.targets))
    names |= dict.fromkeys(name for one in found if one.by_source and len(one.targets) < 4 for name in one.targets)
    return tuple(name for name in names if not known or any(part in name for part in known.audioset))


def truth_of(label: str, tags: np.ndarray) -> Truth:
    """`label`: as people say it, '' for none; `tags`: the teacher's probabilities (527,). A set's label counts as a
    class only where the teacher finds it, or one below it, possible. Raises ValueError for another number of tags."""
    if tags.shape != (len(table()),):
        raise ValueError(f"{tags.shape} tags instead of {len(table())}")
    probability = {sound.name: float(p) for sound, p in zip(table(), tags, strict=True)}
    known = read_names().get(label)
    said = [
        name
        for name in classes_of_label(label)
        if known or max(p for other, p in probability.items() if name in above(other)) >= ABSENT
    ]
    said = sorted(said, key=lambda name: -probability[name])  # stable: as named where the teacher hears none of them
    sure = [name for name in sorted(probability, key=lambda name: -probability[name]) if probability[name] >= SURE]
    names = list(dict.fromkeys((*said, *sure)))
    core = tuple(name for name in names if not any(name in above(other) for other in names if other != name))
    heard = closure(core)
    maybe = closure([name for name, p in probability.items() if p >= ABSENT])
    return Truth(label, (known.phrase,) if known else (), core, heard, maybe - heard)


def of_mixture(first: Truth, second: Truth) -> Truth:
    """What is heard in two clips over each other; of the second clip by its classes alone, not by its label."""
    names = tuple(dict.fromkeys((*first.core, *second.core)))
    core = tuple(name for name in names if not any(name in above(other) for other in names if other != name))
    heard = first.heard | second.heard
    return Truth(first.label, first.called, core, heard, (first.open | second.open) - heard)
