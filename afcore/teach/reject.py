"""None of these: a threshold under which a clip is not forced into a label, calibrated on the examples.

Each example is predicted with itself left out. What of that lies lowest says how low a clip of a known class may come out
(split-conformal quantile: of n examples and one new clip, each is equally likely to be the lowest). Sounds that belong to
no class, say of the bank, show what would be let in, and choose between probability and similarity.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from afcore.errors import BadRequest, Cancelled
from afcore.evaluation.items import StoredClip, wilson

if TYPE_CHECKING:
    from afcore.bank import Bank
    from afcore.engine import Engine
    from afcore.teach.loop import Loop

FEWEST = 5  # examples to calibrate on
TARGET = 0.1


@dataclass(frozen=True)
class Evidence:
    """How sure a clip came out."""

    probability: float
    """Of its best label."""
    similarity: float
    """Cosine with the nearest example."""


@dataclass(frozen=True)
class Threshold:
    """A clip is none of these where either value is below its limit; None: not looked at. The limits are `Settings.reject_below`
    and `Settings.reject_similarity`."""

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

    def sentence(self) -> str:
        """For people."""
        text = (f"At most about {100 * self.false_reject:.0f} % of clips that have one of the labels will be called none of "
                f"these, judging by {self.known} examples.")  # fmt: skip
        if self.false_accept is None:
            return text + " How many other sounds get a label all the same is not known: none were tried."
        low, high = self.false_accept_interval
        return text + (f" Of {self.unknown} sounds that have none of the labels, {100 * self.false_accept:.0f} % got one "
                       f"all the same ({100 * low:.0f} to {100 * high:.0f} %).")  # fmt: skip


def calibrate(
    known: Sequence[Evidence], unknown: Sequence[Evidence] = (), target: float = TARGET, similarity: bool = True
) -> Threshold:
    """The limits that let in the fewest of ``unknown`` while at most ``target`` of new clips of known classes are rejected.

    The n examples bound that share in steps of 1 / (n + 1); where ``target`` is below one step, it is one step. Without
    ``unknown`` the steps are shared between both limits, probability first. ``similarity`` False: probability alone.
    Raises BadRequest for fewer than `FEWEST` examples.
    """
    if len(known) < FEWEST:
        raise BadRequest(f"A limit for “none of these” needs at least {FEWEST} examples; there are {len(known)}.")
    if not 0 < target < 1:
        raise ValueError("target is a share between 0 and 1")
    steps = max(1, math.floor(target * (len(known) + 1) + 1e-9))
    p, s = np.sort([e.probability for e in known]), np.sort([e.similarity for e in known])
    pairs = [(i, steps - i) for i in range(steps, -1, -1)] if similarity else [(steps, 0)]
    if not unknown:
        pairs = [(steps - steps // 2, steps // 2)] if similarity else pairs
    limits = [(float(p[i - 1]) if i else None, float(s[j - 1]) if j else None) for i, j in pairs]
    let_in = [sum(not _below(e, limit) for e in unknown) for limit in limits]
    best = int(np.argmin(let_in))
    count = {} if not unknown else dict(
        false_accept=let_in[best] / len(unknown), false_accept_interval=wilson(let_in[best], len(unknown)))
    return Threshold(*limits[best], false_reject=steps / (len(known) + 1), known=len(known), unknown=len(unknown), **count)


def apply(probabilities: Mapping[str, float], similarity: float | None, threshold: Threshold) -> str | None:
    """The best label, or None for none of these. ``similarity``: with the nearest example, None where there is none."""
    label = max(probabilities, key=probabilities.get)
    nearest = -1.0 if similarity is None else similarity
    return None if _below(Evidence(probabilities[label], nearest), (threshold.probability, threshold.similarity)) else label


def of_project(
    loop: Loop, bank: Bank | None = None, target: float = TARGET, similarity: bool = True, most_unknown: int = 60,
    progress: Callable[[int, int], None] | None = None, stop: threading.Event | None = None,
) -> Threshold:  # fmt: skip
    """`calibrate` for a project by its own method: each example with itself left out, and up to ``most_unknown`` sounds of
    ``bank`` with other labels. Raises BadRequest for too few examples, Cancelled."""
    from afcore.teach.predict import classify

    engine, settings, examples = loop.engine, loop.project.settings, loop.examples()
    clips = list(examples.items.values())
    strangers = [] if bank is None else _strangers(engine, bank, examples, most_unknown)
    total, found = len(clips) + len(strangers), []
    for done in range(total):
        if stop is not None and stop.is_set():
            raise Cancelled()
        if done < len(clips):
            clip = clips[done]
            heard, exclude = loop.heard(clip), examples.sharing_sound(clip)
        else:
            heard, exclude = strangers[done - len(clips)], set()
        prediction = classify(engine, heard, examples, settings.method, settings.k, exclude, stop=stop)
        nearest = -1.0 if prediction.similarity is None else prediction.similarity
        found.append(Evidence(prediction.top[0][1], nearest))
        if progress is not None:
            progress(done + 1, total)
    return calibrate(found[: len(clips)], found[len(clips) :], target, similarity)


def _strangers(engine: Engine, bank: Bank, examples, most: int) -> list:
    """Sounds of the bank, as heard, whose label and sound are no example's; drawn with a fixed seed."""
    import torch

    from afcore.prompts import answer_of
    from afcore.results import Heard

    retriever = engine.retriever(bank)
    taken = {answer_of(name) for name in examples.names}
    hashes = {clip.sha256 for clip in examples.items.values()}
    rows = [n for n, e in enumerate(retriever.examples) if answer_of(e.label) not in taken and e.sha256 not in hashes]
    chosen = np.random.default_rng(0).permutation(rows)[:most].tolist()
    return [Heard(StoredClip(e.sha256, e.sha256),
                  torch.as_tensor(bank.features(e.id, engine.features_name)), [], retriever.vectors[n], [], {})
            for n, e in ((n, retriever.examples[n]) for n in chosen)]  # fmt: skip


def _below(evidence: Evidence, limits: tuple[float | None, float | None]) -> bool:
    probability, similarity = limits
    return (probability is not None and evidence.probability < probability) or (
        similarity is not None and evidence.similarity < similarity)  # fmt: skip
