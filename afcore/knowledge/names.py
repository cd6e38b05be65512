"""The judge by name: how well any name fits a sound, from AudioSet's tags and what the names mean, without training.

A name becomes weights over the 527 classes: a softmax over classes of how near the two are in a sentence model, over a
small temperature. Its score for a sound is the logarithm of Σ weight × tag probability, standardised by that name's own
mean and spread over reference sounds, so that names of common and of rare sounds compare.

How near a name is to a class is measured twice. By AudioSet's display name alone ("the sound of chicken, rooster"); and
by the table: the nearest of the class's several names and clauses ("the sound of a rooster crowing"), with an addition
where the words are the same. The weights are a mean of both.

The sentence model is any callable from texts to unit vectors. Embedding all that the classes are called takes seconds,
so `ClassVectors` can be kept in a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from afcore.hashing import sha256_of
from afcore.knowledge.table import COUNT, SoundClass, implied_by, table
from afcore.knowledge.words import stems

Embed = Callable[[list[str]], np.ndarray]
"""Texts → (texts, width) vectors of length 1."""

PROMPT = "the sound of {}"
FLOOR = 1e-8  # below any probability that an encoder's sigmoid gives: keeps the logarithm finite


@dataclass(frozen=True)
class NameSettings:
    """How names become weights. With `table` 0 only the display names count."""

    temperature: float = 0.03
    table: float = 0.5
    """Share of the weights by the table; the rest is by display names."""
    clauses: float = 0.25
    """Share of the clauses in what is near by the table; the rest is by names."""
    same: float = 0.15
    """Added to the cosine where a name's words are those of the class, in any order and ending."""
    within: float = 0.03
    """Added where all words of one of the class's names are among the name's words, or the other way round."""

    def __post_init__(self) -> None:
        if self.temperature <= 0 or not 0 <= self.table <= 1 or not 0 <= self.clauses <= 1:
            raise ValueError("temperature must be above 0, table and clauses from 0 to 1")


@cache
def class_names(sound: SoundClass) -> tuple[str, ...]:
    """What a class is called, without articles: the display name, its parts ("pigeon", "dove") and the table's tag."""
    shown = re.sub(r"[()]", " ", sound.name.lower()).replace(" etc.", "")
    names = [" ".join(part.split()) for part in (shown, *shown.split(","))]
    return tuple(dict.fromkeys(name for name in (*names, sound.tag.lower()) if name.strip(", ")))


@dataclass(frozen=True)
class ClassTexts:
    """All texts of the classes as the sentence model reads them, and to which class each belongs (in rising order)."""

    shown: tuple[str, ...]
    """The display names, one a class."""
    names: tuple[str, ...]
    names_class: tuple[int, ...]
    clauses: tuple[str, ...]
    clauses_class: tuple[int, ...]

    @property
    def digest(self) -> str:
        """Changes whenever a text does."""
        return sha256_of("\n".join((*self.shown, *self.names, *self.clauses)))[:16]


@cache
def class_texts() -> ClassTexts:
    """The texts of the table's classes."""
    names = [(s.index, PROMPT.format(n)) for s in table() for n in (*class_names(s), s.phrases[1])]
    clauses = [(s.index, phrase) for s in table() for phrase in s.phrases]
    return ClassTexts(
        shown=tuple(PROMPT.format(sound.name.lower()) for sound in table()),
        names=tuple(text for _, text in names),
        names_class=tuple(index for index, _ in names),
        clauses=tuple(text for _, text in clauses),
        clauses_class=tuple(index for index, _ in clauses),
    )


@dataclass(frozen=True)
class ClassVectors:
    """Sentence embeddings of `class_texts`, each (texts, width), length 1."""

    shown: np.ndarray
    names: np.ndarray
    clauses: np.ndarray
    digest: str

    @classmethod
    def of(cls, embed: Embed) -> ClassVectors:
        """Embeds some 4,000 short texts."""
        texts = class_texts()
        shown, names, clauses = (_embedded(embed, list(part)) for part in (texts.shown, texts.names, texts.clauses))
        return cls(shown, names, clauses, texts.digest)

    def save(self, file: Path) -> None:
        """Writes an .npz of half the precision (about 3 MB at width 384)."""
        arrays = {name: getattr(self, name).astype(np.float16) for name in ("shown", "names", "clauses")}
        with file.open("wb") as out:
            np.savez(out, digest=np.array(self.digest), **arrays)

    @classmethod
    def load(cls, file: Path) -> ClassVectors:
        """Raises FileNotFoundError; ValueError where the file was made of other texts than the table's of today."""
        with np.load(file, allow_pickle=False) as kept:
            if str(kept["digest"]) != class_texts().digest:
                raise ValueError(f"{file.name} was made of other class names: make it again")
            shown, names, clauses = (kept[name].astype(np.float32) for name in ("shown", "names", "clauses"))
            return cls(shown, names, clauses, str(kept["digest"]))


def _embedded(embed: Embed, texts: list[str]) -> np.ndarray:
    vectors = np.asarray(embed(texts), np.float32)
    if vectors.ndim != 2 or len(vectors) != len(texts):
        raise ValueError(f"the sentence model gave {vectors.shape} for {len(texts)} texts")
    return vectors


