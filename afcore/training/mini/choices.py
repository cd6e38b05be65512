"""Labels among which one is right, as `classify` and Teach offer them: which of them the model finds likeliest as an
answer is learned from what is true of the clip.

A label that is only ever repeated becomes likely by itself, whatever is heard; held against others as the answer about
the same sound it must be likelier than these.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from afcore import prompts
from afcore.corpus.held_out import says_left_out
from afcore.training.mini.shots import INVENTED
from afcore.training.mini.talk import ChangedClip, Talk

OPTIONS = 5
SHOTS = 0.35  # share that is asked after labelled examples
MOST_SHOTS = 4
RENAMED = 0.4  # of these, the share whose labels are invented words
SHARPNESS = 2.0  # of the mean log-probability per token


@dataclass(frozen=True)
class Choice:
    """A question for a label: ``options``, the right one first."""

    prompt: prompts.Prompt
    sounds: tuple[ChangedClip, ...]
    options: tuple[str, ...]


def draw(talk: Talk, rng: np.random.Generator) -> Choice:
    """One question of what `talk` knows of its clips; ``rng`` alone decides which."""
    talk.rng = rng
    while True:
        found = after_shots(talk, rng) if rng.random() < SHOTS and len(talk.labelled) else by_name(talk)
        if found is not None and not any(says_left_out(option) for option in found.options):
            return found


def by_name(talk: Talk) -> Choice | None:
    """Names of classes, some near the right one."""
    about = talk.about()
    if not (about.truth.events and about.truth.sure):
        return None
    own = about.label or talk.name(about.truth.main)
    named = [own, *(talk.name(sound) for sound in talk.absent(about.truth, OPTIONS - 1))]
    options = tuple(dict.fromkeys(map(prompts.answer_of, named)))
    prompt = prompts.single(prompts.CLASSIFY, prompts.task_of(prompts.CLASSIFY))
    return Choice(prompt, (about.sound,), options) if len(options) > 1 else None


def after_shots(talk: Talk, rng: np.random.Generator) -> Choice | None:
    """Labels of examples, the right one among them, under their own names or invented ones."""
    query = int(talk.labelled[int(rng.integers(len(talk.labelled)))])
    shots = talk.retrieved(query, MOST_SHOTS)
    own, labels = talk.clips.label_of(query), [talk.clips.label_of(i) for i in shots]
    if own not in labels:
        return None
    classes = list(dict.fromkeys([own, *labels]))
    called = {name: name for name in classes}
    if rng.random() < RENAMED:
        called = dict(zip(classes, map(str, rng.permutation(INVENTED)), strict=False))
    texts = [(prompts.CLASSIFY, called[label]) for label in labels]
    prompt = prompts.with_shots(prompts.CLASSIFY, prompts.task_of(prompts.CLASSIFY), texts)
    options = tuple(prompts.answer_of(called[name]) for name in classes[:OPTIONS])
    return Choice(prompt, (*(ChangedClip(i) for i in shots), ChangedClip(query)), options)


def loss(sums: Tensor, counts: Tensor) -> Tensor:
    """Of one question: ``sums``, ``counts`` (k,) cross-entropy and number of each option's tokens, the right one
    first. A scalar."""
    scores = -SHARPNESS * sums / counts
    return torch.logsumexp(scores, 0) - scores[0]
