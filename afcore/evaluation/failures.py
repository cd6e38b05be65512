"""Failure cases that can be played: sounds of the shipped bank with a question that mini got wrong when it was listed.

The list, `assets/mini/failures.json`, says what was asked, what would be right, and what mini said when the list was
last written; what it says now is asked each time, since other weights answer otherwise. ``python -m afcore failures``
asks; with ``--out`` it writes down what is said, with ``--look`` it looks for cases anew.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from afcore import paths
from afcore.errors import MissingPart
from afcore.evaluation import naming
from afcore.evaluation.grading import asserted_text, declines

if TYPE_CHECKING:
    from afcore.audio.recording import Clip
    from afcore.engine.engine import Engine
    from afcore.retrieval.bank import Bank

LIST = "failures.json"
ALIKE, QUIET, NEW, ORDER, COUNT, WORDS, RARE, MADE_UP = KINDS = (
    "sound-alikes",
    "quiet sound",
    "new class",
    "order",
    "counting",
    "transcript",
    "rare label",
    "made-up dialogues",
)
WHY = {
    ALIKE: "Sounds of one kind resemble each other, and it takes one for another.",
    QUIET: "A quiet sound beside a loud one: it hears the loud one alone.",
    NEW: "A class that its training left out, asked without examples: it says what it knows instead. "
    "Examples help here.",
    ORDER: "It hears a clip's windows together and cannot tell what comes first.",
    COUNT: "It hears that something sounds, not how often.",
    WORDS: "It does not write down speech; where it should say so, it may make something up.",
    RARE: "A class of which few clips were in its training: it is taken for one that it met more often. Beside each "
    "stands a class that it met often, with the same question.",
    MADE_UP: "Its dialogues were made up out of fixed sentences. What those never asked gets one of their answers: it "
    "goes along with what is not there, calls a safe place unsafe, and names a place that no sound tells.",
}
"""One sentence about each kind of failure."""
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")
RATE = 48_000  # Hz of a mixture, as of the bank's files
LENGTH = 40  # tokens of an answer


@dataclass(frozen=True)
class Part:
    """A sound of the shipped bank by its hash; ``gain`` in dB and ``at`` in seconds, where several are played as
    one."""

    sha256: str
    gain: float = 0.0
    at: float = 0.0


@dataclass(frozen=True)
class Case:
    """What was asked about which sound. ``options``: what can be chosen from (`ALIKE`), the two events of `ORDER`, or
    what a question of `MADE_UP` takes for granted and what is heard instead."""

    kind: str
    sounds: tuple[Part, ...]
    question: str
    right: str
    options: tuple[str, ...] = ()
    clips: int | None = None
    """Training clips of the class, of `RARE`."""
    beside: Case | None = None
    """The same question about a class that training met often, of `RARE`."""
    said: str = ""
    """What the model said when the list was last written."""

    def in_words(self) -> str:
        """The question as one asks a person."""
        if self.kind == ALIKE:
            return f"Which of these is it: {', '.join(self.options[:-1])} or {self.options[-1]}?"
        return self.question[:1].upper() + self.question[1:]

    def is_right(self, said: str) -> bool:
        """Whether an answer is right, by the same rules as the model card's scores."""
        words = naming.WORD.findall(said.lower())
        match self.kind:
            case "quiet sound":
                return words[:1] == [self.right]
            case "new class" | "rare label":
                return naming.names(said, self.right)
            case "order":
                return [option for option in self.options if naming.names(said, option)] == [self.right]
            case "counting":
                digits = [NUMBERS[int(n)] for n in re.findall(r"\b[0-8]\b", said)]
                return {word for word in [*words, *digits] if word in NUMBERS[1:]} == {self.right}
            case "transcript":
                return naming.refuses(said)
            case "made-up dialogues":
                return self._right_of_made_up(said)
        return said == self.right

    def _right_of_made_up(self, said: str) -> bool:
        if self.right in ("yes", "no"):
            return naming.WORD.findall(said.lower())[:1] == [self.right]
        if not self.options:
            return declines(said)
        supposed, heard = self.options
        goes_along = naming.names(asserted_text(said.replace(":", ".")), supposed)
        return not goes_along and (naming.names(said, supposed) or naming.names(said, heard))


