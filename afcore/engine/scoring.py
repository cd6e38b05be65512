"""How probable each of several labels is for a sound. Judges give a distribution each, and one step makes them one
answer.

`score` is that step: `Engine.classify`, a question with labels, Teach and the command line all go through it. Every
engine has the language side as a judge (`LanguageJudge`); mini has those of `afcore.engine.judges` beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from afcore import prompts
from afcore.engine.calibration import Calibration
from afcore.engine.language import Key, TextModel
from afcore.engine.results import Heard, LabelScores, Opinion
from afcore.prompts import Prompt

if TYPE_CHECKING:
    from afcore.retrieval import ExampleBank
    from afcore.retrieval.nearest import Shot

LANGUAGE = "language"
"""The name of `LanguageJudge`."""
LEAST = 1e-300  # probability that counts for 0 in logarithms


@dataclass(frozen=True, eq=False)
class LabelQuestion:
    """What judges are asked: which of ``labels`` is the answer."""

    heard: Heard
    labels: tuple[str, ...]
    question: str
    """As the person asked it; ``prompts.CLASSIFY`` where only the labels were given."""
    passes: tuple[Prompt, ...]
    """What the language side is asked: one prompt, or several where the shots are more than fit into one."""
    bare: Prompt
    """The same without shots."""
    shots: tuple[Shot, ...] = ()
    bank: ExampleBank | None = None
    """All labelled examples that may be learnt from, beyond the shots; None where there are only the shots."""
    exclude: frozenset[int] = frozenset()
    """Ids in ``bank`` that must not be looked at: they share sound with what is asked about."""


class Judge(Protocol):
    """Who can say how probable labels are."""

    name: str

    def opinion(self, asked: LabelQuestion) -> Opinion | None:
        """None where it has nothing to say: a question that is not about classes, or no examples. Raises BadRequest."""
        ...


@dataclass(frozen=True)
class JudgeWeights:
    """How far each judge is believed, without and with examples; chosen on validation sounds. Whom nothing is said of
    counts fully. Who has 0 is asked only where no other judge has anything to say, and counts fully there."""

    alone: Mapping[str, float] = field(default_factory=dict)
    with_examples: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if min((*self.alone.values(), *self.with_examples.values()), default=0.0) < 0:
            raise ValueError("a judge's weight must not be below 0")

    def of(self, judge: str, asked: LabelQuestion) -> float:
        """The weight of ``judge`` for this question."""
        return float((self.with_examples if asked.shots else self.alone).get(judge, 1.0))


EQUAL = JudgeWeights()


def score(judges: Sequence[Judge], asked: LabelQuestion, weights: JudgeWeights = EQUAL) -> LabelScores:
    """The judges' opinions as one answer. Raises BadRequest for labels that cannot be told apart."""
    prompts.check_labels(asked.labels)
    weight_of = {judge.name: weights.of(judge.name, asked) for judge in judges}
    believed = [judge for judge in judges if weight_of[judge.name]]
    opinions = _opinions(believed, asked) or _opinions([judge for judge in judges if judge not in believed], asked)
    opinions = [replace(said, weight=said.weight * (weight_of[said.judge] or 1.0)) for said in opinions]
    return LabelScores(pooled(asked.labels, opinions), tuple(opinions))


def _opinions(judges: Sequence[Judge], asked: LabelQuestion) -> list[Opinion]:
    return [said for judge in judges if (said := judge.opinion(asked)) is not None]


def pooled(labels: Sequence[str], opinions: Sequence[Opinion]) -> dict[str, float]:
    """The weighted mean of the opinions' log-probabilities as probabilities again (a logarithmic opinion pool, Genest
    and Zidek 1986). One opinion alone stays as it is; raises ValueError for none, or a weight that is not above 0."""
    if not opinions:
        raise ValueError("nobody judged")
    if min(opinion.weight for opinion in opinions) <= 0:
        raise ValueError("a judge's weight must be above 0")
    if len(opinions) == 1:
        return opinions[0].probabilities
    logs = torch.tensor(
        [[math.log(max(opinion.probabilities[label], LEAST)) for label in labels] for opinion in opinions],
        dtype=torch.float64,
    )
    weights = torch.tensor([opinion.weight for opinion in opinions], dtype=torch.float64)
    mean = (weights[:, None] * logs).sum(0) / weights.sum()
    return dict(zip(labels, torch.softmax(mean, 0).tolist(), strict=True))


