"""Scores of generated text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

N, SIGMA = 4, 6.0  # longest n-gram; width of the length penalty


def cider(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """CIDEr-D of each candidate against its references, (n,), 0 to 10; their mean is the corpus's score.

    Vedantam et al., 2015 (arXiv 1411.5726), to the last digit as in COCO's published code (pycocoevalcap 1.2,
    `cider_scorer`, whose package is 100 MB of Java): tf-idf of 1- to 4-grams, document frequency over the references'
    sounds, clipped cosine, a Gaussian penalty on the difference in the number of bigrams. Texts are split into
    lower-case words without punctuation (instead of by the PTB tokenizer). Raises ValueError where numbers differ, or a
    candidate has no reference.
    """
    if len(candidates) != len(references) or not all(references):
        raise ValueError("every candidate needs at least one reference")
    told = [[_ngrams(text) for text in texts] for texts in references]
    frequency = Counter(gram for texts in told for gram in set().union(*texts))
    total = np.log(len(references))

    def weigh(grams):
        return {gram: count * (total - np.log(max(1, frequency[gram]))) for gram, count in grams.items()}

    scores = []
    for said, texts in zip(map(_ngrams, candidates), told, strict=True):
        mine = weigh(said)
        scores.append(10 * np.mean([_penalty(said, text) * _cosine(mine, weigh(text)) for text in texts]))
    return np.array(scores)


def _ngrams(text: str) -> Counter:
    words = re.findall(r"[a-z0-9]+(?:['-][a-z0-9]+)*", text.lower())
    return Counter(tuple(words[i : i + n]) for n in range(1, N + 1) for i in range(len(words) - n + 1))


def _penalty(said: Counter, told: Counter) -> float:
    """For unlike lengths, which the published code counts in bigrams."""
    lengths = [sum(count for gram, count in grams.items() if len(gram) == 2) for grams in (said, told)]
    return float(np.exp(-((lengths[0] - lengths[1]) ** 2) / (2 * SIGMA**2)))


def _cosine(said: dict, told: dict) -> float:
    """Mean over n of the clipped cosine of the n-grams' weights."""
    total = 0.0
    for n in range(1, N + 1):
        mine, its = ({g: w for g, w in weights.items() if len(g) == n} for weights in (said, told))
        norm = np.sqrt(sum(w * w for w in mine.values()) * sum(w * w for w in its.values()))
        if norm:
            total += sum(min(w, its.get(g, 0.0)) * its.get(g, 0.0) for g, w in mine.items()) / norm
    return total / N
