"""Does it work on the user's own sounds? Accuracy without shots against 1, 2, 4, 8 shots, beside plain CLAP.

`run` asks every method about every labelled clip and yields after each clip, so that a page can draw and stop; a
`Tally` can be read at any time. Where the trials come from is not its business; `of_project` makes them from a project.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import confusion_matrix, recall_score

from afcore.errors import BadRequest
from afcore.stats import bootstrap_interval as bootstrap
from afcore.stats import wilson

if TYPE_CHECKING:
    from afcore.engine.engine import Engine
    from afcore.teach.project import Project
    from afcore.teach.schema import ProjectClip

SHOTS = (0, 1, 2, 4, 8)
RULE = (
    "The method with the most test clips right is suggested; where plain CLAP and the model are equal, the "
    "model; where two numbers of examples are equal, the smaller."
)

Predict = Callable[[Any, Sequence[str], int], Mapping[str, float]]
"""(heard, labels, k) -> label to probability; ``heard`` is `Trial.heard`."""
Baseline = Callable[[Any, Sequence[str]], Mapping[str, float]]


@dataclass(frozen=True)
class Trial:
    """A clip whose label is known."""

    heard: Any
    """Handed to the methods as it is."""
    label: str
    group: str = ""
    """Takes of one source share it, and count as one witness in the intervals; '' for a clip of its own source."""


@dataclass(frozen=True)
class Method:
    """One bar of the picture: ``name`` and ``k`` as in a project's `Settings`."""

    name: str
    k: int
    title: str

    @property
    def language_model(self) -> bool:
        """Or plain CLAP."""
        return self.name.startswith("lm-")


@dataclass(frozen=True)
class Score:
    """How one method did."""

    method: Method
    right: int
    accuracy: float
    interval: tuple[float, float]
    """95 %, of the accuracy."""
    macro: float
    """Mean over the labels of the share found of each."""
    per_label: dict[str, float]
    """Share found of each label that was tried."""
    confusion: np.ndarray = field(repr=False)
    """(n, n) clips: row the true label, column the answer, in the order of `Proof.labels`."""
    gain: float | None = None
    """Accuracy less that of the first method, over the same clips; None for the first itself."""
    gain_interval: tuple[float, float] | None = None
    """95 %, paired: clips on which both agree say nothing about it."""


@dataclass(frozen=True)
class Proof:
    """All methods over the same clips."""

    labels: tuple[str, ...]
    scores: tuple[Score, ...]
    done: int
    """Clips that every method was asked about."""
    total: int
    sources: int
    note: str
    """Which clips these were, in sentences for people."""
    suggested: Method | None
    reason: str

    def score(self, name: str, k: int = 0) -> Score:
        """Of one method. Raises KeyError."""
        return {(s.method.name, s.method.k): s for s in self.scores}[name, k]

    def label_gains(self, score: Score) -> dict[str, float]:
        """By how much more of each label is found than by the first method."""
        first = self.scores[0].per_label
        return {label: share - first[label] for label, share in score.per_label.items()}


