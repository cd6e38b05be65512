"""Judges of labels beside the language side: what mini's encoder, its sentence model and examples say.

- *names*: the labels' names against the encoder's tags, by the sentence model (`afcore.knowledge.names`).
- *text*: "the sound of …" each label against the sound, in CLAP's space.
- *examples*: with examples, the mean of each label's examples, over whitened embeddings.
- *neighbours*: with examples, the nearest example of each label, in CLAP's space.

Whitening takes away what all sounds share, so that a mean of four examples says what is their own (as in Snell et al.,
2017, "Prototypical Networks", with the covariance of many other sounds in the place of training).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from afcore import prompts
from afcore.clap import Clap
from afcore.encoders import AudioEncoder
from afcore.engine.results import Opinion
from afcore.engine.scoring import LabelQuestion
from afcore.knowledge.names import ClassVectors, NameJudge, class_texts
from afcore.retrieval import ExampleBank

if TYPE_CHECKING:
    from afcore.clap.mini import MiniClap

NAMES, TEXT, EXAMPLES, NEIGHBOURS = "names", "text", "examples", "neighbours"
SHRINKAGE = 0.1  # share of the covariance that is replaced by its mean variance: 384 dimensions from some 1,500 sounds
WITHOUT_EXAMPLES = 0.2  # score of a label that has no example where others have: between another class and the same

_ASKS_WHAT = re.compile(r"\s*(what|which|who)\b", re.IGNORECASE)


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
        whitened: np.ndarray = out / np.maximum(np.linalg.norm(out, axis=-1, keepdims=True), 1e-9)
        return whitened


@dataclass(frozen=True)
class JudgesFile:
    """What the judges know, kept beside a model's weights as ``judges.safetensors``."""

    reference: np.ndarray
    """Tags' probabilities of sounds of all kinds, (clips, 527)."""
    whitening: Whitening
    vectors: ClassVectors

    def name_judge(self, clap: MiniClap) -> NameJudge:
        """The judge by name. The sentence model of ``clap`` is loaded when a label is first asked about."""
        return NameJudge(lambda texts: clap.sentences(texts).numpy(), self.reference, vectors=self.vectors)

    def save(self, file: Path) -> None:
        """Writes it in half precision, some 4 MB."""
        from safetensors.numpy import save_file

        arrays = {
            "reference": self.reference,
            "whitening.mean": self.whitening.mean,
            "whitening.matrix": self.whitening.matrix,
            "names.shown": self.vectors.shown,
            "names.names": self.vectors.names,
            "names.clauses": self.vectors.clauses,
        }
        half = {name: np.ascontiguousarray(array, np.float16) for name, array in arrays.items()}
        save_file(half, file, {"digest": self.vectors.digest})

    @classmethod
    def load(cls, file: Path) -> JudgesFile:
        """Raises FileNotFoundError; ValueError where the table's texts have changed since it was made."""
        from safetensors import safe_open

        with safe_open(file, "numpy") as kept:
            digest = kept.metadata()["digest"]
            if digest != class_texts().digest:
                raise ValueError(f"{file.name} was made of other class names: make it again")
            part = {name: kept.get_tensor(name).astype(np.float32) for name in kept.keys()}  # noqa: SIM118  no dict
        vectors = ClassVectors(part["names.shown"], part["names.names"], part["names.clauses"], digest)
        return cls(part["reference"], Whitening(part["whitening.mean"], part["whitening.matrix"]), vectors)


def class_means(query: np.ndarray, examples: np.ndarray, of: Sequence[int], count: int) -> np.ndarray:
    """Cosine (count,) of ``query`` (E,) with the mean of each label's ``examples`` (N, E), all of length 1.

    ``of`` (N,): which label each example has.
    """
    scores, of_label = np.full(count, WITHOUT_EXAMPLES), np.asarray(of, int)
    for label in set(of_label.tolist()):
        mean = examples[of_label == label].mean(0)
        scores[label] = float(query @ mean / max(float(np.linalg.norm(mean)), 1e-9))
    return scores


def nearest_of_each(query: np.ndarray, examples: np.ndarray, of: Sequence[int], count: int) -> np.ndarray:
    """As `class_means`, with the nearest example of each label."""
    scores = np.full(count, -np.inf)
    np.maximum.at(scores, np.asarray(of, int), examples @ query)
    return np.where(np.isfinite(scores), scores, WITHOUT_EXAMPLES)


def opinion(judge: str, labels: Sequence[str], scores: np.ndarray, temperature: float) -> Opinion:
    """scores (k,) as probabilities."""
    found = torch.softmax(torch.as_tensor(np.asarray(scores, np.float64)) / temperature, 0)
    return Opinion(judge, dict(zip(labels, found.tolist(), strict=True)))


