"""Rows of the card about the right label among ten: everyday classes, classes held out of training, invented names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from afcore import paths, prompts
from afcore.clap.mini import MiniClap
from afcore.corpus.held_out import HELD_OUT
from afcore.corpus.items import renamed
from afcore.encoders.mini import TAGS
from afcore.engine.engine import Engine
from afcore.engine.judges import JudgesFile
from afcore.engine.model_folder import JUDGES
from afcore.engine.results import Heard
from afcore.evaluation.card_context import Context, ten_options
from afcore.evaluation.card_rows import (
    PERMUTED,
    Ability,
    CardRow,
    Control,
    Measured,
    Scores,
    mean,
    share,
    usual_controls,
)
from afcore.evaluation.sounds import HOWS, Subject
from afcore.evaluation.split_scores import teacher_rows
from afcore.retrieval.nearest import Shot, prompt_order

CHANCE = 0.1
BELOW = 0.05  # of what the teacher's own tags reach is enough where they reach less than the bar
SHOTS, SHOTS_NEW = 4, 8  # for known classes, for new ones
CHANGES = ("other", *HOWS)
# Words that mean nothing, neither those of training (shots.INVENTED) nor those of calibration.
INVENTED = (
    "abbid brolt chuvey dremmel ebbix frunt glave hemsor ilvet jorrib kelvoo lopsat murgle noffin ospey prell "
    "quavid rindop skolm tavvit ulbren vessom wirrel yombat zelkin"
).split()


@dataclass(frozen=True)
class LabelItem:
    """`other`: a test clip with another label. `called`: what the options are called, in their order."""

    subject: Subject
    label: str
    options: tuple[str, ...]
    called: tuple[str, ...]
    other: Subject
    group: str

    @property
    def name(self) -> str:
        """What the right option is called."""
        return self.called[self.options.index(self.label)]


def items(context: Context, labels: set[str], invented: bool, seed: int) -> list[LabelItem]:
    """Test clips with one of `labels`, each with ten of those that test clips have."""
    rng = np.random.default_rng(seed)
    clips = context.test_clips(labels)
    labels = {context.clips.label_of(i) for i in clips}
    found = []
    for i in clips:
        info, label = context.clips[i], context.clips.label_of(i)
        options = ten_options(rng, label, sorted(labels), context)
        called = tuple(map(str, rng.permutation(INVENTED)[: len(options)])) if invented else options
        others = [j for j in rng.permutation(clips)[:50].tolist() if context.clips[j].label != label]
        found.append(LabelItem(Subject((i,)), label, options, called, Subject((others[0],)), info.group))
    return found


class Choose(Protocol):
    """Shots → the option that is likeliest with them."""

    def __call__(self, shots: Sequence[Shot] = ()) -> str: ...


def chooser(engine: Engine, sound: Heard, options: list[str]) -> Choose:
    """Shots → the option that `Engine.classify` finds likeliest with them; the question without shots is read only
    once."""
    reader = engine.calibration
    bare = engine.build_prompt(sound, prompts.CLASSIFY, labels=options)
    without, counts = engine.score_labels(sound, bare, options)
    free = engine.content_free_scores(bare, options) if reader.alpha else None

    def choose(shots: Sequence[Shot] = ()) -> str:
        if not shots:
            return options[int(reader.probabilities(without, counts, free).argmax())]
        scores, _ = engine.score_labels(
            sound, engine.build_prompt(sound, prompts.CLASSIFY, shots, labels=options), options
        )
        return options[int(reader.probabilities(scores, counts, free, without if reader.shots < 1 else None).argmax())]

    return choose


def whole(engine: Engine, sound: Heard, options: list[str]) -> Choose:
    """As `chooser`, by all judges that the engine believes."""

    def choose(shots: Sequence[Shot] = ()) -> str:
        return engine.score(sound, options, shots).best

    return choose


WHOLE = "whole "
WHO = {"": chooser, WHOLE: whole}
"""What conditions of a record begin with → who chose: the language side alone, all judges."""


def permutation(shots: Sequence[Shot], options: Sequence[str]) -> dict[str, str]:
    """Every label among the shots → another's: each the next one's by the alphabet; a lone one → another option."""
    labels = sorted({shot.example.label for shot in shots})
    if len(labels) < 2:
        return {label: next(option for option in options if option != label) for label in labels}
    return dict(zip(labels, [*labels[1:], labels[0]], strict=False))


def answer(
    context: Context, item: LabelItem, shots_of: Callable[[Heard], list[Shot]], controls: bool, large: bool = False
) -> dict:
    """The label chosen in each condition, by the language side alone and by the whole (`WHO`).

    `shots_of`: sound → shots in the prompt's order, as the options are called. `large`: with shots of the training bank
    too. Another clip's audio comes with the right clip's shots: copying from them is seen."""
    engine, options = context.engine, list(item.called)
    sound = context.hear(item.subject)
    shots = shots_of(sound)
    record: dict[str, Any] = {
        "near": shots[-1].example.label if shots else "",
        "shot labels": [shot.example.label for shot in shots],
    }
    for who, made in WHO.items():
        choose = made(engine, sound, options)
        record |= {f"{who}zero": choose(), f"{who}shots": choose(shots)}
    if not controls:
        return record
    swap = permutation(shots, options)
    record["followed"] = swap.get(item.name, "")  # what stands where the right name stood; "" where no shot had it
    changed = {how: context.hear(item.other) if how == "other" else context.hear(item.subject, how) for how in CHANGES}
    for who, made in WHO.items():
        choose = made(engine, sound, options)
        record[f"{who}shots, permuted"] = choose(renamed(shots, swap))
        if large:
            found = engine.neighbours(sound, SHOTS, bank=context.training_bank)
            record[f"{who}shots of the large bank"] = choose(prompt_order(found))
        for how, heard in changed.items():
            choose = made(engine, heard, options)
            record[f"{who}zero, {how}"] = choose()
            record[f"{who}shots, {how}"] = choose(shots if how in ("other", "no tags") else shots_of(heard))
    return record


def hits(items: Sequence[LabelItem], records: Sequence[dict], condition: str) -> np.ndarray:
    return np.array([record[condition] == item.name for item, record in zip(items, records, strict=False)], float)


def value(items: Sequence[LabelItem], records: Sequence[dict], condition: str) -> Measured:
    """Accuracy in a condition, mean over labels, with its interval."""
    return mean(hits(items, records, condition), [i.label for i in items], [i.group for i in items])


def controls_of(ability: str, kind: str, items: Sequence[LabelItem], records: Sequence[dict]) -> list[Control]:
    """Controls of the score `kind`, "zero" or "shots", over the items that were asked for them: of the whole, then of
    the language side alone."""
    pairs = [(item, record) for item, record in zip(items, records, strict=False) if f"{kind}, other" in record]
    if not pairs:
        return []
    items, records = zip(*pairs, strict=False)
    found = []
    for who in (WHOLE, ""):
        name = ability if who else f"{ability}, language side alone"
        told = {how: value(items, records, f"{who}{kind}, {how}") for how in CHANGES}
        beside = value(items, records, who + kind)[0]
        found += usual_controls(name, told, len(items), beside, CHANCE)
        moved = [(item, record) for item, record in pairs if kind == "shots" and record["followed"]]
        if moved:
            groups = [item.group for item, _ in moved]
            follows = share([record[f"{who}shots, permuted"] == record["followed"] for _, record in moved], groups)
            right = float(np.mean([record[f"{who}shots"] == item.name for item, record in moved]))
            wanted, met = "answers follow the permutation (more than half)", follows[0] > 0.5
            found.append(Control(name, PERMUTED, *follows, len(moved), right, CHANCE, wanted, met))
    return found


def gain_of(items: Sequence[LabelItem], records: Sequence[dict], who: str = WHOLE) -> Measured:
    """Mean over labels of the paired gain of shots, and its interval."""
    gain = hits(items, records, f"{who}shots") - hits(items, records, f"{who}zero")
    return mean(gain, [i.label for i in items], [i.group for i in items])


def scored(
    ability: str,
    items: Sequence[LabelItem],
    records: Sequence[dict],
    condition: str,
    least: float | None = None,
    note: str = "",
    teacher: float | None = None,
) -> CardRow:
    """The row of a condition: the whole, and beside it the language side alone. `least`: what is asked of the whole, or
    `BELOW` the `teacher`'s share where that is less."""
    measured, alone = value(items, records, WHOLE + condition), value(items, records, condition)
    bar, met = ("reported", None) if least is None else (f"{100 * least:.0f} %", measured[0] >= least)
    if least is not None and teacher is not None and teacher - BELOW < least:
        bar = f"{100 * least:.0f} %, or the teacher's {100 * teacher:.1f} % less {100 * BELOW:.0f} points"
        met = measured[0] >= teacher - BELOW
    return CardRow(ability, *measured, len(items), CHANCE, bar, met, note, alone=alone)


