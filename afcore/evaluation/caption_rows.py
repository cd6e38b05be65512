"""Rows of the card about captions: named events against the true ones, and CIDEr without and with shots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from afcore.corpus.held_out import HELD_OUT
from afcore.evaluation.card_context import Context
from afcore.evaluation.card_rows import (
    DRAWS,
    PERMUTED,
    Ability,
    CardRow,
    Control,
    Measured,
    Scores,
    share,
    usual_controls,
)
from afcore.evaluation.dialogue_rows import SENTENCE
from afcore.evaluation.mentions import repeats
from afcore.evaluation.metrics import cider
from afcore.evaluation.naming import names, true_claims
from afcore.evaluation.present_rows import mixtures
from afcore.evaluation.sounds import HOWS, Subject
from afcore.retrieval.nearest import prompt_order
from afcore.retrieval.shuffling import shuffled
from afcore.stats import bootstrap_interval

SHOTS = 4
SUFFIX = " can be heard"  # of one of the forms in which the corpus writes the same caption


@dataclass(frozen=True)
class CaptionItem:
    subject: Subject
    other: Subject  # a sound without any of its labels
    group: str

    @property
    def single(self) -> bool:
        return len(self.subject.clips) == 1


def references(context: Context, item: CaptionItem) -> list[str]:
    """A single clip's held-out caption, in both forms."""
    caption = context.clips[item.subject.clips[0]].caption.removesuffix(SUFFIX)
    return [caption, caption + SUFFIX]


def _items(context: Context) -> list[CaptionItem]:
    """Single clips and mixtures in turn."""
    rng = np.random.default_rng(51)
    singles = [Subject((i,)) for i in context.test_clips(set(context.everyday) - set(HELD_OUT))]
    order = [s for pair in zip(singles, mixtures(context), strict=False) for s in pair]
    found = []
    for subject in order:
        true = set(context.labels_of(subject))
        others = [s for s in rng.permutation(np.array(order, object))[:60] if not set(context.labels_of(s)) & true]
        found.append(CaptionItem(subject, others[0], "+".join(sorted(context.clips[i].group for i in subject.clips))))
    return found


def _answer(context: Context, item: CaptionItem, controls: bool) -> dict:
    engine = context.engine

    def say(sound, shots=()):
        return engine.caption(sound, shots, SENTENCE).text

    sound = context.hear(item.subject)
    record = {"said": say(sound)}
    if item.single:
        shots = prompt_order(engine.neighbours(sound, SHOTS))
        record |= {"shots": say(sound, shots), "shown": [shot.example.caption for shot in shots]}
        if controls:
            record["shots, other"] = say(context.hear(item.other), shots)
            record["shots, permuted"] = say(sound, shuffled(shots))
            record["shots, no tags"] = say(context.hear(item.subject, "no tags"), shots)
            for how in ("phone", "room"):
                changed = context.hear(item.subject, how)
                record[f"shots, {how}"] = say(changed, prompt_order(engine.neighbours(changed, SHOTS)))
    if controls:
        record["other"] = say(context.hear(item.other))
        record |= {how: say(context.hear(item.subject, how)) for how in HOWS}
    return record


def named(context: Context, subject: Subject, said: str) -> tuple[int, int, int, int]:
    """(true claims, all claims, true labels named, all true labels) of a caption."""
    infos, labels = [context.clips[i] for i in subject.clips], context.labels_of(subject)
    events, maybe = (
        [event for told in part for event in told]
        for part in zip(*((info.events, info.maybe) for info in infos), strict=False)
    )
    verdicts = true_claims(said, labels, events, maybe)
    return sum(verdicts), len(verdicts), sum(names(said, label) for label in labels), len(labels)


def rates(counts: Sequence[tuple[int, int, int, int]], groups: Sequence[str]) -> dict[str, Measured]:
    """Precision and recall over all captions, each with its interval."""
    table = np.asarray(counts, float)

    def ratio(hit: int, all: int) -> Callable[[np.ndarray], float]:
        return lambda rows: float(table[rows, hit].sum() / max(table[rows, all].sum(), 1))

    every = np.arange(len(table))
    return {
        name: (ratio(*columns)(every), bootstrap_interval(every, list(groups), ratio(*columns), draws=DRAWS))
        for name, columns in (("precision", (0, 1)), ("recall", (2, 3)))
    }


