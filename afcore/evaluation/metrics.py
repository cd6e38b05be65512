"""Scores of generated text: CIDEr, BLEU-4 and ROUGE-L of captions, answers compared as text, F1 over labels.

The captions' scores are those of pycocoevalcap, which the papers use. They tokenize with the Penn Treebank tokenizer,
which runs on Java; without Java texts are split into plain words, and the scores are not comparable with a paper's.
"""

from __future__ import annotations

import re
import shutil
import string
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from pycocoevalcap.bleu.bleu_scorer import BleuScorer
from pycocoevalcap.cider.cider_scorer import CiderScorer
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer import ptbtokenizer

from afcore import prompts
from afcore.errors import MissingPart
from afcore.stats import bootstrap_interval

PTB, PLAIN = "PTB", "plain words"
"""How captions are tokenized: as in the papers, or without Java."""
BLEU_DRAWS = 200  # each counts the whole corpus again
SAME_LABEL = 0.8
"""Cosine of two labels' sentence embeddings above which the paper takes them for the same (FSD50K)."""


@dataclass(frozen=True)
class Score:
    """A measure over n items with its 95 % interval, redrawn over sources."""

    name: str
    value: float
    low: float
    high: float
    n: int
    tokenizer: str = ""
    """Of a caption's score: `PTB` or `PLAIN`."""
    subset: str = ""


def java_here() -> bool:
    """Whether the Penn Treebank tokenizer can run."""
    return shutil.which("java") is not None


def tokenized(texts: Sequence[str], by: str) -> list[str]:
    """Lower-case words without punctuation, with spaces between; ``by``: `PTB` or `PLAIN`."""
    return list(_ptb(tuple(texts))) if by == PTB else [" ".join(_plain(text)) for text in texts]


