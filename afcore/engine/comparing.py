"""Several answers to one question: the candidates of one prompt by how well they fit, and what its shots contribute."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from afcore.engine.results import Answer
from afcore.errors import BadRequest
from afcore.retrieval.shuffling import shuffled

if TYPE_CHECKING:
    from afcore.clap import Clap
    from afcore.retrieval.nearest import Shot


def best_first(texts: Sequence[str], clap: Clap, vector: np.ndarray) -> list[tuple[str, float]]:
    """Texts without repeats, each with its CLAP similarity to the sound's ``vector`` (d,), the best first."""
    distinct = list(dict.fromkeys(text.strip() for text in texts if text.strip()))
    similarities = (clap.text(distinct) @ vector).tolist() if distinct else []
    return sorted(zip(distinct, similarities, strict=True), key=lambda pair: -pair[1])


def three_answers(
    ask: Callable[[Sequence[Shot]], Answer],
    shots: Sequence[Shot],
    seed: int = 0,
    on_answer: Callable[[Answer], None] | None = None,
    stop: threading.Event | None = None,
) -> list[Answer]:
    """What ``ask`` answers without shots, with these shots, and with the same shots whose labels and captions have
    changed places. ``on_answer`` gets each as it is ready; after ``stop`` no more is asked. Raises BadRequest without
    shots."""
    if not shots:
        raise BadRequest("Choose at least one example.")
    changed = shuffled(shots, seed)
    same = all(a.example.label == b.example.label for a, b in zip(shots, changed, strict=True))
    mixed = "All examples have one label, so shuffling changes none" if same else "The same examples, labels shuffled"
    variants: list[tuple[str, Sequence[Shot]]] = [
        ("Without examples", ()),
        ("With these examples", shots),
        (mixed, changed),
    ]
    answers: list[Answer] = []
    for title, chosen in variants:
        if stop is not None and stop.is_set():
            break
        answers.append(replace(ask(chosen), title=title))
        if on_answer is not None:
            on_answer(answers[-1])
    return answers
