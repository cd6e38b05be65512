"""The examples of the bank that a visitor is offered first."""

from __future__ import annotations

from afcore.retrieval.bank import Bank
from afcore.retrieval.example import Example

EVERYDAY = (
    "dog barking",
    "thunder",
    "rooster crowing",
    "trumpet",
    "typing on a keyboard",
    "rain",
    "siren",
    "baby crying",
    "cow mooing",
    "helicopter",
    "train whistle",
    "church bells",
    "bird chirping",
)
"""Labels that everybody knows, the first to be offered; mini names the one of each that `everyday_examples` takes."""
SHORT, ENOUGH, LONGEST = 2.0, 3.0, 10.5
"""Seconds: what is shorter is over before one knows what it was, and longer ones make one wait."""


def everyday_examples(bank: Bank, count: int) -> list[Example]:
    """One example of each label, at most ``count``: what the bank has of `EVERYDAY`, then its other labels.

    It is the label's first one of 3 to 10 s; where there is none the first of at least 2 s, else the first.
    """
    best: dict[str, Example] = {}
    for example in bank.examples():
        label = example.label.lower()
        if label not in best or _fit(example) > _fit(best[label]):
            best[label] = example
    known = [label for label in EVERYDAY if label in best]
    return [best[label] for label in (known + [label for label in best if label not in known])[:count]]


def _fit(example: Example) -> int:
    if ENOUGH <= example.seconds <= LONGEST:
        return 2
    return int(SHORT <= example.seconds <= LONGEST)