@dataclass(frozen=True)
class Verdict:
    """What the model says now."""

    said: str
    right: bool


def read(folder: Path | None = None) -> list[Case]:
    """The list in ``folder`` (default: mini's). Raises MissingPart where it is absent or damaged."""
    file = (folder or paths.MINI) / LIST
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(rows, list):
            raise ValueError
        cases = [_case(row) for row in rows]
        if any(case.kind not in KINDS or not case.sounds for case in asked(cases)):
            raise ValueError
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise MissingPart(f"The list of failure cases {file} is missing or damaged: restore it.") from error
    return cases


def _case(row: dict[str, Any]) -> Case:
    parts = {"sounds": tuple(Part(**part) for part in row["sounds"]), "options": tuple(row.get("options", ()))}
    return Case(**row | parts | {"beside": _case(row["beside"]) if row.get("beside") else None})


def asked(cases: Sequence[Case]) -> list[Case]:
    """All that is asked: ``cases``, each followed by what stands beside it."""
    return [one for case in cases for one in (case, case.beside) if one is not None]


def recorded(cases: Sequence[Case], found: Mapping[Case, Verdict]) -> list[Case]:
    """``cases`` with what was said about each, and about what stands beside it."""
    return [
        replace(case, said=found[case].said, beside=recorded([case.beside], found)[0] if case.beside else None)
        for case in cases
    ]


def write(cases: Sequence[Case], file: Path) -> None:
    """As `read` reads it."""
    file.write_text(json.dumps([asdict(case) for case in cases], indent=1) + "\n", encoding="utf-8")


class CaseSounds:
    """The sounds of cases, from the shipped bank or one that has the same files."""

    def __init__(self, bank: Bank):
        self.bank = bank
        self.examples = {example.sha256: example for example in bank.examples()}

    def labels(self, case: Case) -> list[str]:
        """What is to be heard, in the order of the list. Raises MissingPart where the bank lacks a sound."""
        if missing := [part.sha256 for part in case.sounds if part.sha256 not in self.examples]:
            raise MissingPart(f"The example bank lacks the sound {missing[0][:12]} of a failure case.")
        return [self.examples[part.sha256].label for part in case.sounds]

    def clip(self, case: Case) -> Clip:
        """What is played and heard: the sound itself, or several mixed at `RATE`, brought to a peak of 0.9."""
        from afcore.audio.recording import from_samples, open_recording

        name = " and ".join(dict.fromkeys(self.labels(case)))
        files = [self.bank.audio_path(self.examples[part.sha256].id) for part in case.sounds]
        if case.sounds == (Part(case.sounds[0].sha256),):
            return open_recording(files[0], name).clip()
        loud = [
            open_recording(file).clip().resampled(RATE).samples * 10 ** (part.gain / 20)
            for file, part in zip(files, case.sounds, strict=False)
        ]
        starts = [round(part.at * RATE) for part in case.sounds]
        mixed = np.zeros(max(start + len(x) for start, x in zip(starts, loud, strict=False)), np.float32)
        for start, x in zip(starts, loud, strict=False):
            mixed[start : start + len(x)] += x
        return from_samples(mixed * (0.9 / max(np.abs(mixed).max(), 1e-9)), RATE, name).clip()


def ask(engine: Engine, case: Case, clip: Clip) -> Verdict:
    """What the model says about ``clip``: the likeliest of the options, or its answer word by word (greedy)."""
    from afcore.model.generation import GenerationSettings

    heard = engine.hear(clip)
    if case.kind == ALIKE:
        found = engine.classify(heard, case.options)
        said = max(found, key=lambda label: found[label])
    else:
        said = engine.ask(heard, case.question, settings=GenerationSettings(max_new_tokens=LENGTH)).text
    return Verdict(said, case.is_right(said))


def verdicts(engine: Engine, sounds: CaseSounds, cases: Sequence[Case]) -> Iterator[tuple[Case, Verdict]]:
    """Each case with what the model says now."""
    for case in cases:
        yield case, ask(engine, case, sounds.clip(case))
