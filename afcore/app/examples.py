"""Which examples of the bank a visitor is offered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from afcore.retrieval.bank import Bank
from afcore.retrieval.everyday import EVERYDAY, everyday_examples
from afcore.retrieval.example import Example

if TYPE_CHECKING:
    from afcore.engine.engine import Engine

__all__ = ["EVERYDAY", "everyday_examples", "search_examples"]


def search_examples(bank: Bank, engine: Engine | None, words: str, count: int) -> list[Example]:
    """At most ``count`` examples that fit ``words``: by their sound, or without an engine by label and caption."""
    if engine is not None:
        return [shot.example for shot in engine.search(words, count)]
    return [one for one in bank.examples() if words.lower() in f"{one.label} {one.caption}".lower()][:count]
