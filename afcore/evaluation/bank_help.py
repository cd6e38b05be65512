"""Do examples help on this bank? Every sound is labelled with examples of other sources alone (leave one source out):
none, the nearest k, k at random, and the plain nearest neighbour beside them."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from afcore import prompts
from afcore.errors import BadRequest, Cancelled
from afcore.retrieval.nearest import prompt_order
from afcore.stats import bootstrap_interval

if TYPE_CHECKING:
    from afcore.engine.engine import Engine
    from afcore.engine.results import Heard
    from afcore.retrieval import ExampleBank
    from afcore.retrieval.example import Example
    from afcore.retrieval.nearest import Retriever, Shot

KS = (0, 1, 2, 4, 8)
MOST = 60  # sounds that are labelled
OPTIONS = 10  # labels that each is chosen among; a bank with fewer is asked for all
FEWEST = 6  # sounds whose label has another source
NEAREST, RANDOM, NEIGHBOUR = "nearest", "random", "nearest neighbour alone"


@dataclass(frozen=True)
class Row:
    """One way of labelling."""

    way: str
    """`NEAREST`, `RANDOM` or `NEIGHBOUR`."""
    k: int
    right: np.ndarray
    """(N,) 1 where the label was right."""
    groups: tuple[str, ...]
    """The source of each sound."""
    seconds: float
    """For one sound, its examples found already."""
    words: float
    """Of the prompt: what the language side has to read for it."""

    @property
    def share(self) -> float:
        """How many are right, 0 to 1."""
        return float(self.right.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, over sources."""
        return bootstrap_interval(self.right, self.groups)

    @property
    def name(self) -> str:
        """As people read it."""
        if self.way == NEIGHBOUR:
            return "nearest neighbour alone"
        return "no examples" if self.k == 0 else f"{self.k} {'nearest' if self.way == NEAREST else 'at random'}"


@dataclass
class Help:
    """What was found."""

    sounds: int
    labels: int
    options: int
    rows: list[Row] = field(default_factory=list)
    of: tuple[str, ...] = ()
    """The right label of each sound."""

    def row(self, way: str, k: int) -> Row | None:
        """That of a way with k examples."""
        return next((row for row in self.rows if (row.way, row.k) == (way, k)), None)

    @property
    def best(self) -> Row:
        """Of the model's ways with the nearest examples, or none, the one with most right; of several the cheapest."""
        own = [row for row in self.rows if row.way == NEAREST]
        return max(own, key=lambda row: (row.share, -row.k))

    def gain(self, one: Row, two: Row) -> tuple[float, tuple[float, float]]:
        """How much more ``two`` has right than ``one``, with its 95 % interval over sources."""
        difference = two.right - one.right
        return float(difference.mean()), bootstrap_interval(difference, two.groups)

    def per_label(self) -> list[tuple[str, int, float, float]]:
        """(label, sounds, share right without examples, with the best k), most gained first."""
        bare, best, of = self.row(NEAREST, 0), self.best, np.array(self.of)
        assert bare is not None, "0 is among KS"
        rows = {label: of == label for label in sorted(set(self.of))}
        found = [
            (label, int(own.sum()), float(bare.right[own].mean()), float(best.right[own].mean()))
            for label, own in rows.items()
        ]
        return sorted(found, key=lambda entry: entry[2] - entry[3])

    def recommendation(self) -> str:
        """What to do, in a sentence or two."""
        bare, best, neighbour = self.row(NEAREST, 0), self.best, self.row(NEIGHBOUR, 1)
        assert bare is not None and neighbour is not None, "both are always measured"
        if best.k == 0:
            said = "Ask without examples: on this bank they do not help."
        else:
            gained, (low, high) = self.gain(bare, best)
            sure = "" if low > 0 else ", which may be chance"
            said = (
                f"Use {best.k} example{'s' * (best.k > 1)}: {100 * best.share:.0f} % right instead of "
                f"{100 * bare.share:.0f} %, a gain of {100 * gained:+.0f} ({100 * low:+.0f} to {100 * high:+.0f})"
                f"{sure}."
            )
            other = self.row(RANDOM, best.k)
            if other is not None and other.share >= best.share:
                said += " Examples at random do as well, so it is not their likeness that helps."
        ahead, (low, _) = self.gain(best, neighbour)
        if low > 0:
            said += f" For labels alone the plain nearest neighbour is better, by {100 * ahead:.0f}."
        return said

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        rows = [
            {
                "way": row.way,
                "k": row.k,
                "right": row.share,
                "interval": list(row.interval),
                "seconds": row.seconds,
                "words": row.words,
            }
            for row in self.rows
        ]
        labels = [
            {"label": label, "sounds": count, "without": bare, "with": best}
            for label, count, bare, best in self.per_label()
        ]
        return {
            "sounds": self.sounds,
            "labels": self.labels,
            "options": self.options,
            "rows": rows,
            "per_label": labels,
            "recommendation": self.recommendation(),
        }