class Tally:
    """Answers so far."""

    def __init__(self, labels: Sequence[str], methods: Sequence[Method], total: int, note: str):
        self.labels, self.methods, self.total, self.note = tuple(labels), tuple(methods), total, note
        self.trials: list[Trial] = []
        self.answers: list[list[str]] = []  # of each trial, in the order of the methods

    @property
    def done(self) -> int:
        """Clips that every method was asked about."""
        return len(self.trials)

    def result(self) -> Proof:
        """Scores over the clips that are done; without any, none."""
        truth = np.array([trial.label for trial in self.trials], dtype=object)
        groups = [trial.group or f"clip {n}" for n, trial in enumerate(self.trials)]
        columns = [np.array(column, dtype=object) for column in zip(*self.answers, strict=False)]
        right = [column == truth for column in columns]
        scores = [
            self._score(method, truth, answers, hits, right[0], groups)
            for method, answers, hits in zip(self.methods, columns, right, strict=False)
        ]
        note = self.note if self.done == self.total else f"{self.note} Stopped after {self.done} of {self.total} clips."
        if self.done < self.total:
            # Few clips in a fixed order say little; a number that is used from then on must not come of them.
            best, reason = None, "Stopped early, so nothing is suggested: run the test to its end."
        else:
            best, reason = suggest(scores, right, groups)
        return Proof(self.labels, tuple(scores), self.done, self.total, len(set(groups)), note.strip(), best, reason)

    def _score(
        self,
        method: Method,
        truth: np.ndarray,
        answers: np.ndarray,
        hits: np.ndarray,
        first: np.ndarray,
        groups: Sequence[str],
    ) -> Score:
        tried = [label for label in self.labels if label in set(truth)]
        found = recall_score(truth, answers, labels=tried, average=None, zero_division=0.0)
        gain, gain_interval = None, None
        if method is not self.methods[0]:
            difference = hits.astype(float) - first
            gain, gain_interval = float(difference.mean()), paired_interval(difference, groups)
        return Score(
            method,
            int(hits.sum()),
            float(hits.mean()),
            accuracy_interval(hits, groups),
            float(found.mean()),
            dict(zip(tried, found.tolist(), strict=False)),
            confusion_matrix(truth, answers, labels=self.labels),
            gain,
            gain_interval,
        )


def run(
    trials: Sequence[Trial],
    labels: Sequence[str],
    predict: Predict,
    baselines: Mapping[Method, Baseline] = {},
    shots: Sequence[int] = SHOTS,
    stop: threading.Event | None = None,
    note: str = "",
) -> Iterator[Tally]:
    """Yields the same, growing `Tally` after each clip: the model with each number of ``shots``,
    ``baselines``.

    Clips are taken label by label in turn, so that what is done when ``stop`` is set speaks for all labels.
    Raises BadRequest for no trials, or one with a label that is not among ``labels``.
    """
    if not trials:
        raise BadRequest("There are no labelled clips to test with.")
    unknown = sorted({trial.label for trial in trials} - set(labels))
    if unknown:
        raise BadRequest(f"The test has clips of “{unknown[0]}”, which is not among the labels.")
    methods = [Method("lm-shots" if k else "lm-zero", k, _title(k)) for k in shots] + list(baselines)
    tally = Tally(labels, methods, len(trials), note)
    for trial in _in_turn(trials):
        answers = []
        for method in methods:
            if stop is not None and stop.is_set():
                return
            if method in baselines:
                by_label = baselines[method](trial.heard, labels)
            else:
                by_label = predict(trial.heard, labels, method.k)
            answers.append(_best(by_label))
        tally.trials.append(trial)
        tally.answers.append(answers)
        yield tally


def _best(by_label: Mapping[str, float]) -> str:
    """The likeliest label."""
    return max(by_label, key=lambda label: by_label[label])


def accuracy_interval(hits: np.ndarray, groups: Sequence[str]) -> tuple[float, float]:
    """95 % interval of a share: Wilson's where every clip (n,) bool is a source of its own, else by redrawing sources.

    Where all takes agree, redrawing them would claim certainty; then it is Wilson's for as many clips as there are
    sources.
    """
    sources = len(set(groups))
    if sources == len(hits) or hits.all() or not hits.any():
        return wilson(round(float(hits.mean()) * sources), sources)
    return bootstrap(hits.astype(float), list(groups))


def paired_interval(difference: np.ndarray, groups: Sequence[str]) -> tuple[float, float]:
    """95 % interval of a mean difference (n,) of -1, 0 and 1, by redrawing sources.

    Where all clips agree it is what Wilson's interval allows the share of clips that would not.
    """
    if (difference != difference[0]).any():
        return bootstrap(difference, list(groups))
    _, slack = wilson(0, len(set(groups)))
    return max(-1.0, float(difference[0]) - slack), min(1.0, float(difference[0]) + slack)