def _score(context: Context, items: list[CaptionItem], records: list[dict]) -> Scores:
    scores, pairs = Scores(), list(zip(items, records, strict=False))
    groups = [i.group for i in items]

    def of(pairs: list[tuple[CaptionItem, dict]], key: str) -> dict[str, Measured]:
        return rates([named(context, i.subject, r[key]) for i, r in pairs], [i.group for i, _ in pairs])

    found = of(pairs, "said")
    # What guessing would reach: the same captions held against the sound four places on, of the same kind.
    guessed = rates(
        [named(context, i.subject, r["said"]) for i, r in zip(items, records[4:] + records[:4], strict=False)], groups
    )
    kinds = f"{sum(i.single for i in items)} clips, {sum(not i.single for i in items)} mixtures"
    for name, bar in (("precision", 0.70), ("recall", 0.55)):
        scores.rows.append(
            CardRow(
                f"caption: named events, {name}",
                *found[name],
                len(items),
                guessed[name][0],
                f"{bar:.0%}",
                found[name][0] >= bar,
                kinds,
            )
        )
    for name, single in (("single clips", True), ("mixtures", False)):
        part = [p for p in pairs if p[0].single == single]
        for kind, value in of(part, "said").items() if part else ():
            scores.rows.append(CardRow(f"of these, {name}, {kind}", *value, len(part)))
    twice = share([float(repeats(r["said"])) for r in records], groups)
    scores.rows.append(
        CardRow("captions that name one event twice", *twice, len(items), None, "at most 1 %", twice[0] <= 0.01)
    )
    some = [p for p in pairs if "other" in p[1]]
    if some:
        beside, told = of(some, "said"), {how: of(some, how) for how in ("other", *HOWS)}
        for kind in ("precision", "recall"):
            by = {how: value[kind] for how, value in told.items()}
            scores.controls += usual_controls(f"caption, {kind}", by, len(some), beside[kind][0], guessed[kind][0])
    _score_cider(context, [p for p in pairs if p[0].single], scores)
    return scores


def _score_cider(context: Context, pairs: list[tuple[CaptionItem, dict]], scores: Scores) -> None:
    """Adds the rows of CIDEr. Controls are over fewer clips, so what words weigh is counted over the same few."""
    if not pairs:
        return

    def value(
        pairs: list[tuple[CaptionItem, dict]], key: str, told: list[list[str]] | None = None
    ) -> tuple[np.ndarray, Measured]:
        said = cider([r[key] for _, r in pairs], told or [references(context, i) for i, _ in pairs])
        return said, (float(said.mean()), bootstrap_interval(said, [i.group for i, _ in pairs], draws=DRAWS))

    (zero, none), (shown, four) = value(pairs, "said"), value(pairs, "shots")
    n, gain = len(pairs), shown - zero
    chance = value(pairs, "said", [references(context, i) for i, _ in pairs[5:] + pairs[:5]])[1][0]
    spread = bootstrap_interval(gain, [i.group for i, _ in pairs], draws=DRAWS)
    scores.rows += [
        CardRow("caption: CIDEr against held-out captions, zero-shot", *none, n, chance, plain=True),
        CardRow(f"caption: CIDEr, {SHOTS} shots", *four, n, chance, plain=True),
        CardRow(
            f"caption: CIDEr, paired gain of {SHOTS} shots",
            float(gain.mean()),
            spread,
            n,
            0.0,
            "shots better",
            bool(gain.mean() > 0),
            plain=True,
        ),
    ]
    copied = share(
        [float(r["shots"].strip().lower() in {text.lower() for text in r["shown"]}) for _, r in pairs],
        [i.group for i, _ in pairs],
    )
    scores.rows.append(
        CardRow(
            f"caption, {SHOTS} shots: repeats a shot's word for word",
            *copied,
            n,
            None,
            "at most 10 %",
            copied[0] <= 0.1,
        )
    )
    some = [p for p in pairs if "shots, other" in p[1]]
    if not some:
        return
    moved = [references(context, i) for i, _ in some[1:] + some[:1]]
    for kind, key, how_key in (("CIDEr, zero-shot", "said", "{}"), (f"CIDEr, {SHOTS} shots", "shots", "shots, {}")):
        told = {how: value(some, how_key.format(how))[1] for how in ("other", *HOWS)}
        lines = usual_controls(kind, told, len(some), value(some, key)[1][0], value(some, key, moved)[1][0])
        scores.controls += [replace(control, plain=True) for control in lines]
    permuted = value(some, "shots, permuted")[1]
    scores.controls.append(
        Control(
            f"CIDEr, {SHOTS} shots",
            PERMUTED,
            *permuted,
            len(some),
            value(some, "shots")[1][0],
            None,
            "shown: captions follow where it falls",
            plain=True,
        )
    )


ABILITIES = (Ability("captions", _items, _answer, _score, lambda item: (item.subject, item.other)),)
