"""`python -m afcore evaluate questions --work DIR`: what mini answers to questions that people ask about a sound.

300 questions (questions.json) were written apart from any text that mini trains on; offered.json has those that the
app itself offers. Each kind is asked of sounds of a held-out split that it can be asked of, in an order that a hash of
their names decides: without and with the nearest examples of the bank, and with another sound in the place of the one
that was asked about. Answers are judged by `afcore.evaluation.grading`. Every answer is kept in DIR/questions, by
weights.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from afcore.engine.engine import Engine
from afcore.errors import BadRequest
from afcore.evaluation.asking import Asked, Asker
from afcore.evaluation.card import weights_key
from afcore.evaluation.grading import GRADERS, VERDICTS, Question, grade, side_of
from afcore.evaluation.held_sounds import HeldSound, HeldSounds, apart, by_hash, mixtures
from afcore.evaluation.truth import Truth
from afcore.hashing import number_of
from afcore.knowledge.table import SoundClass, option_name, options_near, related, table
from afcore.stats import bootstrap_interval

LIMIT = 60  # questions of a kind
CONTROLS = 60  # of them asked with another sound too
AGAIN = 5  # questions of a kind about one sound at most, in other words each
SHOTS = 4  # as the app's own setting
OFFERED = "offered"
FIRST = "What do you hear?"
"""What stands before "what else?"."""
PLAIN, WITH, OTHER, OTHER_WITH = CONDITIONS = ("plain", "shots", "other", "other, shots")
Progress = Callable[[str], None]


@cache
def read() -> dict[str, tuple[str, ...]]:
    """Kind → its questions, from questions.json. "{}" stands for a thing (is_there) or a list of options (which_of)."""
    kinds = json.loads((Path(__file__).parent / "questions.json").read_text(encoding="utf-8"))
    return {kind: tuple(questions) for kind, questions in kinds.items()}


@dataclass(frozen=True)
class Offer:
    """A question that the app offers."""

    question: str
    kind: str
    where: str
    chat: bool
    thing: str = ""


@cache
def offers() -> tuple[Offer, ...]:
    """The questions of offered.json."""
    rows = json.loads((Path(__file__).parent / "offered.json").read_text(encoding="utf-8"))
    return tuple(Offer(**row) for row in rows)


@dataclass(frozen=True)
class Item:
    """A question about a sound."""

    row: str
    """The table's row it counts for."""
    sound: HeldSound
    question: Question
    other: HeldSound
    """Without anything that is heard in `sound`."""
    chat: bool = True


def _main(kind: str) -> Callable[[Truth], bool]:
    return lambda truth: truth.main.kind == kind and not truth.main.general


ASKED_OF: dict[str, Callable[[Truth], bool]] = {
    "which_animal": _main("animal"),
    "which_vehicle": _main("vehicle"),
    "which_instrument": _main("instrument"),
    "in_or_out": lambda truth: side_of(truth) != "",
    "which_of": lambda truth: not truth.main.general and len(wrong_options(truth)) == 3,
    "mistaken_for": lambda truth: bool(truth.main.mistaken_for),
    "where": lambda truth: not truth.main.general,
}
"""Kind → whether it can be asked of a sound; every other kind can be asked of any."""
MIXED = frozenset(("kinds", "what_else"))
"""Kinds that are asked of mixtures of two sounds every second time."""


def wrong_options(truth: Truth) -> tuple[SoundClass, ...]:
    """Three classes near the sound's that are surely not heard; fewer where there are none."""
    absent = [sound for sound in _near(truth.core[0]) if truth.absent(sound.name)]
    return tuple(absent[:3])


@cache
def _near(name: str) -> tuple[SoundClass, ...]:
    return options_near(name, 8)


def missing_thing(sound: HeldSound) -> SoundClass:
    """A class that everybody knows and that is surely not heard: near the sound's every second time."""
    main, number = sound.truth.main, number_of("missing", sound.id)
    near = [one for one in _near(main.name) if sound.truth.absent(one.name)]
    if near and number % 2:
        return near[number % len(near)]
    known = [one for one in table() if one.common and sound.truth.absent(one.name) and not related(main, one)]
    return known[number % len(known)]