class LanguageJudge:
    """The language side: how likely it is to answer with each label, by the model's `Calibration`.

    ``sounds``: gives the window features of a prompt's sounds, in order. ``references``: sounds that stand for any
    sound.
    """

    name = LANGUAGE

    def __init__(
        self,
        language: TextModel,
        calibration: Calibration,
        sounds: Callable[[Heard, Prompt], list[Tensor]],
        references: Callable[[], list[Heard]],
    ):
        self.language, self.calibration = language, calibration
        self._sounds, self._references = sounds, references
        self._content_free: tuple[tuple[str, Key], dict[str, float]] | None = None

    def forget(self) -> None:
        """Drop what labels score for any sound."""
        self._content_free = None

    def opinion(self, asked: LabelQuestion) -> Opinion:
        """The mean of the log-probabilities of all passes, as probabilities again."""
        passes = [
            Opinion(self.name, self.probabilities(asked.heard, prompt, asked.labels, asked.bare))
            for prompt in asked.passes
        ]
        return Opinion(self.name, pooled(asked.labels, passes))

    def probabilities(
        self, heard: Heard, prompt: Prompt, labels: Sequence[str], bare: Prompt | None = None
    ) -> dict[str, float]:
        """Probability of each label as the answer to ``prompt``. Raises BadRequest.

        ``bare``: the same prompt without shots, where it has any: its scores are mixed in as the calibration says. What
        a label scores there for any sound at all is its head start in this wording; taken with the shots in place
        it would also take away what the shots say.
        """
        prompts.check_labels(labels)
        bare = bare or prompt
        scores, counts = self.score_labels(heard, prompt, labels)
        free = self.content_free_scores(bare, labels) if self.calibration.alpha else None
        mixes = self.calibration.shots < 1 and bare.text != prompt.text
        without = self.score_labels(heard, bare, labels)[0] if mixes else None
        found = self.calibration.probabilities(scores, counts, free, without)
        return dict(zip(labels, found.tolist(), strict=True))

    def score_labels(self, heard: Heard, prompt: Prompt, labels: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Sum of the log-probabilities of each label's tokens as the answer, and the number of tokens, both (k,) on the
        CPU."""
        end = prompts.MARKS[self.language.kind].eoc if self.calibration.end else ""
        texts = [prompts.answer_of(label) + end for label in labels]
        return self.language.score(prompt, self._sounds(heard, prompt), texts, conversation(heard, prompt))

    def content_free_scores(self, prompt: Prompt, labels: Sequence[str]) -> Tensor:
        """As `score_labels`, for any sound at all: the logarithm of each label's mean probability over the references
        in the place of the query. Kept label by label for the last wording, since a run over many clips asks for the
        same each time."""
        key = prompt.text, audio_key(prompt, "")
        if self._content_free is None or self._content_free[0] != key:
            self._content_free = key, {}
        known = self._content_free[1]
        if missing := [label for label in dict.fromkeys(labels) if label not in known]:
            scores = torch.stack([self.score_labels(sound, prompt, missing)[0] for sound in self._references()])
            means = (scores.logsumexp(0) - math.log(len(scores))).tolist()
            known |= dict(zip(missing, means, strict=True))
        return torch.tensor([known[label] for label in labels])


def audio_key(prompt: Prompt, query: str) -> Key:
    """Names the sounds of ``prompt`` by content, ``query`` in the place of the one that is asked about, and how they
    are padded."""
    sounds = tuple(query if audio == prompts.QUERY else audio.example.sha256 for audio in prompt.audios)
    return (*sounds, f"padding {prompt.padding}") if prompt.padding else sounds


def conversation(heard: Heard | None, prompt: Prompt) -> Key | None:
    """The conversation that a prompt about ``heard`` belongs to; None for one that is not kept."""
    return None if heard is None or heard.in_passing else audio_key(prompt, heard.key)
