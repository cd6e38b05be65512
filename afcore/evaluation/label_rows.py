"""Rows of the card about the right label among ten: everyday classes, classes held out of training, invented names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from afcore import prompts
from afcore.corpus.held_out import HELD_OUT
from afcore.corpus.items import renamed
from afcore.engine.engine import Engine
from afcore.engine.results import Heard
from afcore.evaluation.card_context import Context, ten_options
from afcore.evaluation.card_rows import PERMUTED, Ability, Control, Row, Scores, mean, share, usual_controls
from afcore.evaluation.sounds import HOWS, Subject
from afcore.retrieval.nearest import Shot, prompt_order

CHANCE = 0.1
SHOTS, SHOTS_NEW = 4, 8  # for known classes, for new ones
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
    labels = {context.clips[i].label for i in clips}
    found = []
    for i in clips:
        info = context.clips[i]
        options = ten_options(rng, info.label, sorted(labels), context)
        called = tuple(map(str, rng.permutation(INVENTED)[: len(options)])) if invented else options
        others = [j for j in rng.permutation(clips)[:50].tolist() if context.clips[j].label != info.label]
        found.append(LabelItem(Subject((i,)), info.label, options, called, Subject((others[0],)), info.group))
    return found


def chooser(engine: Engine, sound: Heard, options: list[str]) -> Callable[[Sequence[Shot]], str]:
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


def permutation(shots: Sequence[Shot], options: Sequence[str]) -> dict[str, str]:
    """Every label among the shots → another's: each the next one's by the alphabet; a lone one → another option."""
    labels = sorted({shot.example.label for shot in shots})
    if len(labels) < 2:
        return {label: next(option for option in options if option != label) for label in labels}
    return dict(zip(labels, [*labels[1:], labels[0]], strict=False))


def answer(
    context: Context, item: LabelItem, shots_of: Callable[[Heard], list[Shot]], controls: bool, large: bool = False
) -> dict:
    """The label chosen in each condition. `shots_of`: sound → shots in the prompt's order, as the options are called.
    `large`: with shots of the training bank too. Another clip's audio comes with the right clip's shots: copying from
    them is seen."""
    engine, options = context.engine, list(item.called)
    sound = context.heard(item.subject)
    shots, choose = shots_of(sound), chooser(engine, sound, options)
    record = {
        "zero": choose(),
        "shots": choose(shots),
        "near": shots[-1].example.label if shots else "",
        "shot labels": [shot.example.label for shot in shots],
    }
    if controls:
        swap = permutation(shots, options)
        record["shots, permuted"] = choose(renamed(shots, swap))
        record["followed"] = swap.get(item.name, "")  # what stands where the right name stood; "" where no shot had it
        if large:
            found = engine.neighbours(sound, SHOTS, bank=context.training_bank)
            record["shots of the large bank"] = choose(prompt_order(found))
        for how in ("other", *HOWS):
            changed = context.heard(item.other) if how == "other" else context.heard(item.subject, how)
            choose = chooser(engine, changed, options)
            record[f"zero, {how}"] = choose()
            record[f"shots, {how}"] = choose(shots if how in ("other", "no tags") else shots_of(changed))
    return record


def hits(items: Sequence[LabelItem], records: Sequence[dict], condition: str) -> np.ndarray:
    return np.array([record[condition] == item.name for item, record in zip(items, records, strict=False)], float)


def value(items: Sequence[LabelItem], records: Sequence[dict], condition: str) -> tuple[float, tuple[float, float]]:
    """Accuracy in a condition, mean over labels, with its interval."""
    return mean(hits(items, records, condition), [i.label for i in items], [i.group for i in items])


def controls_of(ability: str, kind: str, items: Sequence[LabelItem], records: Sequence[dict]) -> list[Control]:
    """Controls of the score `kind`, "zero" or "shots", over the items that were asked for them."""
    pairs = [(item, record) for item, record in zip(items, records, strict=False) if f"{kind}, other" in record]
    if not pairs:
        return []
    items, records = zip(*pairs, strict=False)
    told = {how: value(items, records, f"{kind}, {how}") for how in ("other", *HOWS)}
    found = usual_controls(ability, told, len(items), value(items, records, kind)[0], CHANCE)
    moved = [(item, record) for item, record in pairs if kind == "shots" and record["followed"]]
    if moved:
        groups = [item.group for item, _ in moved]
        follows = share([record["shots, permuted"] == record["followed"] for _, record in moved], groups)
        right = float(np.mean([record["shots"] == item.name for item, record in moved]))
        found.append(
            Control(
                ability,
                PERMUTED,
                *follows,
                len(moved),
                right,
                CHANCE,
                "answers follow the permutation (more than half)",
                follows[0] > 0.5,
            )
        )
    return found


def gain_of(items, records) -> tuple[float, tuple[float, float]]:
    """Mean over labels of the paired gain of shots, and its interval."""
    gain = hits(items, records, "shots") - hits(items, records, "zero")
    return mean(gain, [i.label for i in items], [i.group for i in items])


def _everyday_items(context: Context) -> list[LabelItem]:
    return items(context, set(context.everyday) - set(HELD_OUT), invented=False, seed=11)


def _everyday_answer(context: Context, item: LabelItem, controls: bool) -> dict:
    engine = context.engine
    near = engine.retriever().nearest(context.heard(item.subject).vector, 1, labels=item.options)
    return answer(context, item, lambda sound: prompt_order(engine.neighbours(sound, SHOTS)), controls, large=True) | {
        "near among options": near[0].example.label if near else ""
    }


def _everyday_score(context: Context, items: list[LabelItem], records: list[dict]) -> Scores:
    n, trained = len(items), {info.label for info in context.clips.info if info.split == "train"}
    kinds = len({item.label for item in items})
    zero, shots, gain = value(items, records, "zero"), value(items, records, "shots"), gain_of(items, records)
    rows = [
        Row(
            "everyday sound among 10 options, zero-shot", *zero, n, CHANCE, "70 %", zero[0] >= 0.70, f"{kinds} classes"
        ),
        Row(f"the same with {SHOTS} retrieved shots", *shots, n, CHANCE, "85 %", shots[0] >= 0.85, "shipped bank"),
        Row(f"paired gain of {SHOTS} shots", *gain, n, 0.0, "above 0", gain[1][0] > 0),
    ]
    for name, key in (
        ("beside it: CLAP nearest example among the options", "near among options"),
        ("beside it: CLAP nearest example of any label", "near"),
    ):
        rows.append(Row(name, *value(items, records, key), n, CHANCE))
    for name, known in (("of these, classes with training clips", True), ("of these, classes without any", False)):
        some = [(i, r) for i, r in zip(items, records, strict=False) if (i.label in trained) == known]
        if some:
            part, told = zip(*some, strict=False)
            note = f"{len({item.label for item in part})} classes"
            rows += [
                Row(f"{name}, {what}", *value(part, told, key), len(part), CHANCE, note=note)
                for what, key in (("zero-shot", "zero"), (f"{SHOTS} shots", "shots"))
            ]
    large = [(i, r) for i, r in zip(items, records, strict=False) if "shots of the large bank" in r]
    if large:
        part, told = zip(*large, strict=False)
        rows.append(
            Row(
                f"{SHOTS} shots from a bank of {len(context.training_bank.examples())} training clips",
                *value(part, told, "shots of the large bank"),
                len(part),
                CHANCE,
            )
        )
    return Scores(
        rows,
        controls_of("everyday, zero-shot", "zero", items, records)
        + controls_of(f"everyday, {SHOTS} shots", "shots", items, records),
    )


def _new_shots(context: Context, item: LabelItem):
    """The nearest clips of the training bank among the options' classes, by the names that these have here."""
    names = dict(zip(item.options, item.called, strict=False))

    def found(sound):
        return context.engine.neighbours(sound, SHOTS_NEW, bank=context.training_bank, labels=set(item.options))

    return lambda sound: renamed(prompt_order(found(sound)), names)


