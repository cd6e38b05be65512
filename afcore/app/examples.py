"""Which examples of the bank a visitor is offered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from afcore.retrieval.bank import Bank, Example

if TYPE_CHECKING:
    from afcore.engine.engine import Engine

EVERYDAY = (
    "dog barking",
    "thunder",
    "acoustic guitar",
    "rooster crowing",
    "ocean waves",
    "steam train",
    "glass breaking",
    "horse galloping",
    "cat meowing",
    "rain",
    "footsteps",
    "helicopter",
    "bell ringing",
)
"""Labels that everybody knows, the first to be offered."""


def everyday_examples(bank: Bank, count: int) -> list[Example]:
    """The first example of each label, at most ``count``: what the bank has of `EVERYDAY`, then its other labels."""
    first: dict[str, Example] = {}
    for example in bank.examples():
        first.setdefault(example.label.lower(), example)
    known = [label for label in EVERYDAY if label in first]
    return [first[label] for label in (known + [label for label in first if label not in known])[:count]]


def search_examples(bank: Bank, engine: Engine | None, words: str, count: int) -> list[Example]:
    """At most ``count`` examples that fit ``words``: by their sound, or without an engine by label and caption."""
    if engine is not None:
        return [shot.example for shot in engine.search(words, count)]
    return [one for one in bank.examples() if words.lower() in f"{one.label} {one.caption}".lower()][:count]
