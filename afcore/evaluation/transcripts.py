"""`python -m afcore evaluate transcripts --work DIR --out FILE.md`: captions and dialogues to be read by a person.

Sounds of a held-out split and the questions about them are chosen by the hash of the sounds' names, before anything is
said. What mini says is printed as it comes; the column of verdicts is left to the reader.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from afcore import prompts
from afcore.engine.engine import Engine
from afcore.errors import BadRequest
from afcore.evaluation.asking import Asked, Asker
from afcore.evaluation.card import weights_key
from afcore.evaluation.held_sounds import HeldSound, HeldSounds, by_hash
from afcore.evaluation.questions import ASKED_OF, question_for, read
from afcore.hashing import number_of

CAPTIONS, DIALOGUES, TURNS = 60, 20, 5
OPENINGS = ("what", "caption", "source")
LATER = (
    "which_animal",
    "which_vehicle",
    "which_instrument",
    "kinds",
    "where",
    "in_or_out",
    "is_there",
    "which_of",
    "what_else",
    "attention",
    "mistaken_for",
    "sight",
    "alt_text",
    "title",
    "tags",
    "kind_of_sound",
    "cannot_tell",
)
"""Kinds of the turns after the first."""
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Dialogue:
    """A sound and what is asked about it, turn by turn."""

    sound: HeldSound
    questions: tuple[str, ...]


def dialogue(sound: HeldSound) -> Dialogue:
    """Five questions of different kinds that can be asked of a sound, in wordings that its name decides."""
    fitting = [kind for kind in LATER if kind not in ASKED_OF or ASKED_OF[kind](sound.truth)]
    kinds = [OPENINGS[number_of("opening", sound.id) % len(OPENINGS)]]
    kinds += sorted(fitting, key=lambda kind: number_of(kind, sound.id))[: TURNS - 1]
    texts = []
    for kind in kinds:
        wordings = read()[kind]
        number = number_of("wording", kind, sound.id)
        texts.append(question_for(kind, wordings[number % len(wordings)], sound, number // 7).text)
    return Dialogue(sound, tuple(texts))


def converse(asker: Asker, dialogues: Sequence[Dialogue]) -> list[list[tuple[str, str]]]:
    """(question, answer) of every turn of each, asked with the turns before it."""
    told: list[list[tuple[str, str]]] = [[] for _ in dialogues]
    for turn in range(TURNS):
        asked = [
            Asked(one.sound, one.questions[turn], tuple(before)) for one, before in zip(dialogues, told, strict=True)
        ]
        for one, before, said in zip(dialogues, told, asker.answers(asked), strict=True):
            before.append((one.questions[turn], said))
    return told


def transcripts(
    engine: Engine, sounds: HeldSounds, kept: Path | None = None, progress: Progress = lambda _: None
) -> str:
    """The page as Markdown."""
    asker = Asker(engine, sounds, kept, progress)
    captioned = by_hash("captions", sounds.sounds)[:CAPTIONS]
    dialogues = [dialogue(sound) for sound in by_hash("dialogues", sounds.sounds)[:DIALOGUES]]
    captions = asker.answers([Asked(sound, prompts.CAPTION, chat=False) for sound in captioned])
    lines = ["## Captions", "", "| | sound | what is known of it | caption | verdict |", "|---|---|---|---|---|"]
    for n, (sound, said) in enumerate(zip(captioned, captions, strict=True), 1):
        lines.append(f"| {n} | {_cell(_name(sound))} | {_cell(_known(sound))} | {_cell(said)} | |")
    lines += ["", "## Dialogues"]
    for n, (one, turns) in enumerate(zip(dialogues, converse(asker, dialogues), strict=True), 1):
        lines += ["", f"### {n}. {_name(one.sound)}", "", f"Known of it: {_known(one.sound)}.", ""]
        lines += ["| question | answer | verdict |", "|---|---|---|"]
        lines += [f"| {_cell(question)} | {_cell(said)} | |" for question, said in turns]
    return "\n".join(lines) + "\n"


def _name(sound: HeldSound) -> str:
    package, _, path = sound.id.partition(":")
    return f"{package}: {path.replace('!', '/').rsplit('/', 1)[-1]}"


def _known(sound: HeldSound) -> str:
    truth = sound.truth
    return "; ".join(filter(None, (truth.label and f"“{truth.label}”", *truth.core)))


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split()) or "*(nothing)*"


def run(options: argparse.Namespace) -> None:
    """The command."""
    if not options.out:
        raise BadRequest("Say where the transcripts shall be written with --out FILE.md.")

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    engine, sounds = options.load("mini"), HeldSounds(options.work, options.split)
    weights = weights_key()
    text = transcripts(engine, sounds, options.work / "questions" / f"{weights}.jsonl", say)
    head = (
        f"# What mini says of sounds that it never met\n\nWeights {weights}, {options.split} split, as said, nothing "
        "left out; sounds and questions were chosen by the hash of the sounds' names before anything was said. "
        f"`python -m afcore evaluate transcripts --work DIR --split {options.split} --out FILE.md` writes this page "
        "but for the verdicts.\n\n"
    )
    options.out.write_text(head + text, encoding="utf-8")