def _everyday_items(context: Context) -> list[LabelItem]:
    return items(context, set(context.everyday) - set(HELD_OUT), invented=False, seed=11)


def _everyday_answer(context: Context, item: LabelItem, controls: bool) -> dict:
    engine = context.engine
    near = engine.retriever().nearest(context.hear(item.subject).vector, 1, labels=item.options)
    return answer(context, item, lambda sound: prompt_order(engine.neighbours(sound, SHOTS)), controls, large=True) | {
        "near among options": near[0].example.label if near else ""
    }


def teacher_hits(context: Context, items: Sequence[LabelItem]) -> np.ndarray | None:
    """Whether the teacher's own tags, by the judge of names, find the right option: what hearing allows. None for an
    engine whose CLAP is another than mini's."""
    known, clap = JudgesFile.load(paths.MINI / JUDGES[0]), context.engine.clap
    if not isinstance(clap, MiniClap):
        return None
    judge = known.name_judge(clap)
    heard = teacher_rows(context.work / "corpus", context.clips)
    found = []
    for item in items:
        logits = heard[item.subject.clips[0], -TAGS:]
        scores = judge.scores(item.options, 1 / (1 + np.exp(-logits)))
        found.append(item.options[int(np.argmax(scores))] == item.label)
    return np.array(found, float)