def question_for(kind: str, text: str, sound: HeldSound, turn: int) -> Question:
    """The `turn`-th question of a kind, filled in for a sound."""
    truth = sound.truth
    if kind == "is_there":
        thing = missing_thing(sound) if turn % 2 else truth.main
        return Question(kind, text.format(thing.noun), truth, thing=thing.name)
    if kind == "which_of":
        options = [(option_name(one), one.name) for one in (truth.main, *wrong_options(truth))]
        options.sort(key=lambda option: number_of("order", sound.id, option[0]))
        words = [word for word, _ in options]
        return Question(kind, text.format(f"{', '.join(words[:-1])} or {words[-1]}"), truth, options=tuple(options))
    return Question(kind, text, truth)


def _with_others(row: str, made: Sequence[tuple[HeldSound, Question, bool]], sounds: Sequence[HeldSound]) -> list[Item]:
    """The items, each with the next of all sounds in which nothing of its own is heard."""
    order, items = by_hash(f"other {row}", sounds), []
    for n, (sound, question, chat) in enumerate(made):
        start = n % len(order)
        other = next((one for one in order[start:] + order[:start] if apart(sound.truth, one.truth)), None)
        if other is not None:
            items.append(Item(row, sound, question, other, chat))
    return items


def items_of(kind: str, sounds: Sequence[HeldSound], limit: int = LIMIT) -> list[Item]:
    """Questions of a kind, at most `limit`, each wording about as often; each about a sound of its own, or, where these
    are few, up to `AGAIN` questions about each."""
    fits = ASKED_OF.get(kind, lambda truth: True)
    order = by_hash(kind, [sound for sound in sounds if fits(sound.truth)])
    if kind in MIXED:
        half = order[::2]
        mixed = mixtures(order[1::2])
        order = [sound for pair in zip(half, mixed, strict=False) for sound in pair]
    wordings = sorted(read()[kind], key=lambda text: number_of(kind, text))
    made = []
    for n in range(min(limit, AGAIN * len(order))):
        again, place = divmod(n, len(order))
        turn = place + again
        made.append((order[place], question_for(kind, wordings[turn % len(wordings)], order[place], turn), True))
    return _with_others(kind, made, sounds)


def offered_items(sounds: Sequence[HeldSound], limit: int = LIMIT) -> list[Item]:
    """The questions that the app offers, together at most `limit`, each about sounds that it is offered for. What is
    asked for ("an animal") is there every second time. The first of each question come first."""
    some, ranked = offers(), list[tuple[int, int, Item]]()
    for place, offer in enumerate(some):
        count = limit // len(some) + (place < limit % len(some))
        fits = ASKED_OF.get(offer.kind, lambda truth: True)
        order = by_hash(offer.question, [sound for sound in sounds if fits(sound.truth)])
        if offer.thing:
            there = [sound for sound in order if offer.thing in sound.truth.heard]
            gone = [sound for sound in order if sound.truth.absent(offer.thing)]
            order = [sound for pair in zip(there, gone, strict=False) for sound in pair]
        made = [
            (sound, Question(offer.kind, offer.question, sound.truth, thing=offer.thing), offer.chat)
            for sound in order[:count]
        ]
        items = _with_others(f"{OFFERED}: {offer.question}", made, sounds)
        ranked += [(n, place, item) for n, item in enumerate(items)]
    return [item for *_, item in sorted(ranked, key=lambda entry: entry[:2])]


def kinds_named(names: str | None) -> list[str]:
    """Kinds by their names with commas between, all without any. Raises BadRequest for one that there is not."""
    every = [*GRADERS, OFFERED]
    wanted = [name.strip() for name in names.split(",")] if names else every
    if unknown := [name for name in wanted if name not in every]:
        raise BadRequest(f"There is no kind of question “{unknown[0]}”: choose among {', '.join(every)}.")
    return wanted


def ask(asker: Asker, items: Sequence[Item], condition: str) -> list[tuple[Question, str]]:
    """Each question as it was judged, with its answer, under one of `CONDITIONS`."""
    shots = SHOTS if condition in (WITH, OTHER_WITH) else 0
    about = [item.other if condition in (OTHER, OTHER_WITH) else item.sound for item in items]
    second = [n for n, item in enumerate(items) if item.question.kind == "what_else"]
    first = asker.answers([Asked(about[n], FIRST, shots=shots) for n in second])
    earlier = {n: ((FIRST, said),) for n, said in zip(second, first, strict=True)}
    questions = [replace(item.question, earlier=earlier.get(n, ())) for n, item in enumerate(items)]
    said = asker.answers(
        [
            Asked(sound, question.text, question.earlier, shots, item.chat)
            for sound, question, item in zip(about, questions, items, strict=True)
        ]
    )
    return list(zip(questions, said, strict=True))