def about_classes(asked: LabelQuestion) -> bool:
    """Whether the labels are what sounds are called: for near or far, or yes or no, names and texts say nothing."""
    return prompts.asks_for_class(asked.question) or bool(_ASKS_WHAT.match(asked.question))


class ByName:
    """*names*."""

    name = NAMES

    def __init__(self, names: NameJudge, encoder: AudioEncoder, temperature: float = 1.0):
        self._names, self._encoder, self._temperature = names, encoder, temperature

    def opinion(self, asked: LabelQuestion) -> Opinion | None:
        """None for a question that is not about classes."""
        if not about_classes(asked):
            return None
        tags = self._encoder.tags(asked.heard.features).numpy()
        return opinion(self.name, asked.labels, self._names.scores(asked.labels, tags), self._temperature)


class ByText:
    """*text*. Raises MissingPart where the text side of the CLAP is absent."""

    name = TEXT

    def __init__(self, clap: Clap, temperature: float = 0.05):
        self._clap, self._temperature = clap, temperature
        self._said: dict[str, np.ndarray] = {}

    def opinion(self, asked: LabelQuestion) -> Opinion | None:
        """None for a question that is not about classes."""
        if not about_classes(asked):
            return None
        if new := [label for label in dict.fromkeys(asked.labels) if label not in self._said]:
            rows = self._clap.text([f"the sound of {label}" for label in new])
            self._said |= dict(zip(new, rows, strict=True))
        scores = np.stack([self._said[label] for label in asked.labels]) @ asked.heard.vector
        return opinion(self.name, asked.labels, scores, self._temperature)


@dataclass(frozen=True)
class Known:
    """The examples of a question's labels: id in the bank and which label, counted from 0."""

    bank: ExampleBank
    ids: tuple[int, ...]
    of: tuple[int, ...]


def known_examples(asked: LabelQuestion) -> Known | None:
    """All examples of the labels that may be learnt from: of the question's bank, else the shots. None where no shots
    are to be seen."""
    if not asked.shots:
        return None
    bank = asked.bank or asked.shots[0].bank
    if bank is None:
        return None
    place = {label: n for n, label in enumerate(asked.labels)}
    if asked.bank is None:
        found = [(shot.example.id, shot.example.label) for shot in asked.shots if shot.bank is bank]
    else:
        found = [(example.id, example.label) for example in bank.examples() if example.id not in asked.exclude]
    pairs = [(i, place[label]) for i, label in found if label in place]
    return Known(bank, tuple(i for i, _ in pairs), tuple(n for _, n in pairs)) if pairs else None


class ByClassMeans:
    """*examples*. ``embedding_of``: window features (n, E) → the encoder's embedding of each (n, d)."""

    name = EXAMPLES

    def __init__(
        self,
        whitening: Whitening,
        encoder_name: str,
        embedding_of: Callable[[Tensor], Tensor],
        temperature: float = 0.1,
    ):
        self._whitening, self._encoder_name, self._embedding_of = whitening, encoder_name, embedding_of
        self._temperature = temperature
        self._kept: WeakKeyDictionary[ExampleBank, dict[int, np.ndarray]] = WeakKeyDictionary()

    def opinion(self, asked: LabelQuestion) -> Opinion | None:
        """None without examples."""
        known = known_examples(asked)
        if known is None:
            return None
        kept = self._kept.setdefault(known.bank, {})
        for i in known.ids:
            if i not in kept:
                features = known.bank.features(i, self._encoder_name)
                kept[i] = self._vector(torch.as_tensor(np.asarray(features, np.float32)))
        examples = np.stack([kept[i] for i in known.ids])
        scores = class_means(self._vector(asked.heard.features), examples, known.of, len(asked.labels))
        return opinion(self.name, asked.labels, scores, self._temperature)

    def _vector(self, features: Tensor) -> np.ndarray:
        return self._whitening(self._embedding_of(features).float().mean(0).numpy())


class ByNeighbours:
    """*neighbours*."""

    name = NEIGHBOURS

    def __init__(self, clap_name: str, temperature: float = 0.05):
        self._clap_name, self._temperature = clap_name, temperature

    def opinion(self, asked: LabelQuestion) -> Opinion | None:
        """None without examples."""
        known = known_examples(asked)
        if known is None:
            return None
        ids, matrix = known.bank.clap_matrix(self._clap_name)
        row = {example: n for n, example in enumerate(ids)}
        there = [(row[i], n) for i, n in zip(known.ids, known.of, strict=True) if i in row]
        if not there:
            return None
        examples = matrix[[r for r, _ in there]]
        scores = nearest_of_each(asked.heard.vector, examples, [n for _, n in there], len(asked.labels))
        return opinion(self.name, asked.labels, scores, self._temperature)
