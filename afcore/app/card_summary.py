"""Mini's model card in a minute: four charts' worth of its tables, and what was met, read from the card itself.

The card is remade by commands; what it no longer has is left out here, and nothing is written down twice.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_NUMBER = re.compile(r"(\d+(?:\.\d+)?) ?%")


@dataclass(frozen=True)
class CardRow:
    """One line of the card's table of abilities."""

    ability: str
    measured: float
    """Share, 0 to 1."""
    chance: float | None
    met: bool | None
    """Whether it reached what was asked for; None where nothing was."""


@dataclass(frozen=True)
class Chart:
    """A few shares that belong together."""

    title: str
    says: str
    """How to read it."""
    shares: dict[str, float]


def rows_of(card: str) -> list[CardRow]:
    """The lines of the table of abilities that give a percentage."""
    found: list[CardRow] = []
    columns: dict[str, int] = {}  # of the table of abilities; {} outside it
    for line in card.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            columns = {}
        elif cells[0] == "ability":
            columns = {name: place for place, name in enumerate(cells)}
        elif columns and (share := _share(cells[columns["measured"]])) is not None:
            met = {"yes": True, "**no**": False}.get(cells[columns["met?"]])
            found.append(CardRow(cells[0], share, _share(cells[columns["chance"]]), met))
    return found


def charts_of(rows: Sequence[CardRow]) -> list[Chart]:
    """The four charts, those of which the card has at least two numbers."""
    charts = [
        _chart(
            rows,
            "A known sound, ten names to choose from",
            "Right answers; guessing gives 10 %.",
            ("kinds it was trained on", "of these, classes with training clips, zero-shot"),
            ("with 4 examples", "of these, classes with training clips, 4 shots"),
            ("kinds it never met", "of these, classes without any, zero-shot"),
        ),
        _chart(
            rows,
            "A sound that is new to it",
            "What a few examples teach it; guessing gives 10 %.",
            ("without examples", "held-out labels among 10 options, zero-shot"),
            ("with 8 examples", "held-out labels, 8 shots"),
            ("your own names, without examples", "invented names, zero-shot"),
            ("your own names, with 8 examples", "the same classes under invented names, 8 shots"),
        ),
        _chart(
            rows,
            "Questions in words",
            "Right answers; guessing gives 50 % of yes or no and 25 % of one of four.",
            ("is there a …?", "yes/no"),
            ("which of these four?", "of these, one of four"),
            ("open questions in a dialogue", "of these, open questions"),
        ),
        _chart(
            rows,
            "Does it make things up?",
            "Less is better.",
            ("names a sound in silence", "of these, names a sound in silence"),
            ("answers what nobody can know", "of these, answers the unanswerable"),
            ("refuses what it could answer", "refuses answerable questions"),
        ),
    ]
    return [chart for chart in charts if len(chart.shares) > 1]


def _chart(rows: Sequence[CardRow], title: str, says: str, *wanted: tuple[str, str]) -> Chart:
    found = {}
    for name, begins in wanted:
        row = next((row for row in rows if row.ability.startswith(begins)), None)
        if row is not None:
            found[name] = row.measured
    return Chart(title, says, found)


def met(rows: Sequence[CardRow]) -> tuple[int, int]:
    """How many of the asked-for scores were reached, and how many there are."""
    asked = [row for row in rows if row.met is not None]
    return sum(bool(row.met) for row in asked), len(asked)


def _share(text: str) -> float | None:
    found = _NUMBER.match(text)
    return float(found[1]) / 100 if found else None