def evaluate(
    engine: Engine,
    sounds: HeldSounds,
    kinds: Sequence[str],
    limit: int = LIMIT,
    controls: int = CONTROLS,
    kept: Path | None = None,
    progress: Progress = lambda _: None,
) -> dict:
    """{"rows": [{"row", "n", "sounds", condition: {"n", verdict: {"value", "interval"}}}], "answers": every answer}."""
    asker = Asker(engine, sounds, kept, progress)
    rows, answers = [], []
    for kind in kinds:
        make = offered_items if kind == OFFERED else lambda some, most, kind=kind: items_of(kind, some, most)
        items = make(sounds.sounds, limit)
        if not items:
            progress(f"{kind}: there is no sound to ask it of")
            continue
        told: dict[str, list[tuple[Item, str]]] = {}
        for condition in CONDITIONS if engine.bank is not None else (PLAIN, OTHER):
            some = items[:controls] if condition in (OTHER, OTHER_WITH) else items
            progress(f"{kind}, {condition}: {len(some)} questions")
            told[condition] = []
            for item, (question, said) in zip(some, ask(asker, some, condition), strict=True):
                verdict = grade(question, said)
                told[condition].append((item, verdict))
                answers.append(_record(item, condition, question, said, verdict))
        rows.append(_row(kind, told))
        if kind == OFFERED:
            for name in dict.fromkeys(item.row for item in items):
                part = {how: [one for one in found if one[0].row == name] for how, found in told.items()}
                rows.append(_row(name, part))
    return {"rows": rows, "answers": answers}


def _record(item: Item, condition: str, question: Question, said: str, verdict: str) -> dict:
    return {
        "row": item.row,
        "condition": condition,
        "sound": item.sound.id,
        "heard": list(item.sound.truth.core),
        **({"other": item.other.id} if condition in (OTHER, OTHER_WITH) else {}),
        **({"earlier": [list(turn) for turn in question.earlier]} if question.earlier else {}),
        "question": question.text,
        "answer": said,
        "verdict": verdict,
    }


def _row(name: str, told: dict[str, list[tuple[Item, str]]]) -> dict:
    row: dict = {"row": name, "n": len(told[PLAIN]), "sounds": len({item.sound.id for item, _ in told[PLAIN]})}
    for condition, found in told.items():
        if not found:
            continue
        groups = [item.sound.group for item, _ in found]
        row[condition] = {"n": len(found)}
        for verdict in VERDICTS:
            values = np.array([float(one == verdict) for _, one in found])
            interval = bootstrap_interval(values, groups, draws=500)
            row[condition][verdict] = {"value": float(values.mean()), "interval": interval}
    return row


def report(result: dict) -> str:
    """The rows in Markdown, per cent."""
    head = (
        "| kind | n (sounds) | right (95 %) | partly | wrong | refused "
        "| with 4 examples: right (95 %) | partly | wrong | refused "
        "| another sound (n): right | with 4 examples: right |"
    )
    lines = [f"{result['split']} split, weights {result['weights']}", "", head, "|---" * 12 + "|"]
    for row in result["rows"]:
        cells = [row["row"], f"{row['n']} ({row['sounds']})"]
        for condition in (PLAIN, WITH):
            cells += _cells(row[condition]) if condition in row else [""] * len(VERDICTS)
        for condition in (OTHER, OTHER_WITH):
            found = row.get(condition)
            share = f"{100 * found['right']['value']:.1f}" if found else ""
            cells.append(f"{share} ({found['n']})" if found and condition == OTHER else share)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cells(found: dict) -> list[str]:
    value, (low, high) = found["right"]["value"], found["right"]["interval"]
    return [
        f"{100 * value:.1f} ({100 * low:.1f}–{100 * high:.1f})",
        *(f"{100 * found[verdict]['value']:.1f}" for verdict in VERDICTS[1:]),
    ]


def run(options: argparse.Namespace) -> None:
    """The command."""
    kinds = kinds_named(options.only)

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    engine, sounds = options.load("mini"), HeldSounds(options.work, options.split)
    weights = weights_key()
    kept = options.work / "questions" / f"{weights}.jsonl"
    limit = LIMIT if options.limit is None else options.limit
    result = evaluate(engine, sounds, kinds, limit, options.controls, kept, say)
    result = {"split": options.split, "weights": weights, **result}
    print(json.dumps(result, indent=1, ensure_ascii=False) if options.json else report(result))
