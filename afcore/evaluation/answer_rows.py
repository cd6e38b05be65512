"""Rows of the card about answers in words: is an event there, several turns about one sound, and when not to answer."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from afcore import prompts
from afcore.evaluation.card_context import Context
from afcore.evaluation.card_rows import Ability, Control, Row, Scores, degraded, hidden_tags, mean, other_audio, share
from afcore.evaluation.naming import claims, names, names_noise_only, refuses
from afcore.evaluation.sounds import HOWS, NOISES, Subject
from afcore.model.generation import GenerationSettings
from afcore.training.held_out import HELD_OUT

SHORT = GenerationSettings(max_new_tokens=8)
SENTENCE = GenerationSettings(max_new_tokens=32)
PRESENT = ("is there {}?", "can you hear {}?")
MIXTURES = 300
OPENINGS = ("What do you hear?", "Describe the sound.")
MAKES, ELSE = "What is making the sound?", "What else do you hear?"
WHICH = "Which of these is it: {}, {}, {} or {}?"
# Nobody can tell these from a sound. None is worded as in training.
UNANSWERABLE = (
    "what is the surname of the person who recorded this?", "in which year was this recorded?", "what colour is it?",
    "how much did it cost?", "who owns it?", "what is the telephone number of this place?", "in which town is this?",
    "what will happen next week?", "what is the name of the {}?", "what colour is the {}?", "how old is the owner of the {}?",
    "what brand of microphone was used?", "what is the weight of the {} in kilograms?", "what does it smell of?",
    "who is the president of this country?", "what is on the other side of the wall?")
ANSWERABLE = ("what do you hear?", "what is making this sound?", "what can be heard here?")


# Is it there?
@dataclass(frozen=True)
class PresentItem:
    subject: Subject
    event: str
    truth: str              # "yes" or "no"
    wording: str
    other: Subject          # a mixture without the event
    group: str


def mixtures(context: Context, count: int = MIXTURES, seed: int = 21) -> list[Subject]:
    """Pairs of test clips of different everyday classes, each class as often as any other; none is true of the other."""
    rng, of_label = np.random.default_rng(seed), {}
    for i in context.test_clips(set(context.everyday) - set(HELD_OUT)):
        of_label.setdefault(context.clips[i].label, []).append(i)
    labels, found = sorted(of_label), []
    while len(found) < count and len(labels) > 1:
        a, b = (str(n) for n in rng.permutation(labels)[:2])
        if b not in context.everyday[a].apart:
            found.append(Subject((int(rng.choice(of_label[a])), int(rng.choice(of_label[b])))))
    return found


def absent(context: Context, subject: Subject, label: str) -> bool:
    """Whether nothing that a file name or the teacher said of the sound shares a word with `label`, nor is kept apart from it."""
    infos = [context.clips[i] for i in subject.clips]
    told = {word for info in infos for text in (info.label, *info.events, *info.maybe) for word in text.split()}
    return not told & set(label.split()) and not any(label in context.everyday[info.label].apart for info in infos)


def _present_items(context: Context) -> list[PresentItem]:
    """For each mixture an event that it has and one that it has not: half near (of a true event's category)."""
    rng, found, subjects = np.random.default_rng(22), [], mixtures(context)
    labels = sorted({label for subject in subjects for label in context.labels_of(subject)})
    for n, subject in enumerate(subjects):
        true = context.labels_of(subject)
        kinds = {context.fine(label) for label in true}
        gone = [str(label) for label in rng.permutation(labels) if absent(context, subject, str(label))]
        near = [label for label in gone if context.fine(label) in kinds]
        no = (near or gone)[0] if n % 2 else gone[0]
        group = "+".join(sorted(context.clips[i].group for i in subject.clips))
        for event, truth in ((true[n % 2], "yes"), (no, "no")):
            others = [s for s in rng.permutation(np.array(subjects, object))[:60] if absent(context, s, event)]
            wording = PRESENT[(n // 2) % 2].format(context.names[event].phrase)
            found.append(PresentItem(subject, event, truth, wording, others[0], group))
    return found


def _present_answer(context: Context, item: PresentItem, controls: bool) -> dict:
    asked = prompts.instruction(item.wording, yes_no=True)
    say = lambda sound: context.engine.ask(sound, asked, settings=SHORT).text
    record = {"said": say(context.heard(item.subject))}
    if controls:
        record["other"] = say(context.heard(item.other))
        record |= {how: say(context.heard(item.subject, how)) for how in HOWS}
    return record


def yes_or_no(text: str) -> str:
    """The first word, where it is one of the two; anything else is a wrong answer."""
    first = text.lower().replace(",", " ").replace(".", " ").split()[:1]
    return first[0] if first and first[0] in ("yes", "no") else ""


def _present_score(context: Context, items: list[PresentItem], records: list[dict]) -> Scores:
    right = lambda pairs, key: [float(yes_or_no(r[key]) == i.truth) for i, r in pairs]
    pairs = list(zip(items, records))
    groups = [i.group for i in items]
    value = share(right(pairs, "said"), groups)
    said_yes = float(np.mean([yes_or_no(r["said"]) == "yes" for r in records]))
    rows = [Row('yes/no "is there a …?" on mixtures of two', *value, len(items), 0.5, "80 %", value[0] >= 0.8,
                f"{len({i.subject.key for i in items})} mixtures, says yes in {said_yes:.0%}")]
    some = [(i, r) for i, r in pairs if "other" in r]
    if not some:
        return Scores(rows)
    by, beside, n = [i.group for i, _ in some], float(np.mean(right(some, "said"))), len(some)
    told = {how: share(right(some, how), by) for how in ("other", *HOWS)}
    return Scores(rows, [other_audio("yes/no", told["other"], n, beside, 0.5), hidden_tags("yes/no", told["no tags"], n, beside, 0.5),
                         degraded("yes/no", "phone", told["phone"], n, beside, 0.5), degraded("yes/no", "room", told["room"], n, beside, 0.5)])


# Several turns
@dataclass(frozen=True)
class DialogueItem:
    subject: Subject
    opening: str
    questions: tuple[str, str]              # of the second and third turn
    choices: tuple[tuple[str, ...], ...]    # classes on offer in each; none for an open question
    other: Subject
    group: str


def _which(context: Context, rng: np.random.Generator, label: str, subject: Subject, labels: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """A question with four classes of which the sound has `label` alone."""
    gone = [str(n) for n in rng.permutation(labels) if absent(context, subject, str(n))][:3]
    chosen = tuple(str(n) for n in rng.permutation([label, *gone]))
    return WHICH.format(*(context.names[n].phrase for n in chosen)), chosen


def _dialogue_items(context: Context) -> list[DialogueItem]:
    """Single clips and mixtures in turn. Clips: what makes the sound, then which of four, or the other way round. Mixtures: what
    else, then which of four."""
    rng = np.random.default_rng(31)
    singles = [Subject((i,)) for i in context.test_clips(set(context.everyday) - set(HELD_OUT))]
    labels = sorted({context.clips[s.clips[0]].label for s in singles})
    pairs = mixtures(context, len(singles) // 2, seed=32)
    order = [s for n, single in enumerate(singles) for s in ((single, pairs[n // 2]) if n % 2 and n // 2 < len(pairs) else (single,))]
    found = []
    for n, subject in enumerate(order):
        true = context.labels_of(subject)
        asked, chosen = _which(context, rng, str(rng.choice(true)), subject, labels)
        turns = [(ELSE, ()) if len(true) > 1 else (MAKES, ()), (asked, chosen)]
        if len(true) == 1 and n % 2:
            turns.reverse()
        others = [s for s in rng.permutation(np.array(order, object))[:60] if not set(context.labels_of(s)) & set(true)]
        group = "+".join(sorted(context.clips[i].group for i in subject.clips))
        found.append(DialogueItem(subject, OPENINGS[n % len(OPENINGS)], (turns[0][0], turns[1][0]), (turns[0][1], turns[1][1]),
                                  others[0], group))
    return found


def _converse(context: Context, item: DialogueItem, sound) -> list[str]:
    """The three answers, each asked with what was said before."""
    history: list[tuple[str, str]] = []
    for question in (item.opening, *item.questions):
        prompt = context.engine.build_prompt(sound, question, history=history, chat=True)
        history.append((question, "".join(context.engine.stream(sound, prompt, SENTENCE)).strip()))
    return [answer for _, answer in history]


def _dialogue_answer(context: Context, item: DialogueItem, controls: bool) -> dict:
    record = {"said": _converse(context, item, context.heard(item.subject))}
    if controls:
        record["other"] = _converse(context, item, context.heard(item.other))
        record |= {how: _converse(context, item, context.heard(item.subject, how)) for how in HOWS}
    return record


def turns_right(true: Sequence[str], item: DialogueItem, said: Sequence[str]) -> tuple[bool, bool]:
    """Whether the second and the third answer are right. Of four classes: names a true one and no other of the four. "What else":
    names a true event that no earlier answer named; where none is left, declines or names a true one again. Open: names a true one."""
    right = []
    for turn, (question, chosen) in enumerate(zip(item.questions, item.choices), 1):
        answer = said[turn]
        if chosen:
            named = [label for label in chosen if names(answer, label)]
            right.append(bool(named) and all(label in true for label in named))
        elif question == ELSE:
            left = [label for label in true if not any(names(text, label) for text in said[:turn])]
            right.append(any(names(answer, label) for label in left) if left else refuses(answer) or any(names(answer, t) for t in true))
        else:
            right.append(any(names(answer, label) for label in true))
    return right[0], right[1]


def _dialogue_score(context: Context, items: list[DialogueItem], records: list[dict]) -> Scores:
    pairs = list(zip(items, records))

    def value(pairs, key, turn=None):
        told = [turns_right(context.labels_of(i.subject), i, r[key]) for i, r in pairs]
        rights = [np.mean(t) if turn is None else t[turn] for t in told]
        return mean(rights, [context.labels_of(i.subject)[0] for i, _ in pairs], [i.group for i, _ in pairs])

    # What guessing would reach: the same answers held against other sounds of the same kind of question.
    shifted = [(a, r) for n, (a, _) in enumerate(pairs) for _, r in pairs[n + 7:n + 8] or pairs[:1]]
    open_chance = float(np.mean([np.mean([right for right, chosen in zip(turns_right(context.labels_of(i.subject), i, r["said"]), i.choices)
                                          if not chosen]) for i, r in shifted]))
    chance = (0.25 + open_chance) / 2
    both = value(pairs, "said")
    rows = [Row("second and third turn of a dialogue", *both, 2 * len(items), chance, "65 %", both[0] >= 0.65,
                "half open, half one of four; n counts turns"),
            Row("of these, second turn", *value(pairs, "said", 0), len(items)), Row("of these, third turn", *value(pairs, "said", 1), len(items))]
    for name, wanted in (("open questions", False), ("one of four", True)):
        told = [(float(right), i.group) for i, r in pairs
                for right, chosen in zip(turns_right(context.labels_of(i.subject), i, r["said"]), i.choices) if bool(chosen) == wanted]
        rows.append(Row(f"of these, {name}", *share([t for t, _ in told], [g for _, g in told]), len(told), 0.25 if wanted else open_chance))
    some = [(i, r) for i, r in pairs if "other" in r]
    if not some:
        return Scores(rows)
    beside, n = value(some, "said")[0], 2 * len(some)
    return Scores(rows, [other_audio("dialogue", value(some, "other"), n, beside, chance),
                         hidden_tags("dialogue", value(some, "no tags"), n, beside, chance),
                         degraded("dialogue", "phone", value(some, "phone"), n, beside, chance),
                         degraded("dialogue", "room", value(some, "room"), n, beside, chance)])


# When not to answer
@dataclass(frozen=True)
class UnknownItem:
    kind: str          # "noise", "unanswerable" or "answerable"
    subject: Subject
    question: str
    group: str


def _unknown_items(context: Context) -> list[UnknownItem]:
    """Noise or silence, a question without an answer, and one with an answer, in turn."""
    clips, found = context.test_clips(set(context.everyday) - set(HELD_OUT), seed=41), []
    for n in range(250):
        kind = NOISES[n % len(NOISES)]
        found.append(UnknownItem("noise", Subject((), kind, n), (prompts.CAPTION, prompts.CLASSIFY, *ANSWERABLE)[n % 5], f"{kind} {n}"))
        a, b = clips[(2 * n) % len(clips)], clips[(2 * n + 1) % len(clips)]
        question = UNANSWERABLE[n % len(UNANSWERABLE)].format(context.clips[a].label)
        found.append(UnknownItem("unanswerable", Subject((a,)), question, context.clips[a].group))
        found.append(UnknownItem("answerable", Subject((b,)), ANSWERABLE[n % len(ANSWERABLE)], context.clips[b].group))
    return found


def _unknown_answer(context: Context, item: UnknownItem, controls: bool) -> dict:
    say = lambda how: context.engine.ask(context.heard(item.subject, how), item.question, settings=SENTENCE).text
    record = {"said": say("")}
    if controls:
        record |= {how: say(how) for how in (HOWS if item.kind != "noise" else ("no tags",))}
    return record


def at_fault(item: UnknownItem, said: str) -> bool:
    """Noise: names something else than noise. Unanswerable: does not decline. Answerable: declines or says nothing."""
    if item.kind == "noise":
        return not refuses(said) and bool(claims(said)) and not names_noise_only(said)
    return not refuses(said) if item.kind == "unanswerable" else refuses(said) or not claims(said)


def _unknown_score(context: Context, items: list[UnknownItem], records: list[dict]) -> Scores:
    pairs, scores = list(zip(items, records)), Scores()
    for name, kinds, bar in (("names a sound in silence or noise, or answers the unanswerable", ("noise", "unanswerable"), "at most 10 %"),
                             ("of these, names a sound in silence or noise", ("noise",), "reported"),
                             ("of these, answers the unanswerable", ("unanswerable",), "reported"),
                             ("refuses answerable questions", ("answerable",), "at most 10 %")):
        some = [(i, r) for i, r in pairs if i.kind in kinds]
        if not some:
            continue
        value = share([at_fault(i, r["said"]) for i, r in some], [i.group for i, _ in some])
        scores.rows.append(Row(name, *value, len(some), None, bar, value[0] <= 0.1 if bar != "reported" else None))
        for how in HOWS if bar != "reported" else ():
            asked = [(i, r) for i, r in some if how in r]
            if asked:
                now = share([at_fault(i, r[how]) for i, r in asked], [i.group for i, _ in asked])
                beside = float(np.mean([at_fault(i, r["said"]) for i, r in asked]))
                label = "tag words removed" if how == "no tags" else how
                scores.controls.append(Control(name, label, *now, len(asked), beside, None, "shown"))
    return scores


ABILITIES = (
    Ability("present", _present_items, _present_answer, _present_score, lambda item: (item.subject, item.other)),
    Ability("dialogue", _dialogue_items, _dialogue_answer, _dialogue_score, lambda item: (item.subject, item.other)),
    Ability("unknown", _unknown_items, _unknown_answer, _unknown_score, lambda item: (item.subject,), most=750),
)