def suggest(scores: Sequence[Score], right: Sequence[np.ndarray], groups: Sequence[str]) -> tuple[Method | None, str]:
    """By `RULE`, with a sentence that says how sure that is."""
    if not scores:
        return None, ""
    rank = [(-score.right, not score.method.language_model, score.method.k) for score in scores]
    order = sorted(range(len(scores)), key=rank.__getitem__)
    best, total = scores[order[0]], len(right[0])
    reason = f"{best.method.title}: {best.right} of {total} clips right."
    rivals = [i for i in order if scores[i].method.language_model != best.method.language_model]
    if rivals:
        rival = scores[rivals[0]]
        low, _ = paired_interval(right[order[0]].astype(float) - right[rivals[0]], groups)
        said = "as many" if rival.right == best.right else f"{rival.right}, a difference that may be chance"
        if low > 0:
            said = f"{rival.right}, fewer than chance explains"
        reason += f" The best of the others, {_lower(rival.method.title)}, has {said}."
    return best.method, reason


def of_project(
    project: Project, engine: Engine, shots: Sequence[int] = SHOTS, stop: threading.Event | None = None
) -> Iterator[Tally]:
    """`run` for a project: over its test clips with all examples, or else over its examples, each left out in turn.

    When an example is judged, no sound of the same source is a shot, as long as every label has other sources. Raises
    BadRequest where there is too little to test, Cancelled.
    """
    from afcore.teach.loop import Loop
    from afcore.teach.predict import classify, source_of
    from afcore.teach.schema import TEST

    loop = Loop(project, engine)
    examples = loop.examples()
    tests = [clip for clip in project.items(TEST) if clip.label in examples.names and clip.fault is None]
    clips = tests or [clip for clip in examples.items.values() if clip.label in examples.names]
    if len({clip.label for clip in clips}) < 2:
        raise BadRequest("Give at least two labels some examples or test clips first.")

    def ask(clip: ProjectClip, method: str, k: int = 0) -> dict[str, float]:
        return classify(engine, loop.hear(clip), examples, method, k, examples.left_out(clip), stop=stop).probabilities

    baselines = {
        Method("clap-nn", 0, "CLAP, nearest example"): lambda clip, labels: ask(clip, "clap-nn"),
        Method("clap-text", 0, "CLAP, name of the label"): lambda clip, labels: ask(clip, "clap-text"),
    }
    trials = [Trial(clip, clip.known_label, source_of(clip)) for clip in clips]
    most = len(examples) - (not tests)
    shots = [k for n, k in enumerate(shots) if k <= most or (n and shots[n - 1] < most)]  # beyond that all are the same
    yield from run(
        trials,
        examples.names,
        lambda clip, labels, k: ask(clip, "lm-shots" if k else "lm-zero", k),
        baselines,
        shots,
        stop,
        _note(bool(tests), examples.sources),
    )


def _note(tests: bool, by_label: Mapping[str, set[str]]) -> str:
    if tests:
        return "Judged on the test clips, which the model is never shown."
    text = "There are no test clips, so each example was judged while it was not shown (leave-one-out)."
    single = [label for label, sources in by_label.items() if len(sources) == 1]
    if not single:
        return text + " Other takes of the same source were left out too."
    return text + (
        f" All examples of “{single[0]}” are of one source, so other takes of a source could be shown: new "
        "sounds may do worse."
    )


def _in_turn(trials: Sequence[Trial]) -> list[Trial]:
    """One of each label, then the next of each."""
    seen: dict[str, int] = {}
    rounds = []
    for trial in trials:
        rounds.append(seen.setdefault(trial.label, 0))
        seen[trial.label] += 1
    return [trials[i] for i in np.argsort(rounds, kind="stable")]


def _title(k: int) -> str:
    return "Without examples" if k == 0 else f"{k} example{'s' * (k > 1)}"


def _lower(title: str) -> str:
    return title if title.startswith("CLAP") else title[0].lower() + title[1:]