@lru_cache(maxsize=8)
def _ptb(texts: tuple[str, ...]) -> tuple[str, ...]:
    """As pycocoevalcap's `PTBTokenizer`, with the same program and list of punctuation, without its file beside the
    package and its lines on stderr."""
    jar = Path(ptbtokenizer.__file__).with_name(ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR)
    command = ["java", "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    lines = "\n".join(" ".join(text.split()) for text in texts) + "\n"
    ran = subprocess.run(command, input=lines.encode(), capture_output=True)
    told = ran.stdout.decode("utf-8", "replace").split("\n")
    if ran.returncode or len(told) < len(texts):
        raise MissingPart("Java is here, but the tokenizer of captions does not run on it.")
    punctuation = set(ptbtokenizer.PUNCTUATIONS)
    return tuple(" ".join(word for word in line.split() if word not in punctuation) for line in told[: len(texts)])


def _plain(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+(?:['-][a-z0-9]+)*", text.lower())


def cider(candidates: Sequence[str], references: Sequence[Sequence[str]], by: str = PLAIN) -> np.ndarray:
    """CIDEr-D of each candidate against its references, (n,), 0 to 10; their mean is the corpus's score.

    Raises ValueError where numbers differ, or a candidate has no reference.
    """
    said, told = _checked(candidates, references, by)
    return np.asarray(_scorer(CiderScorer, said, told).compute_score()[1])


def caption_scores(
    candidates: Sequence[str], references: Sequence[Sequence[str]], groups: Sequence[str], by: str | None = None
) -> list[Score]:
    """CIDEr, BLEU-4 and ROUGE-L with intervals. ``groups``: the source of each candidate.

    ``by``: `PTB` or `PLAIN`; without it the first where Java is here.
    """
    by = by or (PTB if java_here() else PLAIN)
    said, told = _checked(candidates, references, by)
    each = np.asarray(_scorer(CiderScorer, said, told).compute_score()[1])
    rouge = np.array([Rouge().calc_score([a], b) for a, b in zip(said, told, strict=True)])
    scorer = _scorer(BleuScorer, said, told)
    rows = np.arange(len(said))

    def bleu(some: np.ndarray) -> float:
        drawn = BleuScorer(n=4)
        drawn.ctest = [scorer.ctest[row] for row in some]
        drawn.crefs = [scorer.crefs[row] for row in some]
        return float(drawn.compute_score(option="closest")[0][3])

    return [
        measured("CIDEr", each, groups, tokenizer=by),
        measured("BLEU-4", rows, groups, bleu, BLEU_DRAWS, tokenizer=by),
        measured("ROUGE-L", rouge, groups, tokenizer=by),
    ]


def _checked(
    candidates: Sequence[str], references: Sequence[Sequence[str]], by: str
) -> tuple[list[str], list[list[str]]]:
    if len(candidates) != len(references) or not all(references):
        raise ValueError("every candidate needs at least one reference")
    flat = tokenized([*candidates, *(text for some in references for text in some)], by)
    said, rest, told = flat[: len(candidates)], iter(flat[len(candidates) :]), []
    for some in references:
        told.append([next(rest) for _ in some])
    return said, told


def _scorer(kind: Callable[..., CiderScorer], said: Sequence[str], told: Sequence[Sequence[str]]) -> CiderScorer:
    scorer = kind(n=4)
    for candidate, some in zip(said, told, strict=True):
        scorer += (candidate, some)
    return scorer


def measured(
    name: str,
    values: np.ndarray,
    groups: Sequence[str],
    statistic: Callable[[np.ndarray], float] = np.mean,
    draws: int = 1000,
    tokenizer: str = "",
) -> Score:
    """``statistic`` of ``values`` (n,) with its interval."""
    low, high = bootstrap_interval(values, groups, statistic, draws)
    return Score(name, float(statistic(values)), low, high, len(values), tokenizer)


# Answers as text


def normal_answer(text: str) -> str:
    """An answer as it is compared: lower case, words apart, no punctuation around it."""
    return prompts.answer_of(text.replace("-", " ").strip(string.punctuation + string.whitespace))


def is_right(said: str, answers: Sequence[str]) -> bool:
    """Whether an answer is one of the right ones, compared as text."""
    return normal_answer(said) in {normal_answer(answer) for answer in answers}


def labels_in(text: str) -> list[str]:
    """The labels that an answer lists with commas between, each once, in its order."""
    return list(dict.fromkeys(label for part in text.split(",") if (label := normal_answer(part))))


Same = Callable[[str, str], bool]
"""Whether two labels count as the same."""


def f1_counts(said: Sequence[str], true: Sequence[str], same: Same) -> tuple[int, int, int, int]:
    """(said that are true, said, true that are said, true)."""
    return (
        sum(any(same(a, b) for b in true) for a in said),
        len(said),
        sum(any(same(a, b) for a in said) for b in true),
        len(true),
    )


def f1_score(
    said: Sequence[Sequence[str]], true: Sequence[Sequence[str]], groups: Sequence[str], same: Same, name: str
) -> Score:
    """Micro F1: precision over all labels that were said, recall over all that are true."""
    counts = np.array([f1_counts(a, b, same) for a, b in zip(said, true, strict=True)], float).reshape(-1, 4)

    def of(rows: np.ndarray) -> float:
        right, told, found, all_true = counts[rows].sum(0)
        precision, recall = right / max(told, 1), found / max(all_true, 1)
        return float(2 * precision * recall / (precision + recall)) if right and found else 0.0

    return measured(name, np.arange(len(counts)), groups, of)


def mean_f1(said: np.ndarray, true: np.ndarray) -> Callable[[np.ndarray], float]:
    """Function of row numbers -> F1 of each label that occurs among their true ones, as a mean over these labels.

    ``said``, ``true``: (n,) one label each; what is said beside all labels counts for none of them.
    """
    names, codes = np.unique(np.concatenate([true, said]), return_inverse=True)
    right, told, size = codes[: len(true)], codes[len(true) :], len(names)

    def over(rows: np.ndarray) -> float:
        all_true = np.bincount(right[rows], minlength=size)
        all_said = np.bincount(told[rows], minlength=size)
        hits = np.bincount(right[rows][right[rows] == told[rows]], minlength=size)
        occurs = all_true > 0
        return float((2 * hits[occurs] / (all_true + all_said)[occurs]).mean())

    return over


def equal(first: str, second: str) -> bool:
    """Whether two labels are the same text."""
    return normal_answer(first) == normal_answer(second)


class Alike:
    """Whether two labels mean the same: by a sentence encoder (texts -> (n, d) unit vectors), as the paper compares
    those of FSD50K (cosine above `SAME_LABEL`)."""

    def __init__(self, embed: Callable[[list[str]], np.ndarray]):
        self._embed, self._known = embed, dict[str, np.ndarray]()

    def learn(self, texts: Sequence[str]) -> None:
        """Embeds texts beforehand, all at once."""
        new = [text for text in dict.fromkeys(map(normal_answer, texts)) if text not in self._known]
        if new:
            self._known |= dict(zip(new, np.asarray(self._embed(new)), strict=True))

    def __call__(self, first: str, second: str) -> bool:
        """Whether the labels are the same text, or near enough."""
        first, second = normal_answer(first), normal_answer(second)
        self.learn([first, second])
        return first == second or float(self._known[first] @ self._known[second]) > SAME_LABEL


def paired(first: np.ndarray, second: np.ndarray, groups: Sequence[str]) -> tuple[float, float, float]:
    """(mean, low, high) of second - first over items that both have: both values of an item are redrawn together."""
    gain = np.asarray(second, float) - np.asarray(first, float)
    low, high = bootstrap_interval(gain, groups)
    return float(gain.mean()), low, high
