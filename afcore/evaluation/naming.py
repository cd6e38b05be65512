"""The committed matching rule: which events a text names, which of them are true, and whether it declines to answer.

A text is cut into claims at commas and words such as "and" or "with"; a claim is the set of its words' stems without
fillers. It names a class when it holds all words of one of the class's names, or when all its words are among those of
the class's own label ("water" for "water splashing"). Names are the label and the second column of everyday.txt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from afcore.errors import MissingPart
from afcore.knowledge.words import stem

CUT = re.compile(r"[,;:.!?]|\b(?:and|with|while|then|over|plus|followed by|together|as well as|but)\b")
WORD = re.compile(r"[a-z]+(?:-[a-z]+)*")
FILLERS = frozenset(
    """a an the of in on at by from to is are was be being been it its this that there some something someone
    one two several many can could may might heard hear hears sound sounds
    like kind background foreground recording clip
    audio i you we playing played play person people answer yes no also another which what loud quiet short long distant
    far""".split()
)
REFUSAL = re.compile(
    r"\b(?:cannot|can't|can not|could not|couldn't|unable|don't know|do not know|not sure|unsure|no idea|"
    r"nothing (?:in particular|to|that)|don't hear|do not hear|not possible|impossible|unknown|"
    r"no (?:particular|clear|recognisable) sound)\b"
)
# Stems that name noise or silence truthfully.
NOISE = frozenset(("nois", "static", "hum", "hiss", "silenc", "silent", "buzz", "noth"))


@cache
def stems(text: str) -> frozenset[str]:
    """Stems of a text's words without fillers."""
    return frozenset(stem(word) for word in WORD.findall(text.lower()) if word not in FILLERS)


@cache
def claims(text: str) -> tuple[frozenset[str], ...]:
    """What a text says is heard, one set of stems per event."""
    return tuple(dict.fromkeys(found for part in CUT.split(text.lower()) if (found := stems(part))))


def refuses(text: str) -> bool:
    """Whether an answer says that it cannot be given."""
    return REFUSAL.search(text.lower().replace("’", "'")) is not None


def names_noise_only(text: str) -> bool:
    """Whether every claim is about noise, hum or silence."""
    return all(claim & NOISE for claim in claims(text))


@dataclass(frozen=True)
class Everyday:
    """A class of everyday.txt."""

    label: str
    names: tuple[frozenset[str], ...]
    """Stems of the label and of each other name."""
    apart: frozenset[str]
    """Classes that are never offered beside it."""


@cache
def everyday() -> dict[str, Everyday]:
    """label → `Everyday`, from everyday.txt; `apart` holds in both directions. Raises MissingPart for an unknown class
    in it."""
    rows = {}
    for line in (Path(__file__).parent / "everyday.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            label, names, others = (part.strip() for part in line.split("|"))
            rows[label] = (names, {name.strip() for name in others.split(",") if name.strip()})
    for label, (_, apart) in rows.items():
        if unknown := apart - rows.keys():
            raise MissingPart(f"everyday.txt keeps {label} apart from {sorted(unknown)[0]}, which it does not list.")
    return {
        label: Everyday(
            label,
            tuple(stems(name) for name in (label, *names.split(",")) if stems(name)),
            frozenset(apart | {other for other in rows if label in rows[other][1]}),
        )
        for label, (names, apart) in rows.items()
    }


def matches(claim: frozenset[str], names: Iterable[frozenset[str]]) -> bool:
    """Whether a claim names what goes by `names`, of which the first is the label."""
    label, *others = names
    return claim <= label or any(name <= claim for name in (label, *others))


def names(text: str, label: str) -> bool:
    """Whether any claim of `text` names the class `label`; where everyday.txt lacks it, only its own words count."""
    known = everyday().get(label)
    return any(matches(claim, known.names if known else (stems(label),)) for claim in claims(text))


def true_claims(text: str, labels: Iterable[str], events: Iterable[str], maybe: Iterable[str]) -> list[bool]:
    """For each claim of `text` whether it is true of a sound with `labels` and `events`. A claim that fits only
    `maybe`, what the teacher heard faintly, is neither true nor false and left out."""
    known = [everyday()[label].names if label in everyday() else (stems(label),) for label in labels]
    known += [(found,) for event in events if (found := stems(event))]
    faint = [(found,) for event in maybe if (found := stems(event))]

    def fits(claim, sounds):
        return any(matches(claim, sound) for sound in sounds)

    return [fits(claim, known) for claim in claims(text) if fits(claim, known) or not fits(claim, faint)]
