"""Rows of the card: second and third turns of a dialogue about one sound, with answers in the model's own words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from afcore.corpus.held_out import HELD_OUT
from afcore.engine.results import Heard
from afcore.evaluation.card_context import Context
from afcore.evaluation.card_rows import Ability, CardRow, Measured, Scores, mean, share, usual_controls
from afcore.evaluation.naming import names, refuses
from afcore.evaluation.present_rows import absent, mixtures
from afcore.evaluation.sounds import HOWS, Subject
from afcore.model.generation import GenerationSettings

SENTENCE = GenerationSettings(max_new_tokens=32)
OPENINGS = ("What do you hear?", "Describe the sound.")
MAKES, ELSE = "What is making the sound?", "What else do you hear?"
WHICH = "Which of these is it: {}, {}, {} or {}?"


@dataclass(frozen=True)
class DialogueItem:
    subject: Subject
    opening: str
    questions: tuple[str, str]  # of the second and third turn
    choices: tuple[tuple[str, ...], ...]  # classes on offer in each; none for an open question
    other: Subject
    group: str


def _which(
    context: Context, rng: np.random.Generator, label: str, subject: Subject, labels: Sequence[str]
) -> tuple[str, tuple]:
    """A question with four classes of which the sound has `label` alone."""
    gone = [str(n) for n in rng.permutation(labels) if absent(context, subject, str(n))][:3]
    chosen = tuple(str(n) for n in rng.permutation([label, *gone]))
    return WHICH.format(*(context.names[n].phrase for n in chosen)), chosen


def _items(context: Context) -> list[DialogueItem]:
    """Two single clips and a mixture in turn. Clips: what makes the sound, then which of four, or the other way round.
    Mixtures: what else, then which of four."""
    rng = np.random.default_rng(31)
    singles = [Subject((i,)) for i in context.test_clips(set(context.everyday) - set(HELD_OUT))]
    labels = sorted({context.clips.label_of(s.clips[0]) for s in singles})
    pairs = mixtures(context, len(singles) // 2, seed=32)
    order = [
        subject
        for n, single in enumerate(singles)
        for subject in (single, *(pairs[n // 2 : n // 2 + 1] if n % 2 else ()))
    ]
    found = []
    for n, subject in enumerate(order):
        true = context.labels_of(subject)
        asked, chosen = _which(context, rng, str(rng.choice(true)), subject, labels)
        turns = [(ELSE, ()) if len(true) > 1 else (MAKES, ()), (asked, chosen)]
        if len(true) == 1 and n % 2:
            turns.reverse()
        others = [s for s in rng.permutation(np.array(order, object))[:60] if not set(context.labels_of(s)) & set(true)]
        group = "+".join(sorted(context.clips[i].group for i in subject.clips))
        questions, choices = zip(*turns, strict=True)
        found.append(DialogueItem(subject, OPENINGS[n % len(OPENINGS)], questions, choices, others[0], group))
    return found


def _converse(context: Context, item: DialogueItem, sound: Heard) -> list[str]:
    """The three answers, each asked with what was said before."""
    history: list[tuple[str, str]] = []
    for question in (item.opening, *item.questions):
        prompt = context.engine.build_prompt(sound, question, history=history, chat=True)
        history.append((question, "".join(context.engine.stream(sound, prompt, SENTENCE)).strip()))
    return [answer for _, answer in history]


def _answer(context: Context, item: DialogueItem, controls: bool) -> dict:
    record = {"said": _converse(context, item, context.hear(item.subject))}
    if controls:
        record["other"] = _converse(context, item, context.hear(item.other))
        record |= {how: _converse(context, item, context.hear(item.subject, how)) for how in HOWS}
    return record


def turns_right(true: Sequence[str], item: DialogueItem, said: Sequence[str]) -> tuple[bool, bool]:
    """Whether the second and the third answer are right. Of four classes: names a true one and no other of the four.
    "What else": names a true event that no earlier answer named; where none is left, declines or names a true one
    again. Open: names a true one."""
    right = []
    for turn, (question, chosen) in enumerate(zip(item.questions, item.choices, strict=True), 1):
        answer = said[turn]
        if chosen:
            named = [label for label in chosen if names(answer, label)]
            right.append(bool(named) and all(label in true for label in named))
        elif question == ELSE:
            left = [label for label in true if not any(names(text, label) for text in said[:turn])]
            right.append(any(names(answer, label) for label in left or true) or (not left and refuses(answer)))
        else:
            right.append(any(names(answer, label) for label in true))
    return right[0], right[1]


def _score(context: Context, items: list[DialogueItem], records: list[dict]) -> Scores:
    pairs = list(zip(items, records, strict=True))

    def right(item: DialogueItem, record: dict, key: str = "said") -> tuple[bool, bool]:
        return turns_right(context.labels_of(item.subject), item, record[key])

    def value(pairs: list[tuple[DialogueItem, dict]], key: str, turn: int | None = None) -> Measured:
        both = [right(i, r, key) for i, r in pairs]
        rights = [float(np.mean(told)) if turn is None else float(told[turn]) for told in both]
        return mean(rights, [context.labels_of(i.subject)[0] for i, _ in pairs], [i.group for i, _ in pairs])

    # What guessing would reach: open answers held against the sound six places on, which was asked alike.
    shifted = zip(items, records[6:] + records[:6], strict=True)
    open_chance = float(
        np.mean([true for i, r in shifted for true, chosen in zip(right(i, r), i.choices, strict=True) if not chosen])
    )
    chance = (0.25 + open_chance) / 2
    second_and_third = value(pairs, "said")
    rows = [
        CardRow(
            "second and third turn of a dialogue",
            *second_and_third,
            2 * len(items),
            chance,
            "75 %",
            second_and_third[0] >= 0.75,
            "half open, half one of four; n counts turns",
        ),
        CardRow("of these, second turn", *value(pairs, "said", 0), len(items)),
        CardRow("of these, third turn", *value(pairs, "said", 1), len(items)),
    ]
    for name, wanted in (("open questions", False), ("one of four", True)):
        told = [
            (float(true), i.group)
            for i, r in pairs
            for true, chosen in zip(right(i, r), i.choices, strict=True)
            if bool(chosen) == wanted
        ]
        rows.append(
            CardRow(f"of these, {name}", *share(*zip(*told, strict=True)), len(told), 0.25 if wanted else open_chance)
        )
    some = [(i, r) for i, r in pairs if "other" in r]
    if not some:
        return Scores(rows)
    changed = {how: value(some, how) for how in ("other", *HOWS)}
    return Scores(rows, usual_controls("dialogue", changed, 2 * len(some), value(some, "said")[0], chance))


ABILITIES = (Ability("dialogue", _items, _answer, _score, lambda item: (item.subject, item.other)),)
