"""None of these: a threshold under which a clip is not forced into a label, calibrated on the examples.

Each example is predicted with itself left out. What of that lies lowest says how low a clip of a known class may come
out (split-conformal quantile: of n examples and one new clip, each is equally likely to be the lowest). Sounds that
belong to no class, say of the bank, show what would be let in; they choose how many of the examples lie below the
limit, and whether it is one of probability, of similarity, or both. With few examples that matters: the lowest of
twelve may be an odd one, and a limit there would let most strangers in.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from afcore.errors import BadRequest, Cancelled
from afcore.stats import wilson
from afcore.teach.schema import NONE, is_none_of_these

if TYPE_CHECKING:
    from afcore.engine.engine import Engine
    from afcore.engine.results import Heard
    from afcore.retrieval.bank import Bank
    from afcore.teach.loop import Loop
    from afcore.teach.predict import Examples

FEWEST = 5  # examples to calibrate on
TARGET = 0.1
MOST = 0.3
"""Share of the known clips that may be rejected for the sake of the strangers that are then kept out."""


@dataclass(frozen=True)
class Evidence:
    """How sure a clip came out."""

    probability: float
    """Of its best label."""
    similarity: float
    """Cosine with the nearest example; -1 where there is none."""


@dataclass(frozen=True)
class Threshold:
    """A clip is none of these where either value is below its limit; None: not looked at. The limits are
    `Settings.reject_below` and `Settings.reject_similarity`."""

    probability: float | None
    similarity: float | None
    false_reject: float
    """Expected share of clips of known classes that are rejected, at most."""
    false_accept: float | None = None
    """Share of the out-of-class sounds that get a label; None where there were none."""
    false_accept_interval: tuple[float, float] | None = None
    """95 %, Wilson."""
    known: int = 0
    unknown: int = 0
    """Sounds that `false_accept` was counted on."""

    def sentence(self) -> str:
        """For people."""
        text = (
            f"At most about {100 * self.false_reject:.0f} % of clips that have one of the labels will be called "
            f"none of "
            f"these, judging by {self.known} examples."
        )
        if self.false_accept is None or self.false_accept_interval is None:
            return text + " How many other sounds get a label all the same is not known: none were tried."
        low, high = self.false_accept_interval
        return text + (
            f" Of {self.unknown} sounds that have none of the labels, {100 * self.false_accept:.0f} % got one "
            f"all the same ({100 * low:.0f} to {100 * high:.0f} %)."
        )


def calibrate(
    known: Sequence[Evidence],
    unknown: Sequence[Evidence] = (),
    target: float = TARGET,
    most: float = MOST,
    similarity: bool = True,
) -> Threshold:
    """The limits by which new clips of known classes are seldom rejected and strangers seldom let in.

    The n examples bound the share of clips that is rejected in steps of 1 / (n + 1), at least one. With ``unknown``: of
    all limits that reject at most ``most``, those for which both shares of mistakes have the least sum; every second
    stranger chooses, the others count what is let in. Without: those that reject ``target``, shared between both
    limits, probability first. ``similarity`` False: probability alone. Raises BadRequest for fewer than `FEWEST`
    examples.
    """
    _check_enough(len(known))
    if not 0 < target < 1 or not 0 < most < 1:
        raise ValueError("target and most are shares between 0 and 1")
    share = len(known) + 1
    steps = max(1, math.floor((most if unknown else target) * share + 1e-9))
    p, s = sorted(e.probability for e in known), sorted(e.similarity for e in known)
    choosing, counting = unknown[::2], unknown[1::2]

    def limits(i: int, j: int) -> tuple[float | None, float | None]:
        return p[i - 1] if i else None, s[j - 1] if j else None

    def let_in(pair: tuple[int, int], some: Sequence[Evidence]) -> int:
        return sum(not is_none_of_these(e.probability, e.similarity, *limits(*pair)) for e in some)

    if choosing:
        pairs = [(n - j, j) for n in range(1, steps + 1) for j in range(n + 1 if similarity else 1)]
        best = min(pairs, key=lambda pair: sum(pair) / share + let_in(pair, choosing) / len(choosing))
    else:
        best = (steps - steps // 2, steps // 2) if similarity else (steps, 0)
    found = Threshold(*limits(*best), false_reject=sum(best) / share, known=len(known), unknown=len(counting))
    if not counting:
        return found
    strangers = let_in(best, counting)
    return replace(
        found, false_accept=strangers / len(counting), false_accept_interval=wilson(strangers, len(counting))
    )


def of_project(
    loop: Loop,
    bank: Bank | None = None,
    most_unknown: int = 80,
    progress: Callable[[int, int], None] | None = None,
    stop: threading.Event | None = None,
    labels: Collection[str] | None = None,
) -> Threshold:
    """`calibrate` for a project by its own method. Known: each example, judged as if it were new. Unknown: what
    reviewers have called none of these, and up to ``most_unknown`` sounds of ``bank`` with other labels, of ``labels``
    alone where these are given. Raises BadRequest for too few examples, Cancelled."""
    from afcore.teach.predict import classify

    engine, settings, examples = loop.engine, loop.project.settings, loop.examples()
    clips = list(examples.items.values())
    _check_enough(len(clips))  # before anything that takes long
    judged = [clip for clip in loop.project.items(NONE) if clip.fault is None]
    strangers = [] if bank is None else _strangers(engine, bank, examples, most_unknown, labels)
    total, found = len(clips) + len(judged) + len(strangers), []

    def ask(heard: Heard, exclude: set[int]) -> None:
        if stop is not None and stop.is_set():
            raise Cancelled()
        prediction = classify(engine, heard, examples, settings.method, settings.k, exclude, stop=stop)
        found.append(Evidence(prediction.top[0][1], -1.0 if prediction.similarity is None else prediction.similarity))
        if progress is not None:
            progress(len(found), total)

    for clip in clips:
        ask(loop.hear(clip), examples.left_out(clip))
    for clip in judged:
        ask(loop.hear(clip), examples.sharing_sound(clip))
    for heard in strangers:
        ask(heard, set())
    return calibrate(found[: len(clips)], found[len(clips) :])


def _check_enough(examples: int) -> None:
    if examples < FEWEST:
        raise BadRequest(f"A limit for “none of these” needs at least {FEWEST} examples; there are {examples}.")


def _strangers(
    engine: Engine, bank: Bank, examples: Examples, most: int, labels: Collection[str] | None
) -> list[Heard]:
    """Sounds of the bank, as heard, whose label and sound are no example's; drawn with a fixed seed."""
    from afcore.prompts import answer_of

    retriever = engine.retriever(bank)
    taken = {answer_of(name) for name in examples.names}
    hashes = {clip.sha256 for clip in examples.items.values()}
    rows = [
        n
        for n, e in enumerate(retriever.examples)
        if answer_of(e.label) not in taken and e.sha256 not in hashes and (labels is None or e.label in labels)
    ]
    chosen = np.random.default_rng(0).permutation(rows)[:most].tolist()
    return [engine.recall(bank, retriever.examples[n]) for n in chosen]
