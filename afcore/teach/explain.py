"""Why a clip got its label: what each shot changed, which windows mattered, and the text that was sent.

Both are measured by taking one thing away and asking again, never read off attention weights. With n shots and m
windows that is 1 + n + m questions, each its own turn at the model.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from afcore.engine.results import Heard
from afcore.errors import BadRequest
from afcore.retrieval.nearest import Shot

if TYPE_CHECKING:
    from torch import Tensor

    from afcore.engine.engine import Engine
    from afcore.teach.predict import Examples
    from afcore.teach.schema import Prediction

Classify = Callable[[Heard, Sequence[Shot]], Mapping[str, float]]
"""(heard, shots nearest first) -> label to probability."""


@dataclass(frozen=True)
class PartEffect:
    """What one part of the question, a shot or a window, did to the answer."""

    without: dict[str, float]
    """Label to probability, with this part taken away."""
    effect: dict[str, float]
    """Label to how much this part adds to its probability: above 0 where it speaks for the label."""


@dataclass(frozen=True)
class ShotEffect(PartEffect):
    """Of one shot."""

    shot: Shot


@dataclass(frozen=True)
class WindowEffect(PartEffect):
    """Of one window of the clip. Windows overlap, so most of its sound is still heard in its neighbours."""

    start: float
    """Seconds of the recording."""
    end: float


@dataclass
class Why:
    """Grows while it is worked out."""

    probabilities: dict[str, float]
    shots: list[ShotEffect] = field(default_factory=list)
    windows: list[WindowEffect] = field(default_factory=list)
    texts: tuple[str, ...] = ()
    """As sent to the model, one for each pass."""
    done: int = 0
    total: int = 0

    @property
    def label(self) -> str:
        """The answer that is explained."""
        return max(self.probabilities, key=lambda label: self.probabilities[label])

    def sentence(self) -> str:
        """What mattered most for the label, for people; '' while nothing is known."""
        parts = []
        if self.shots:
            best = max(self.shots, key=lambda change: abs(change.effect[self.label]))
            example = f"the example “{best.shot.example.label}” (similarity {best.shot.similarity:.2f})"
            parts.append(_said(example, best, self))
        if len(self.windows) > 1:
            window = max(self.windows, key=lambda change: abs(change.effect[self.label]))
            parts.append(_said(f"the window from {window.start:.1f} to {window.end:.1f} s", window, self))
        return " ".join(part[0].upper() + part[1:] for part in parts)


def explain(
    classify: Classify,
    heard: Heard,
    shots: Sequence[Shot],
    silence: Tensor,
    texts: Sequence[str] = (),
    stop: threading.Event | None = None,
) -> Iterator[Why]:
    """Yields the same `Why` after each question: the whole one first, then without each shot, then without each window.

    A window is cut out of the clip's features; the only window of a short clip is replaced by ``silence`` (E,), the
    encoder's embedding of it. ``stop`` ends it after the question that is being asked.
    """
    windows = len(heard.features)
    why = Why(dict(classify(heard, shots)), texts=tuple(texts), done=1, total=1 + len(shots) + windows)
    yield why
    for n, shot in enumerate(shots):
        if stop is not None and stop.is_set():
            return
        without = dict(classify(heard, [*shots[:n], *shots[n + 1 :]]))
        why.shots.append(ShotEffect(without, _effect(why, without), shot))
        why.done += 1
        yield why
    for n in range(windows):
        if stop is not None and stop.is_set():
            return
        without = dict(classify(without_window(heard, n, silence), shots))
        why.windows.append(WindowEffect(without, _effect(why, without), *heard.times[n]))
        why.done += 1
        yield why


def without_window(heard: Heard, number: int, silence: Tensor) -> Heard:
    """The clip as it would have been heard without one of its windows; its CLAP vector stays, since the shots do."""
    features, times = heard.features.clone(), list(heard.times)
    if len(features) == 1:
        features[0] = silence.to(features)
    else:
        keep = [n for n in range(len(features)) if n != number]
        features, times = features[keep], [times[n] for n in keep]
    # Another key: whatever is remembered for the whole clip does not hold for this one.
    clip = replace(heard.clip, key=f"{heard.clip.key} without window {number}")
    return replace(heard, clip=clip, features=features, times=times)


def of_prediction(
    engine: Engine, heard: Heard, examples: Examples, prediction: Prediction, stop: threading.Event | None = None
) -> Iterator[Why]:
    """`explain` for a prediction of the language model by `predict.classify`, with the shots that it had.

    Shots that are no longer examples are left out. Raises BadRequest for a prediction by plain CLAP, Cancelled.
    """
    from afcore.teach import predict

    if not prediction.method.startswith("lm-"):
        raise BadRequest("Plain CLAP compares whole sounds, so nothing can be taken away: the nearest is the reason.")
    found = [
        examples.retriever.shot(shot["id"], heard.vector) for shot in prediction.shots if shot["id"] in examples.items
    ]

    def classify(heard: Heard, shots: Sequence[Shot]) -> Mapping[str, float]:
        others = set(examples.items) - {shot.example.id for shot in shots}
        method = "lm-shots" if shots else "lm-zero"
        return predict.classify(engine, heard, examples, method, len(shots), others, stop=stop).probabilities

    with engine.turns.wait(stop=stop):
        silence = engine.silence().features[0]
    yield from explain(classify, heard, found, silence, prediction.prompts, stop)


def _effect(why: Why, without: Mapping[str, float]) -> dict[str, float]:
    return {label: p - without[label] for label, p in why.probabilities.items()}


def _said(what: str, change: PartEffect, why: Why) -> str:
    before, after = change.without[why.label], why.probabilities[why.label]
    return f"{what} moves “{why.label}” from {100 * before:.0f} % to {100 * after:.0f} %."