def _everyday_score(context: Context, items: list[LabelItem], records: list[dict]) -> Scores:
    hears = teacher_hits(context, items)
    by_teacher = mean(hears, [i.label for i in items], [i.group for i in items]) if hears is not None else None
    most = by_teacher[0] if by_teacher else None
    n, trained = len(items), {info.label for info in context.clips.info if info.split == "train"}
    kinds, gain = len({item.label for item in items}), gain_of(items, records)
    name, note = "everyday sound among 10 options, zero-shot", f"{kinds} classes"
    rows = [
        scored(name, items, records, "zero", 0.80, note, most),
        scored(f"the same with {SHOTS} retrieved shots", items, records, "shots", 0.85, "shipped bank", most),
        *([CardRow("beside it: the teacher's own tags, by name", *by_teacher, n, CHANCE)] if by_teacher else []),
        CardRow(
            f"paired gain of {SHOTS} shots",
            *gain,
            n,
            0.0,
            "above 0",
            gain[1][0] > 0,
            alone=gain_of(items, records, ""),
        ),
    ]
    for name, key in (
        ("beside it: CLAP nearest example among the options", "near among options"),
        ("beside it: CLAP nearest example of any label", "near"),
    ):
        rows.append(CardRow(name, *value(items, records, key), n, CHANCE))
    for name, known in (("of these, classes with training clips", True), ("of these, classes without any", False)):
        some = [(i, r) for i, r in zip(items, records, strict=False) if (i.label in trained) == known]
        if some:
            part, told = zip(*some, strict=False)
            note = f"{len({item.label for item in part})} classes"
            rows += [
                scored(f"{name}, zero-shot", part, told, "zero", None if known else 0.65, note),
                scored(f"{name}, {SHOTS} shots", part, told, "shots", None, note),
            ]
    large = [(i, r) for i, r in zip(items, records, strict=False) if "shots of the large bank" in r]
    if large:
        part, told = zip(*large, strict=False)
        name = f"{SHOTS} shots from a bank of {len(context.training_bank.examples())} training clips"
        rows.append(scored(name, part, told, "shots of the large bank"))
    return Scores(
        rows,
        controls_of("everyday, zero-shot", "zero", items, records)
        + controls_of(f"everyday, {SHOTS} shots", "shots", items, records),
    )


def _new_shots(context: Context, item: LabelItem) -> Callable[[Heard], list[Shot]]:
    """The nearest clips of the training bank among the options' classes, by the names that these have here."""
    names = dict(zip(item.options, item.called, strict=False))

    def found(sound: Heard) -> list[Shot]:
        return context.engine.neighbours(sound, SHOTS_NEW, bank=context.training_bank, labels=set(item.options))

    return lambda sound: renamed(prompt_order(found(sound)), names)


def _new_answer(context: Context, item: LabelItem, controls: bool) -> dict:
    return answer(context, item, _new_shots(context, item), controls)


def _held_out_score(context: Context, items: list[LabelItem], records: list[dict]) -> Scores:
    n, kinds = len(items), len({item.label for item in items})
    note = f"{kinds} classes with test clips; shots: the {SHOTS_NEW} nearest training clips of the options"
    near = value(items, records, "near")
    rows = [
        scored("held-out labels among 10 options, zero-shot", items, records, "zero", 0.60, note),
        scored(f"held-out labels, {SHOTS_NEW} shots", items, records, "shots", 0.85),
        CardRow(
            f"held-out labels, paired gain of {SHOTS_NEW} shots",
            *gain_of(items, records),
            n,
            0.0,
            alone=gain_of(items, records, ""),
        ),
        CardRow("beside it: CLAP nearest example among the options", *near, n, CHANCE),
    ]
    return Scores(
        rows,
        controls_of("held out, zero-shot", "zero", items, records)
        + controls_of(f"held out, {SHOTS_NEW} shots", "shots", items, records),
    )


def _invented_score(context: Context, items: list[LabelItem], records: list[dict]) -> Scores:
    zero, near = value(items, records, WHOLE + "zero"), value(items, records, "near")
    met = zero[1][0] <= CHANCE <= zero[1][1]
    alone = value(items, records, "zero")
    rows = [
        scored(f"the same classes under invented names, {SHOTS_NEW} shots", items, records, "shots", 0.85),
        CardRow("invented names, zero-shot", *zero, len(items), CHANCE, "chance", met, alone=alone),
        CardRow("beside it: CLAP nearest example among the options", *near, len(items), CHANCE),
    ]
    return Scores(rows, controls_of(f"invented names, {SHOTS_NEW} shots", "shots", items, records))


def _sounds(item: LabelItem) -> tuple:
    return item.subject, item.other


ABILITIES = (
    Ability("everyday", _everyday_items, _everyday_answer, _everyday_score, _sounds),
    Ability(
        "held-out", lambda context: items(context, set(HELD_OUT), False, 12), _new_answer, _held_out_score, _sounds
    ),
    Ability("invented", lambda context: items(context, set(HELD_OUT), True, 13), _new_answer, _invented_score, _sounds),
)
