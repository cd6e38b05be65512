"""Which examples of the bank a first-time visitor is offered."""

from afcore.retrieval.bank import Bank, Example

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
