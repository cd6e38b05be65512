"""Rows of the card: when not to answer (noise, silence, questions that no sound answers) and when to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from afcore import prompts
from afcore.corpus.held_out import HELD_OUT
from afcore.evaluation.card_context import Context
from afcore.evaluation.card_rows import Ability, CardRow, Control, Scores, share
from afcore.evaluation.dialogue_rows import SENTENCE
from afcore.evaluation.grading import declines
from afcore.evaluation.mentions import mentions
from afcore.evaluation.naming import claims, names_noise_only
from afcore.evaluation.sounds import HOWS, NOISES, Subject

# Nobody can tell these from a sound. None is worded as in training.
UNANSWERABLE = (
    "what is the surname of the person who recorded this?",
    "in which year was this recorded?",
    "what colour is it?",
    "how much did it cost?",
    "who owns it?",
    "what is the telephone number of this place?",
    "in which town is this?",
    "what will happen next week?",
    "what is the name of the {}?",
    "what colour is the {}?",
    "how old is the owner of the {}?",
    "what brand of microphone was used?",
    "what is the weight of the {} in kilograms?",
    "what does it smell of?",
    "who is the president of this country?",
    "what is on the other side of the wall?",
)
ANSWERABLE = ("what do you hear?", "what is making this sound?", "what can be heard here?")


@dataclass(frozen=True)
class UnknownItem:
    kind: str  # "noise", "unanswerable" or "answerable"
    subject: Subject
    question: str
    group: str


def _items(context: Context) -> list[UnknownItem]:
    """Noise or silence, a question without an answer, and one with an answer, in turn."""
    clips, found = context.test_clips(set(context.everyday) - set(HELD_OUT), seed=41), []
    for n in range(250):
        kind = NOISES[n % len(NOISES)]
        asked = (prompts.CAPTION, prompts.CLASSIFY, *ANSWERABLE)[n % 5]
        found.append(UnknownItem("noise", Subject((), kind, n), asked, f"{kind} {n}"))
        a, b = clips[(2 * n) % len(clips)], clips[(2 * n + 1) % len(clips)]
        question = UNANSWERABLE[n % len(UNANSWERABLE)].format(context.clips[a].label)
        found.append(UnknownItem("unanswerable", Subject((a,)), question, context.clips[a].group))
        found.append(UnknownItem("answerable", Subject((b,)), ANSWERABLE[n % len(ANSWERABLE)], context.clips[b].group))
    return found


def _answer(context: Context, item: UnknownItem, controls: bool) -> dict:
    def say(how):
        return context.engine.ask(context.hear(item.subject, how), item.question, settings=SENTENCE).text

    record = {"said": say("")}
    if controls:
        record |= {how: say(how) for how in (HOWS if item.kind != "noise" else ("no tags",))}
    return record


def at_fault(item: UnknownItem, said: str) -> bool:
    """Noise: names something else than noise. Unanswerable: does not decline. Answerable: names nothing; an answer in
    doubt that names something ("I am not sure: perhaps a pop") is one."""
    if item.kind == "noise":
        return not declines(said) and bool(claims(said)) and not names_noise_only(said)
    return not declines(said) if item.kind == "unanswerable" else not any(not one.denied for one in mentions(said))


def _score(context: Context, items: list[UnknownItem], records: list[dict]) -> Scores:
    pairs, scores = list(zip(items, records, strict=True)), Scores()
    for name, kinds, bar in (
        ("names a sound in silence or noise, or answers the unanswerable", ("noise", "unanswerable"), "at most 5 %"),
        ("of these, names a sound in silence or noise", ("noise",), "reported"),
        ("of these, answers the unanswerable", ("unanswerable",), "reported"),
        ("refuses answerable questions", ("answerable",), "at most 5 %"),
    ):
        some = [(i, r) for i, r in pairs if i.kind in kinds]
        if not some:
            continue
        value = share([at_fault(i, r["said"]) for i, r in some], [i.group for i, _ in some])
        scores.rows.append(CardRow(name, *value, len(some), None, bar, value[0] <= 0.05 if bar != "reported" else None))
        for how in HOWS if bar != "reported" else ():
            asked = [(i, r) for i, r in some if how in r]
            if asked:
                now = share([at_fault(i, r[how]) for i, r in asked], [i.group for i, _ in asked])
                beside = float(np.mean([at_fault(i, r["said"]) for i, r in asked]))
                label = "tag words removed" if how == "no tags" else how
                scores.controls.append(Control(name, label, *now, len(asked), beside, None, "shown"))
    return scores


ABILITIES = (Ability("unknown", _items, _answer, _score, lambda item: (item.subject,), most=750),)
