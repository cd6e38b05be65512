"""Rows of the card: "is there a …?" on mixtures of two test clips, yes and no equally often."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from afcore import prompts
from afcore.corpus.held_out import HELD_OUT
from afcore.engine.results import Heard
from afcore.evaluation.card_context import Context
from afcore.evaluation.card_rows import Ability, CardRow, Scores, share, usual_controls
from afcore.evaluation.sounds import HOWS, Subject
from afcore.model.generation import GenerationSettings

SHORT = GenerationSettings(max_new_tokens=8)
MIXTURES = 300


@dataclass(frozen=True)
class PresentItem:
    subject: Subject
    event: str
    truth: str  # "yes" or "no"
    wording: str
    other: Subject  # a mixture without the event
    group: str


def mixtures(context: Context, count: int = MIXTURES, seed: int = 21) -> list[Subject]:
    """Pairs of test clips of different everyday classes, each class as often as any other; none is true of the
    other."""
    rng = np.random.default_rng(seed)
    of_label: dict[str, list[int]] = {}
    for i in context.test_clips(set(context.everyday) - set(HELD_OUT)):
        of_label.setdefault(context.clips.label_of(i), []).append(i)
    labels = sorted(of_label)
    found: list[Subject] = []
    while len(found) < count and len(labels) > 1:
        a, b = (str(n) for n in rng.permutation(labels)[:2])
        if b not in context.everyday[a].apart:
            found.append(Subject((int(rng.choice(of_label[a])), int(rng.choice(of_label[b])))))
    return found


def absent(context: Context, subject: Subject, label: str) -> bool:
    """Whether nothing that file name or teacher said of the sound shares a word with `label` or is kept apart from
    it."""
    infos, true = [context.clips[i] for i in subject.clips], context.labels_of(subject)
    told = {word for info in infos for text in (*info.events, *info.maybe) for word in text.split()}
    told |= {word for own in true for word in own.split()}
    return not told & set(label.split()) and not any(label in context.everyday[own].apart for own in true)


def _items(context: Context) -> list[PresentItem]:
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
            phrase = context.names[event].phrase
            wording = ("is there {}?" if phrase.startswith(("a ", "an ", "the ")) else "can you hear {}?").format(
                phrase
            )
            found.append(PresentItem(subject, event, truth, wording, others[0], group))
    return found


def _answer(context: Context, item: PresentItem, controls: bool) -> dict:
    asked = prompts.instruction(item.wording, yes_no=True)

    def say(sound: Heard) -> str:
        return context.engine.ask(sound, asked, settings=SHORT).text

    record = {"said": say(context.hear(item.subject))}
    if controls:
        record["other"] = say(context.hear(item.other))
        record |= {how: say(context.hear(item.subject, how)) for how in HOWS}
    return record


def yes_or_no(text: str) -> str:
    """The first word, where it is one of the two; anything else is a wrong answer."""
    first = text.lower().replace(",", " ").replace(".", " ").split()[:1]
    return first[0] if first and first[0] in ("yes", "no") else ""


def _score(context: Context, items: list[PresentItem], records: list[dict]) -> Scores:
    def right(pairs: list[tuple[PresentItem, dict]], key: str) -> list[float]:
        return [float(yes_or_no(r[key]) == i.truth) for i, r in pairs]

    pairs = list(zip(items, records, strict=True))
    groups = [i.group for i in items]
    value = share(right(pairs, "said"), groups)
    said_yes = float(np.mean([yes_or_no(r["said"]) == "yes" for r in records]))
    rows = [
        CardRow(
            'yes/no "is there a …?" on mixtures of two',
            *value,
            len(items),
            0.5,
            "85 %",
            value[0] >= 0.85,
            f"{len({i.subject.key for i in items})} mixtures, says yes in {said_yes:.0%}",
        )
    ]
    some = [(i, r) for i, r in pairs if "other" in r]
    if not some:
        return Scores(rows)
    by, beside, n = [i.group for i, _ in some], float(np.mean(right(some, "said"))), len(some)
    told = {how: share(right(some, how), by) for how in ("other", *HOWS)}
    return Scores(rows, usual_controls("yes/no", told, n, beside, 0.5))


ABILITIES = (Ability("present", _items, _answer, _score, lambda item: (item.subject, item.other)),)
