"""The same questions before and after: what was answered, how much of it is right, and what got worse elsewhere."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from afcore import prompts
from afcore.errors import Cancelled
from afcore.stats import bootstrap_interval
from afcore.training.finetune.data import Item

if TYPE_CHECKING:
    from afcore.engine.engine import Engine
    from afcore.retrieval.example import Example

Progress = Callable[[str, float], None]
MOST = 60  # held-out questions that are asked
ELSEWHERE = 24  # sounds of the example bank, of as many labels
OPTIONS = 10  # labels that each of them is chosen among
_ARTICLES = {"a", "an", "the"}


@dataclass(frozen=True)
class Question:
    """One that is asked before and after."""

    item: Item
    turn: int

    @property
    def history(self) -> list[tuple[str, str]]:
        """The right turns before it."""
        return list(self.item.turns[: self.turn])

    @property
    def asked(self) -> str:
        """As it is put."""
        return self.item.turns[self.turn][0]

    @property
    def right(self) -> str:
        """As it was answered in the data."""
        return self.item.turns[self.turn][1]


def questions_of(items: Sequence[Item], most: int = MOST) -> list[Question]:
    """The questions of ``items``, at most ``most``, spread evenly over them."""
    every = [Question(item, turn) for item in items for turn in range(len(item.turns))]
    if len(every) <= most:
        return every
    return [every[i] for i in np.linspace(0, len(every) - 1, most).round().astype(int)]


def answers(
    engine: Engine, questions: Sequence[Question], progress: Progress, stop: threading.Event, stage: str
) -> list[str]:
    """What ``engine`` says, by greedy decoding. Raises Cancelled."""
    said = []
    for number, question in enumerate(questions):
        _go_on(stop)
        progress(stage, number / len(questions))
        item = question.item
        heard = engine.hear_file(item.file, item.shown, item.start)
        prompt = engine.build_prompt(heard, question.asked, (), question.history, chat=item.dialogue)
        said.append("".join(engine.stream(heard, prompt, stop=stop)).strip())
    return said


def elsewhere(engine: Engine, progress: Progress, stop: threading.Event, stage: str) -> dict[str, list[float]]:
    """How ``engine`` does on the sounds of its example bank, a number for each sound: ``label``, whether the language
    side chooses its label among `OPTIONS`; ``caption``, how many words its caption shares with the bank's. Empty
    without a bank. Raises Cancelled."""
    if engine.bank is None:
        return {}
    first: dict[str, Example] = {}
    for example in engine.bank.examples():
        first.setdefault(example.label, example)
    labels = sorted(first)
    chosen = labels[:: max(1, len(labels) // ELSEWHERE)][:ELSEWHERE]
    found: dict[str, list[float]] = {"label": [], "caption": []}
    for number, label in enumerate(chosen):
        _go_on(stop)
        progress(stage, number / len(chosen))
        example, heard = first[label], engine.recall(engine.bank, first[label])
        others = [other for other in labels if other != label]
        options = [label] + [others[i] for i in np.random.default_rng(number).permutation(len(others))[: OPTIONS - 1]]
        prompt = engine.build_prompt(heard, prompts.CLASSIFY)
        sums, counts = engine.language.score(
            prompt, engine.sounds(heard, prompt), list(map(prompts.answer_of, options))
        )
        found["label"].append(float(int((sums / counts).argmax()) == 0))
        prompt = engine.build_prompt(heard, prompts.CAPTION)
        said = "".join(engine.stream(heard, prompt, stop=stop))
        found["caption"].append(overlap(said, example.caption))
    return found


def _go_on(stop: threading.Event) -> None:
    if stop.is_set():
        raise Cancelled()


def words(text: str) -> list[str]:
    """Its words in lower case, without articles."""
    return [word for word in re.findall(r"\w+", text.lower()) if word not in _ARTICLES]


def overlap(said: str, right: str) -> float:
    """F1 of the words of two answers, 0 to 1: how many are shared."""
    one, two = Counter(words(said)), Counter(words(right))
    shared = sum((one & two).values())
    return 2 * shared / (sum(one.values()) + sum(two.values())) if shared else 0.0


def same(said: str, right: str) -> float:
    """1 where both answers are the same words, else 0."""
    return float(words(said) == words(right))


def report(questions: Sequence[Question], before: Sequence[str], after: Sequence[str]) -> dict[str, Any]:
    """``scores``: rows (`row`) of the same words and of words shared; ``answers``: every question with both answers."""
    groups = [question.item.source for question in questions]
    rows = []
    for name, measure in (("the same words", same), ("words shared (F1)", overlap)):
        one, two = (
            [measure(said, question.right) for said, question in zip(texts, questions, strict=True)]
            for texts in (before, after)
        )
        rows.append(row(name, one, two, groups))
    told = [
        {
            "file": question.item.shown,
            "source": question.item.source,
            "question": question.asked,
            "right": question.right,
            "before": one,
            "after": two,
        }
        for question, one, two in zip(questions, before, after, strict=True)
    ]
    return {"scores": rows, "answers": told}


def elsewhere_report(before: dict[str, list[float]], after: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Rows (`row`) over the sounds of the example bank."""
    names = {"label": f"bank: the right label of {OPTIONS}", "caption": "bank: words shared with the caption (F1)"}
    return [
        row(names[key], before[key], after[key], list(map(str, range(len(before[key])))))
        for key in names
        if before.get(key) and len(before[key]) == len(after.get(key, ()))
    ]


def row(name: str, before: Sequence[float], after: Sequence[float], groups: Sequence[str]) -> dict[str, Any]:
    """Means before and after with 95 % intervals that redraw sources, and the difference with its own."""
    one, two = np.asarray(before, float), np.asarray(after, float)
    return {
        "what": name,
        "count": len(one),
        **{
            key: {"mean": float(values.mean()), "interval": list(bootstrap_interval(values, groups))}
            for key, values in {"before": one, "after": two, "gain": two - one}.items()
        },
    }


def row_text(entry: dict[str, Any]) -> str:
    """A row as a line: ``the same words (24): 12 % (4 to 25), then 79 % (62 to 92), gain +67 (+50 to +83)``."""

    def share(key: str, sign: str = "") -> str:
        low, high = entry[key]["interval"]
        return f"{100 * entry[key]['mean']:{sign}.0f} % ({100 * low:{sign}.0f} to {100 * high:{sign}.0f})"

    return f"{entry['what']} ({entry['count']}): {share('before')}, then {share('after')}, gain {share('gain', '+')}"
