"""Where `afcore.evaluation.failures` looks for cases anew: questions about sounds of the bank whose right answers are
known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from afcore import prompts
from afcore.corpus.held_out import HELD_OUT
from afcore.corpus.labels import read_names
from afcore.evaluation import failures, naming
from afcore.evaluation.failures import ALIKE, COUNT, NEW, NUMBERS, ORDER, QUIET, WORDS, Case, Part

if TYPE_CHECKING:
    from afcore.retrieval.bank import Bank
    from afcore.retrieval.example import Example

FAINT = -14.0  # dB, of a quiet sound against the loud one, both with one peak level before
PAUSE = 0.6  # s between sounds that follow one another
BRIEF = 4.0  # s of a sound that others follow, at most
ONCE = ("door closing", "cowbell", "bass drum", "gong", "car horn", "glass breaking", "explosion", "bell ringing")
"""Labels whose short clips hold one event."""


def candidates(bank: Bank, kind: str, count: int, seed: int = 7) -> Iterator[Case]:
    """``count`` cases of a kind, the same for one seed, as varied in their labels as the bank allows."""
    rng = np.random.default_rng([seed, failures.KINDS.index(kind)])
    for n in range(count):
        yield _MAKERS[kind](bank, rng, n)


def _by_label(bank: Bank, wanted: Callable[[Example], bool]) -> dict[str, list[Example]]:
    found: dict[str, list[Example]] = {}
    for example in bank.examples():
        if wanted(example):
            found.setdefault(example.label, []).append(example)
    return found


def _known(bank: Bank, longest: float = 99.0) -> dict[str, list[Example]]:
    """Examples of everyday classes that mini was trained with."""
    return _by_label(bank, lambda e: e.label in naming.everyday() and e.label not in HELD_OUT and e.seconds <= longest)


def _pick(rng: np.random.Generator, found: dict[str, list[Example]], n: int) -> Example:
    labels = np.random.default_rng(3).permutation(sorted(found))
    examples = found[str(labels[n % len(labels)])]
    return examples[rng.integers(len(examples))]


def _other(rng: np.random.Generator, found: dict[str, list[Example]], first: Example) -> Example:
    apart = naming.everyday()[first.label].apart | {first.label}
    labels = [
        label for label in sorted(found) if label not in apart and not set(label.split()) & set(first.label.split())
    ]
    examples = found[str(rng.choice(labels))]
    return examples[rng.integers(len(examples))]


def _alike(bank: Bank, rng: np.random.Generator, n: int) -> Case:
    """One of four labels of a category (animals, vehicles, …), those that training left out among them."""
    names, everyday = read_names(), naming.everyday()
    found = _by_label(bank, lambda e: e.label in names)
    near = {
        label: [
            other
            for other in sorted(found)
            if names[other].category == names[label].category
            and not set(other.split()) & set(label.split())
            and not (label in everyday and other in everyday[label].apart)
        ]
        for label in found
    }
    sound = _pick(rng, {label: found[label] for label in found if len(near[label]) >= 3}, n)
    options = rng.permutation([sound.label, *rng.permutation(near[sound.label])[:3]])
    return Case(ALIKE, (Part(sound.sha256),), prompts.CLASSIFY, sound.label, tuple(map(str, options)))


def _quiet(bank: Bank, rng: np.random.Generator, n: int) -> Case:
    found = _known(bank)
    faint = _pick(rng, found, n)
    loud, phrase = _other(rng, found, faint), read_names()[faint.label].phrase
    question = ("Is there {}?" if phrase.startswith(("a ", "an ", "the ")) else "Can you hear {}?").format(phrase)
    return Case(QUIET, (Part(loud.sha256), Part(faint.sha256, FAINT)), question, "yes")


def _new(bank: Bank, rng: np.random.Generator, n: int) -> Case:
    sound = _pick(rng, _by_label(bank, lambda e: e.label in HELD_OUT), n)
    return Case(NEW, (Part(sound.sha256),), "What is this sound?", sound.label)


def _order(bank: Bank, rng: np.random.Generator, n: int) -> Case:
    found = _known(bank, BRIEF)
    first = _pick(rng, found, n)
    second = _other(rng, found, first)
    one, two = rng.permutation([first.label, second.label])
    sounds = (Part(first.sha256), Part(second.sha256, at=round(first.seconds + PAUSE, 2)))
    return Case(ORDER, sounds, f"Which sound comes first, {one} or {two}?", first.label, (first.label, second.label))


def _count(bank: Bank, rng: np.random.Generator, n: int) -> Case:
    sound = _pick(rng, _by_label(bank, lambda e: e.label in ONCE and e.seconds <= BRIEF), n)
    times = 2 + n % 3
    sounds = tuple(Part(sound.sha256, at=round(k * (sound.seconds + PAUSE), 2)) for k in range(times))
    return Case(COUNT, sounds, f"How many times do you hear {read_names()[sound.label].phrase}?", NUMBERS[times])


def _words(bank: Bank, rng: np.random.Generator, n: int) -> Case:
    sound = _pick(rng, _by_label(bank, lambda e: e.label == "speech" and e.seconds >= 0.9), n)
    return Case(WORDS, (Part(sound.sha256),), "What words are spoken?", "that it cannot write them down")


_MAKERS = {ALIKE: _alike, QUIET: _quiet, NEW: _new, ORDER: _order, COUNT: _count, WORDS: _words}