def measure(
    engine: Engine,
    bank: ExampleBank,
    most: int = MOST,
    seed: int = 0,
    progress: Callable[[str, float], None] = lambda stage, share: None,
    stop: threading.Event | None = None,
) -> Help:
    """Labels up to ``most`` sounds of ``bank`` in every way. Raises BadRequest where too few sounds have a label that
    another source has too; Cancelled once ``stop`` is set."""
    progress("Listening to the bank", 0.0)
    retriever = engine.retriever(bank)
    asked = chosen(retriever.examples, most, seed)
    labels = sorted({example.label for example in retriever.examples})
    rng = np.random.default_rng(seed)
    ks = [k for k in KS if k <= engine.max_shots]
    ways = [(NEAREST, k) for k in ks] + [(RANDOM, k) for k in ks if k] + [(NEIGHBOUR, 1)]
    right: dict[tuple[str, int], list[float]] = {way: [] for way in ways}
    seconds, words = dict.fromkeys(ways, 0.0), dict.fromkeys(ways, 0.0)
    for number, example in enumerate(asked):
        if stop is not None and stop.is_set():
            raise Cancelled()
        progress(f"Labelling {number + 1} of {len(asked)}", number / len(asked))
        heard = engine.recall(bank, example)
        others = [label for label in labels if label != example.label]
        options = sorted([example.label, *(others[i] for i in rng.permutation(len(others))[: OPTIONS - 1])])
        for way, k in ways:
            shots = _shots(retriever, heard, example, way, k, options, rng)
            begun = time.perf_counter()
            if way == NEIGHBOUR:
                said = shots[0].example.label if shots else ""
            else:
                said = engine.score(heard, options, shots).best
            seconds[way, k] += time.perf_counter() - begun
            if way != NEIGHBOUR:
                text = engine.build_prompt(heard, prompts.CLASSIFY, shots, labels=options).text
                words[way, k] += len(text.split())
            right[way, k].append(float(said == example.label))
    groups = tuple(_source(example) for example in asked)
    found = Help(len(asked), len(labels), min(OPTIONS, len(labels)), of=tuple(example.label for example in asked))
    for way, k in ways:
        each = len(asked)
        found.rows.append(Row(way, k, np.array(right[way, k]), groups, seconds[way, k] / each, words[way, k] / each))
    return found


def chosen(examples: Sequence[Example], most: int, seed: int) -> list[Example]:
    """Sounds to label, evenly over the labels that more than one source has. Raises BadRequest for too few."""
    sources: dict[str, set[str]] = {}
    for example in examples:
        sources.setdefault(example.label, set()).add(_source(example))
    useful = [example for example in examples if len(sources[example.label]) > 1]
    if len(useful) < FEWEST or len({example.label for example in useful}) < 2:
        raise BadRequest(
            f"Only {len(useful)} sounds of this bank have a label that another source has too: it takes {FEWEST} of 2 "
            "labels to see whether examples help."
        )
    order = [useful[i] for i in np.random.default_rng(seed).permutation(len(useful))]
    turn: Counter[str] = Counter()
    ranked: list[tuple[int, int, Example]] = []
    for example in order:
        ranked.append((turn[example.label], len(ranked), example))
        turn[example.label] += 1
    return [example for _, _, example in sorted(ranked, key=lambda entry: entry[:2])][:most]


def _shots(
    retriever: Retriever,
    heard: Heard,
    example: Example,
    way: str,
    k: int,
    options: Sequence[str],
    rng: np.random.Generator,
) -> list[Shot]:
    """Examples of other sources, with labels that are asked about, in prompt order."""
    if k == 0:
        return []
    own = {other.id for other in retriever.examples if _source(other) == _source(example)}
    if way != RANDOM:
        return prompt_order(retriever.nearest(heard.query, k, heard.sha256, exclude_ids=own, labels=options))
    others = [other for other in retriever.examples if other.id not in own and other.label in options]
    return [retriever.shot(others[i].id, heard.query) for i in rng.permutation(len(others))[:k]]


def _source(example: Example) -> str:
    return example.group_key or example.sha256
