"""Where `afcore.evaluation.failures` looks for cases anew: questions about sounds of the bank whose right answers are
known."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from afcore import prompts
from afcore.corpus.held_out import HELD_OUT, LAST_HELD_OUT, left_out
from afcore.corpus.labels import read_names
from afcore.evaluation import failures, naming
from afcore.evaluation.failures import ALIKE, COUNT, MADE_UP, NEW, NUMBERS, ORDER, QUIET, RARE, WORDS, Case, Part
from afcore.evaluation.truth import classes_of_label
from afcore.knowledge.table import SoundClass, by_name
from afcore.knowledge.truth import above, truth_of

if TYPE_CHECKING:
    from afcore.corpus.clips import ClipInfo
    from afcore.retrieval.bank import Bank
    from afcore.retrieval.example import Example

FAINT = -14.0  # dB, of a quiet sound against the loud one, both with one peak level before
PAUSE = 0.6  # s between sounds that follow one another
BRIEF = 4.0  # s of a sound that others follow, at most
ONCE = ("door closing", "cowbell", "bass drum", "gong", "car horn", "glass breaking", "explosion", "bell ringing")
"""Labels whose short clips hold one event."""
COUNTS = Path(__file__).parent / "training_clips.json"
"""Label of the bank → training clips of the language side's last stage in which it is heard."""
FEW, MANY = 10, 30
"""Training clips of a rare class at most, and of a common one at least."""
ROOM, SAFE = "In which room of the house is this?", "Is it safe here?"
_DOING = re.compile(r"an? (\w+(?: \w+)? \w+ing)")


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


def _rare(bank: Bank, rng: np.random.Generator, n: int) -> Case:
    """The classes with the fewest training clips first, each beside one of its kind of which there are many."""
    clips = counts()
    common = _by_label(bank, lambda e: clips.get(e.label, 0) >= MANY and e.label in naming.everyday())
    rare = _by_label(bank, lambda e: clips.get(e.label, MANY) <= FEW and e.label not in LAST_HELD_OUT)
    labels = sorted((label for label in rare if _near(label, common)), key=lambda label: (clips[label], label))
    label = labels[n % len(labels)]
    other = str(rng.choice(_near(label, common)))

    def case(label: str, found: list[Example], beside: Case | None = None) -> Case:
        sound = found[rng.integers(len(found))]
        return Case(RARE, (Part(sound.sha256),), "What is this sound?", label, clips=clips[label], beside=beside)

    return case(label, rare[label], case(other, common[other]))


def _near(label: str, common: Iterable[str]) -> list[str]:
    """Those of ``common`` that are of the label's kind and no class of its own."""
    own = _class(label)
    return [
        other
        for other in sorted(common)
        if own and own.kind == getattr(_class(other), "kind", "") and not set(other.split()) & set(label.split())
    ]


@cache
def _class(label: str) -> SoundClass | None:
    """The class that a label names, none that is a whole group ("Bird")."""
    return next((sound for name in classes_of_label(label) if not (sound := by_name()[name]).general), None)


def _made_up(bank: Bank, rng: np.random.Generator, n: int) -> Case:
    """In turn: something that is not there is taken for granted, a harmless sound, a place that no sound tells."""
    found = _known(bank)
    known = {label: named for label in found if (named := _class(label))}
    if n % 3 == 1:
        sound = _pick(rng, {label: found[label] for label in known if known[label].attention == "none"}, n)
        return Case(MADE_UP, (Part(sound.sha256),), SAFE, "yes")
    if n % 3 == 2:
        sound = _pick(rng, {label: found[label] for label in known if known[label].where != "outdoors"}, n)
        return Case(MADE_UP, (Part(sound.sha256),), ROOM, "that no sound tells the room")
    sound = _pick(rng, found, n)
    does = {label: doing[1] for label in found if (doing := _DOING.fullmatch(read_names()[label].phrase))}
    supposed = _other(rng, {label: found[label] for label in does}, sound).label
    question = f"Why is the {does[supposed]}?"
    right = f"that there is no {does[supposed]}, but {read_names()[sound.label].phrase}"
    return Case(MADE_UP, (Part(sound.sha256),), question, right, (supposed, sound.label))


@cache
def counts() -> dict[str, int]:
    """`COUNTS`."""
    return dict(json.loads(COUNTS.read_text(encoding="utf-8")))


def count(bank: Bank, clips: Iterable[ClipInfo]) -> dict[str, int]:
    """The bank's labels that name a class → training clips in which it is surely heard, or that are labelled so.
    ``clips``: as `afcore.corpus.spoken` describes them, blends of two not counted."""
    named = {label: sound.name for label in bank.labels() if (sound := _class(label))}
    found: Counter[str] = Counter()
    for clip in clips:
        if clip.split != "train" or "tags" not in clip.extra or "parts" in clip.extra or left_out(clip):
            continue
        truth = truth_of(dict(clip.extra["tags"]), clip.extra["classes"])
        heard = {name for event in truth.events for name in (event.name, *above(event))} if truth.sure else set()
        found.update(label for label, name in named.items() if label == clip.label or name in heard)
    return {label: found[label] for label in sorted(named)}


_MAKERS = {
    ALIKE: _alike,
    QUIET: _quiet,
    NEW: _new,
    ORDER: _order,
    COUNT: _count,
    WORDS: _words,
    RARE: _rare,
    MADE_UP: _made_up,
}
