"""Judges: several ways to say which of some labels a sound is, and how far each is believed.

Each judge gives a probability to every label; together they answer with the product of these, each to the power of its
weight (a logarithmic opinion pool). Weights and temperatures are chosen on validation sounds and stored with the model.

- *language*: the language side's log-likelihood of each label as the answer.
- *names*: the labels' names against the encoder's tags, by the sentence model (`afcore.knowledge.names`).
- *text*: the label as a text against the sound, in CLAP's space.
- *examples*: with examples, the mean of each label's examples, over whitened embeddings.
- *neighbours*: with examples, the nearest example of each label.

Whitening takes away what all sounds share, so that a mean of four examples says what is their own (as in Snell et al.,
2017, "Prototypical Networks", with the covariance of many other sounds in the place of training).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from afcore.knowledge.names import NameJudge

LANGUAGE, NAMES, TEXT, EXAMPLES, NEIGHBOURS = "language", "names", "text", "examples", "neighbours"
SENTENCES = {
    LANGUAGE: "the language model",
    NAMES: "the names against the tags",
    TEXT: "the text match",
    EXAMPLES: "the mean of each label's examples",
    NEIGHBOURS: "the nearest example",
}
"""What each judge is called on a page."""
UNRELATED = 0.2  # cosine of two sounds of different kinds in CLAP's space, about
SHRINKAGE = 0.1  # share of the covariance that is replaced by its mean variance: 384 dimensions from some 1,500 sounds


@dataclass(frozen=True)
class Opinion:
    """What one judge says: a probability for each label, in the order of the labels, and the weight it had."""

    judge: str
    probabilities: tuple[float, ...]
    weight: float


@dataclass(frozen=True)
class Judgement:
    """What all judges together say about one sound."""

    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    opinions: tuple[Opinion, ...] = field(default=())

    @property
    def best(self) -> str:
        """The most probable label."""
        return self.labels[int(np.argmax(self.probabilities))]

    @property
    def agreeing(self) -> tuple[str, ...]:
        """The judges with a weight whose own best label is that of all."""
        best = int(np.argmax(self.probabilities))
        return tuple(o.judge for o in self.opinions if o.weight and int(np.argmax(o.probabilities)) == best)

    @property
    def asked(self) -> tuple[str, ...]:
        """The judges that were believed at all."""
        return tuple(o.judge for o in self.opinions if o.weight)

    def as_dict(self) -> dict[str, float]:
        """label → probability."""
        return dict(zip(self.labels, self.probabilities, strict=True))

    def to_json(self) -> dict[str, object]:
        """Who judged, with which weight, what each thinks best, and whether they agree."""
        said = {
            o.judge: {
                "weight": o.weight,
                "best": self.labels[int(np.argmax(o.probabilities))],
                "probabilities": dict(zip(self.labels, o.probabilities, strict=True)),
            }
            for o in self.opinions
        }
        return {"judges": said, "agree": len(self.agreeing) == len(self.asked)}


def softmax(scores: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """scores (…, k) → probabilities (…, k) float64."""
    scaled = np.asarray(scores, np.float64) / temperature
    scaled = np.exp(scaled - scaled.max(-1, keepdims=True))
    return scaled / scaled.sum(-1, keepdims=True)


def pool(labels: Sequence[str], opinions: Sequence[Opinion]) -> Judgement:
    """All opinions as one; raises ValueError where none has a weight."""
    believed = [o for o in opinions if o.weight]
    if not believed:
        raise ValueError("no judge has a weight")
    logs = sum(o.weight * np.log(np.maximum(np.asarray(o.probabilities, np.float64), 1e-30)) for o in believed)
    return Judgement(tuple(labels), tuple(softmax(np.asarray(logs)).tolist()), tuple(opinions))


@dataclass(frozen=True)
class Whitening:
    """Takes from embeddings what all sounds share: their mean and covariance over many sounds of the corpus."""

    mean: np.ndarray  # (E,)
    matrix: np.ndarray  # (E, E)

    @classmethod
    def of(cls, embeddings: np.ndarray, shrinkage: float = SHRINKAGE) -> Whitening:
        """From embeddings (N, E) of sounds of every kind."""
        mean = embeddings.mean(0, dtype=np.float64)
        covariance = np.cov((embeddings - mean).T)
        size = len(covariance)
        covariance = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / size * np.eye(size)
        values, vectors = np.linalg.eigh(covariance)
        return cls(mean.astype(np.float32), (vectors / np.sqrt(values) @ vectors.T).astype(np.float32))

    def __call__(self, embeddings: np.ndarray) -> np.ndarray:
        """embeddings (…, E) → (…, E) float32 of length 1."""
        out = (np.asarray(embeddings, np.float32) - self.mean) @ self.matrix
        return out / np.maximum(np.linalg.norm(out, axis=-1, keepdims=True), 1e-9)


def by_class_means(
    query: np.ndarray, examples: np.ndarray, of: Sequence[int], count: int, unknown: float = 0.0
) -> np.ndarray:
    """Cosine (count,) of ``query`` (E,) with the mean of each label's ``examples`` (N, E), all whitened.

    ``of`` (N,): which label each example has. A label without examples gets ``unknown``: two unrelated whitened sounds
    are at right angles.
    """
    scores, of_label = np.full(count, unknown), np.asarray(of, int)
    for label in set(of_label.tolist()):
        mean = examples[of_label == label].mean(0)
        scores[label] = float(query @ mean / max(float(np.linalg.norm(mean)), 1e-9))
    return scores


def by_neighbours(
    query: np.ndarray, examples: np.ndarray, of: Sequence[int], count: int, unknown: float = 0.0
) -> np.ndarray:
    """As `by_class_means`, with the nearest example of each label."""
    scores, similarity = np.full(count, -np.inf), examples @ query
    np.maximum.at(scores, np.asarray(of, int), similarity)
    return np.where(np.isfinite(scores), scores, unknown)


@dataclass(frozen=True)
class Weights:
    """How far each judge is believed, without and with examples, and what divides its scores before the softmax."""

    alone: Mapping[str, float]
    with_examples: Mapping[str, float]
    temperature: Mapping[str, float]

    @classmethod
    def from_dict(cls, settings: Mapping[str, Mapping[str, float]]) -> Weights:
        """From ``judges.json``; raises ValueError for a judge or a part that means nothing here."""
        if set(settings) != {"alone", "with_examples", "temperature"}:
            raise ValueError(f"judges.json holds alone, with_examples and temperature, not {sorted(settings)}")
        for part in settings.values():
            if unknown := set(part) - set(SENTENCES):
                raise ValueError(f"unknown judges: {sorted(unknown)}")
        return cls(settings["alone"], settings["with_examples"], settings["temperature"])

    def of(self, judge: str, examples: bool) -> float:
        """The weight of ``judge``."""
        return float((self.with_examples if examples else self.alone).get(judge, 0.0))


@dataclass(frozen=True)
class Known:
    """Examples of the labels that a sound is judged by."""

    embeddings: np.ndarray
    """(N, E) of the encoder, as they come."""
    vectors: np.ndarray
    """(N, d) of CLAP, of length 1."""
    of: tuple[int, ...]
    """Which label each one has, counted from 0."""


class Panel:
    """The judges beside the language side, for a model whose encoder names what it hears.

    ``names`` judges by name; ``text`` embeds texts in CLAP's space, or is None where that cannot be had.
    """

    def __init__(
        self,
        names: NameJudge,
        whitening: Whitening,
        weights: Weights,
        text: Callable[[list[str]], np.ndarray] | None = None,
    ):
        self.names, self.whitening, self.weights, self._text = names, whitening, weights, text
        self._said: dict[str, np.ndarray] = {}

    def opinions(
        self,
        labels: Sequence[str],
        tags: np.ndarray,
        embedding: np.ndarray,
        vector: np.ndarray,
        known: Known | None = None,
        language: Sequence[float] | None = None,
    ) -> list[Opinion]:
        """What each judge says of a sound; `pool` makes one judgement of it.

        ``tags``: probability of each AudioSet class (527,); ``embedding`` (E,) of the encoder; ``vector`` (d,) of CLAP.
        ``known``: examples of some or all of the labels. ``language``: what the language side says, where it was asked.
        """
        with_examples = known is not None and len(known.of) > 0
        scores: dict[str, np.ndarray] = {}
        if self.weights.of(NAMES, with_examples):
            scores[NAMES] = self.names.scores(labels, tags)
        if self._text is not None and self.weights.of(TEXT, with_examples):
            scores[TEXT] = self._texts(labels) @ vector
        if known is not None and with_examples:
            if self.weights.of(EXAMPLES, True):
                means = self.whitening(known.embeddings)
                scores[EXAMPLES] = by_class_means(self.whitening(embedding), means, known.of, len(labels))
            if self.weights.of(NEIGHBOURS, True):
                scores[NEIGHBOURS] = by_neighbours(vector, known.vectors, known.of, len(labels), unknown=UNRELATED)
        said = [Opinion(LANGUAGE, tuple(language), self.weights.of(LANGUAGE, with_examples))] if language else []
        return said + [
            Opinion(
                judge,
                tuple(softmax(score, self.weights.temperature.get(judge, 1.0)).tolist()),
                self.weights.of(judge, with_examples),
            )
            for judge, score in scores.items()
        ]

    def _texts(self, labels: Sequence[str]) -> np.ndarray:
        assert self._text is not None
        new = [label for label in dict.fromkeys(labels) if label not in self._said]
        if new:
            rows = self._text([f"the sound of {label}" for label in new])
            self._said |= dict(zip(new, rows, strict=True))
        return np.stack([self._said[label] for label in labels])
