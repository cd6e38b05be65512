"""Agreement or doubt in words beside an answer: sure, likely, or not sure and what it may also be.

The limits are in ``certainty.json`` beside mini's weights, measured on validation sounds by ``python -m afcore.training
certainty``. For a model without such a file nothing is said: its probabilities mean something else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from afcore import paths
from afcore.engine.results import LabelScores
from afcore.errors import MissingPart
from afcore.evaluation.mentions import mentions
from afcore.knowledge.table import ancestors, by_name

FILE = "certainty.json"
SURE, LIKELY, NOT_SURE = "sure", "likely", "not sure"
ALSO = 2  # how many other answers are named


@dataclass(frozen=True)
class Limits:
    """Probabilities from which on an answer is called sure, and likely."""

    sure: float
    likely: float

    def word(self, probability: float) -> str:
        """One of the three words."""
        return SURE if probability >= self.sure else LIKELY if probability >= self.likely else NOT_SURE


@dataclass(frozen=True)
class Certainty:
    """The limits of the probabilities of labels, and of the encoder's tags."""

    labels: Limits
    tags: Limits

    @classmethod
    def of(cls, engine: str, folder: Path | None = None) -> Certainty | None:
        """Those of the model ``engine``; None where none were measured. Raises MissingPart for a damaged file."""
        file = (folder or paths.MINI) / FILE
        if engine != "mini" or not file.exists():
            return None
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            return cls(*(Limits(float(found[k]["sure"]), float(found[k]["likely"])) for k in ("labels", "tags")))
        except (ValueError, KeyError, TypeError) as error:
            raise MissingPart(f"The file {file} is damaged: restore it, or measure it again.") from error


@dataclass(frozen=True)
class Doubt:
    """How sure an answer is."""

    word: str
    also: tuple[str, ...] = ()
    """What it may be instead, the likeliest first."""

    def sentence(self) -> str:
        """``Sure.``, ``Likely.``, ``Not sure: it may also be rain or wind.``"""
        if self.word != NOT_SURE or not self.also:
            return f"{self.word.capitalize()}."
        return f"Not sure: it may also be {' or '.join(self.also)}."


def of_labels(scores: LabelScores, limits: Limits) -> Doubt:
    """Of one label among several. Judges who contradict each other are never sure."""
    probabilities, best = scores.probabilities, scores.best
    word = limits.word(probabilities[best])
    if word == SURE and not scores.agree:
        word = LIKELY
    others = sorted((label for label in probabilities if label != best), key=lambda label: -probabilities[label])
    return Doubt(word, tuple(others[:ALSO]))


def of_sentence(text: str, tags: Sequence[tuple[str, float]], limits: Limits) -> Doubt | None:
    """Of a description against the encoder's ``tags`` (name, probability), best first: as sure as the least supported
    thing that it names. None where it names no class that the encoder knows, or there are no tags."""
    named = [mention for mention in mentions(text) if not mention.denied]
    if not named or not tags:
        return None
    heard = _with_general(tags)
    support = [max((heard.get(target, 0.0) for target in mention.targets), default=0.0) for mention in named]
    word = limits.word(min(support))
    said = {target for mention in named for target in mention.targets}
    said |= {above for target in said if target in by_name() for above in ancestors(target)}
    others = tuple(_said(name) for name, p in tags if name not in said and p > 0)
    return Doubt(word, others[:ALSO])


def _with_general(tags: Sequence[tuple[str, float]]) -> dict[str, float]:
    """The tags with the classes above them: who hears a dog hears an animal at least as surely."""
    found = dict(tags)
    for name, p in tags:
        for above in ancestors(name) if name in by_name() else ():
            found[above] = max(found.get(above, 0.0), p)
    return found


def _said(name: str) -> str:
    known = by_name().get(name)
    return known.noun if known is not None and known.noun else name.lower()
