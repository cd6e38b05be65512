"""Rows of the card, and the statistics they are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from afcore.evaluation.card_context import Context
from afcore.stats import bootstrap_interval, macro_over

DRAWS = 500  # of the bootstrap
Measured = tuple[float, tuple[float, float]]
"""A value and its 95 % interval."""
OTHER, PERMUTED = "another clip's audio", "shot labels permuted"


@dataclass(frozen=True)
class CardRow:
    """A line of the card. `measured` with its 95 % interval, over `n` items; `met` is None where there is no bar.

    Where other judges answer beside the language side, `measured` and the bar are of the whole, and `alone` is what the
    language side reaches alone, with its interval."""

    ability: str
    measured: float
    interval: tuple[float, float]
    n: int
    chance: float | None = None
    bar: str = "reported"
    met: bool | None = None
    note: str = ""
    plain: bool = False
    """A number, not a share."""
    alone: Measured | None = None


@dataclass(frozen=True)
class Control:
    """A score's control. `beside`: the score without it on the same `n` items; `wanted`: what should be seen."""

    ability: str
    control: str
    measured: float
    interval: tuple[float, float]
    n: int
    beside: float
    chance: float | None
    wanted: str
    met: bool | None = None
    plain: bool = False


@dataclass
class Scores:
    rows: list[CardRow] = field(default_factory=list)
    controls: list[Control] = field(default_factory=list)


@dataclass(frozen=True)
class Ability:
    """How rows are computed: `items` in a fixed order, `answer` for one of them (with its controls, where asked) as
    plain data, and `score` of the items answered. `sounds`: the sounds of an item that must be made first."""

    name: str
    items: Callable[[Context], list]
    answer: Callable[[Context, Any, bool], dict]
    score: Callable[[Context, list, list[dict]], Scores]
    sounds: Callable[[Any], tuple] = lambda item: ()
    most: int = 600  # items, where nothing else limits them


def mean(correct: Sequence[float] | np.ndarray, labels: Sequence[str], groups: Sequence[str]) -> Measured:
    """Mean over labels of the mean within each, and its 95 % interval over redrawn sources."""
    over = macro_over(correct, labels)
    every = np.arange(len(correct))
    return over(every), bootstrap_interval(every, list(groups), over, draws=DRAWS)


def share(correct: Sequence[float], groups: Sequence[str]) -> Measured:
    """Plain mean and its 95 % interval over redrawn sources."""
    values = np.asarray(correct, float)
    return float(values.mean()), bootstrap_interval(values, list(groups), draws=DRAWS)


def other_audio(ability: str, value: Measured, n: int, beside: float, chance: float) -> Control:
    """The control with another clip's audio: chance must lie within its interval or above it."""
    measured, (low, high) = value
    return Control(ability, OTHER, measured, (low, high), n, beside, chance, "falls to chance", bool(low <= chance))


def hidden_tags(ability: str, value: Measured, n: int, beside: float, chance: float) -> Control:
    """The control without tag words: at least half of the lead over chance must be left."""
    measured, bounds = value
    return Control(
        ability,
        "tag words removed",
        measured,
        bounds,
        n,
        beside,
        chance,
        "keeps half of its lead over chance",
        bool(measured - chance >= (beside - chance) / 2) if beside > chance else None,
    )


def degraded(ability: str, how: str, value: Measured, n: int, beside: float, chance: float | None) -> Control:
    """Through the simulated phone or room, or whatever has no bar: only shown."""
    return Control(ability, how, value[0], value[1], n, beside, chance, "shown")


def usual_controls(ability: str, told: dict[str, Measured], n: int, beside: float, chance: float) -> list[Control]:
    """The four that every score has; `told`: "other", "no tags", "phone" and "room" → value with its interval."""
    line = n, beside, chance
    return [
        other_audio(ability, told["other"], *line),
        hidden_tags(ability, told["no tags"], *line),
        degraded(ability, "phone", told["phone"], *line),
        degraded(ability, "room", told["room"], *line),
    ]


def table(scores: Scores) -> str:
    """Both tables as Markdown."""
    mark = {None: "", True: "yes", False: "**no**"}

    def show(value, plain):
        return f"{value:.2f}" if plain else f"{value:.1%}"

    def span(bounds, plain):
        return f"{show(bounds[0], plain)} to {show(bounds[1], plain)}"

    lines = ["| ability | measured | 95 % | language side alone | n | chance | bar | met? |", "|---" * 8 + "|"]
    for r in scores.rows:
        chance = "" if r.chance is None else show(r.chance, r.plain)
        name = f"{r.ability} ({r.note})" if r.note else r.ability
        alone = "" if r.alone is None else f"{show(r.alone[0], r.plain)} ({span(r.alone[1], r.plain)})"
        lines.append(
            f"| {name} | {show(r.measured, r.plain)} | {span(r.interval, r.plain)} | {alone} | {r.n} | {chance} "
            f"| {r.bar} | {mark[r.met]} |"
        )
    if scores.controls:
        lines += [
            "",
            "| control of | control | measured | 95 % | n | without it, same items | chance | wanted | seen? |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
    for c in scores.controls:
        chance = "" if c.chance is None else show(c.chance, c.plain)
        lines.append(
            f"| {c.ability} | {c.control} | {show(c.measured, c.plain)} | {span(c.interval, c.plain)} | {c.n} "
            f"| {show(c.beside, c.plain)} | {chance} | {c.wanted} | {mark[c.met]} |"
        )
    return "\n".join(lines)