def _new_answer(context: Context, item: LabelItem, controls: bool) -> dict:
    return answer(context, item, _new_shots(context, item), controls)


def _held_out_score(context: Context, items: list[LabelItem], records: list[dict]) -> Scores:
    n, kinds = len(items), len({item.label for item in items})
    note = f"{kinds} classes with test clips; shots: the {SHOTS_NEW} nearest training clips of the options"
    rows = [
        Row("held-out labels among 10 options, zero-shot", *value(items, records, "zero"), n, CHANCE, note=note),
        Row(f"held-out labels, {SHOTS_NEW} shots", *value(items, records, "shots"), n, CHANCE),
        Row(f"held-out labels, paired gain of {SHOTS_NEW} shots", *gain_of(items, records), n, 0.0),
        Row("beside it: CLAP nearest example among the options", *value(items, records, "near"), n, CHANCE),
    ]
    return Scores(
        rows,
        controls_of("held out, zero-shot", "zero", items, records)
        + controls_of(f"held out, {SHOTS_NEW} shots", "shots", items, records),
    )


def _invented_score(context: Context, items: list[LabelItem], records: list[dict]) -> Scores:
    n, zero, shots = len(items), value(items, records, "zero"), value(items, records, "shots")
    rows = [
        Row(f"the same classes under invented names, {SHOTS_NEW} shots", *shots, n, CHANCE, "60 %", shots[0] >= 0.60),
        Row("invented names, zero-shot", *zero, n, CHANCE, "chance", zero[1][0] <= CHANCE <= zero[1][1]),
        Row("beside it: CLAP nearest example among the options", *value(items, records, "near"), n, CHANCE),
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