def nearest_of_each_class(cosines: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """Cosines to texts (names, texts), and the texts' classes in rising order → the highest of each class (names, 527).

    Raises ValueError where a class has no text.
    """
    starts = np.flatnonzero(np.diff(np.asarray(classes), prepend=-1))
    if len(starts) != COUNT or len(classes) != cosines.shape[1]:
        raise ValueError(f"{len(classes)} texts of {len(starts)} classes for {cosines.shape[1]} cosines")
    return np.maximum.reduceat(cosines, starts, axis=1)


def same_words(names: Sequence[str], settings: NameSettings) -> np.ndarray:
    """What the words alone add to the cosines (names, 527): `same` where they are those of the class ("dogs barking"
    for Bark), `within` where one holds the other ("loud dog barking"), else 0."""
    whole, called = _class_stems()
    added = np.zeros((len(names), COUNT), np.float32)
    for row, name in zip(added, names, strict=True):
        own = stems(name)
        for index in range(COUNT):
            if own in whole[index]:
                row[index] = settings.same
            elif own and any(words <= own or own <= words for words in called[index]):
                row[index] = settings.within
    return added


@cache
def _class_stems() -> tuple[list[frozenset[frozenset[str]]], list[frozenset[frozenset[str]]]]:
    """Of each class: the stems of all its names and clauses, and of its names alone."""
    called = [frozenset(stems(name) for name in class_names(sound)) for sound in table()]
    whole = [
        frozenset((*names, *(stems(phrase) for phrase in sound.phrases)))
        for names, sound in zip(called, table(), strict=True)
    ]
    return whole, called


def softmax(values: np.ndarray, temperature: float) -> np.ndarray:
    """Along the last axis."""
    scaled = (values - values.max(-1, keepdims=True)) / temperature
    powers = np.exp(scaled)
    return powers / powers.sum(-1, keepdims=True)


def name_weights(
    names: Sequence[str], vectors: ClassVectors, embed: Embed, settings: NameSettings | None = None
) -> np.ndarray:
    """Any names or clauses → their weights over the classes (names, 527), each row of sum 1."""
    settings, texts = settings or NameSettings(), class_texts()
    if not names or not all(name.strip() for name in names):
        raise ValueError("no names, or an empty one")
    asked = _embedded(embed, [PROMPT.format(name.strip().lower()) for name in names])
    weights = (1 - settings.table) * softmax(asked @ vectors.shown.T, settings.temperature)
    if settings.table:
        near = (1 - settings.clauses) * nearest_of_each_class(asked @ vectors.names.T, texts.names_class)
        if settings.clauses:
            bare = _embedded(embed, [name.strip().lower() for name in names])
            near += settings.clauses * nearest_of_each_class(bare @ vectors.clauses.T, texts.clauses_class)
        weights = weights + settings.table * softmax(near + same_words(names, settings), settings.temperature)
    return weights


def with_implied(tags: np.ndarray) -> np.ndarray:
    """Tags' probabilities (…, 527), each raised to that of any class that surely brings it along (Bark for Dog)."""
    lifted = tags.copy()
    for index, others in _implied_by_index():
        lifted[..., index] = np.maximum(tags[..., index], tags[..., others].max(-1))
    return lifted


@cache
def _implied_by_index() -> list[tuple[int, list[int]]]:
    index = {sound.name: sound.index for sound in table()}
    found = ((sound.index, [index[name] for name in implied_by(sound.name)]) for sound in table())
    return [(own, others) for own, others in found if others]


def raw_scores(weights: np.ndarray, tags: np.ndarray) -> np.ndarray:
    """weights (names, 527), tags' probabilities (…, 527) → log Σ weight × probability (…, names)."""
    return np.log(np.maximum(tags @ weights.T, FLOOR))


def _checked(tags: np.ndarray) -> np.ndarray:
    tags = np.asarray(tags, np.float32)
    if tags.ndim == 0 or tags.shape[-1] != COUNT:
        raise ValueError(f"tags must be (…, {COUNT}), not {tags.shape}")
    if not (np.isfinite(tags).all() and (tags >= 0).all() and (tags <= 1).all()):
        raise ValueError("the tags' probabilities must be finite and lie between 0 and 1")
    return tags


@dataclass
class NameJudge:
    """Judges sounds by names. `reference`: tags' probabilities of at least two sounds of all kinds (clips, 527); some
    400 suffice. `vectors`: kept `ClassVectors`; without them they are made when first needed, in seconds.

    Raises ValueError for a reference of another shape, or one that is not of probabilities.
    """

    embed: Embed
    reference: np.ndarray
    settings: NameSettings = field(default_factory=NameSettings)
    vectors: ClassVectors | None = None
    _weights: dict[str, np.ndarray] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self.reference = _checked(self.reference)
        if self.reference.ndim != 2 or len(self.reference) < 2:
            raise ValueError(f"the reference must have at least two clips, not {self.reference.shape}")

    def weights(self, names: Sequence[str]) -> np.ndarray:
        """(names, 527), each row of sum 1. Names that were asked before are not embedded again."""
        new = [name for name in dict.fromkeys(names) if name not in self._weights]
        if new or not names:
            self.vectors = self.vectors or ClassVectors.of(self.embed)
            rows = name_weights(new, self.vectors, self.embed, self.settings)
            self._weights |= dict(zip(new, rows, strict=True))
        return np.stack([self._weights[name] for name in names])

    def scores(self, names: Sequence[str], tags: np.ndarray) -> np.ndarray:
        """Tags' probabilities (…, 527) → how far each name's score lies above its mean over the reference, in spreads
        (…, names). The highest fits best."""
        weights, tags = self.weights(names), _checked(tags)
        usual = raw_scores(weights, self.reference)
        spread = np.maximum(usual.std(0), 1e-6)
        return (raw_scores(weights, tags) - usual.mean(0)) / spread

    def nearest(self, name: str, count: int = 3) -> list[tuple[SoundClass, float]]:
        """The classes by which a name is judged, with their weights: what an explanation can say."""
        weights = self.weights([name])[0]
        return [(table()[i], float(weights[i])) for i in np.argsort(-weights, kind="stable")[:count]]


def distribution(scores: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Scores (…, names) → probabilities over the names, as another model can be taught to give."""
    return softmax(scores, temperature)
