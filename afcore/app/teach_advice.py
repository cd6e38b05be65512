"""What a proof says in three numbers, and which settings follow from it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from afcore.teach.proof import Method, Proof
from afcore.teach.schema import Settings


@dataclass(frozen=True)
class Headline:
    """One number: the share of clips that a method labels rightly."""

    title: str
    accuracy: float
    gain: float | None
    """Percentage points more than without examples; None for that itself."""


def headlines(proof: Proof) -> list[Headline]:
    """Without examples; with the best number of examples; by the best plain method. What was not tried is left out."""
    first = proof.scores[0]
    shots = [score for score in proof.scores if score.method.name == "lm-shots"]
    plain = [score for score in proof.scores if not score.method.language_model]
    found = [Headline("Without examples", first.accuracy, None)]
    for scores in (shots, plain):
        if scores:
            best = max(scores, key=lambda score: score.right)
            title = f"With {best.method.title}" if scores is shots else best.method.title
            found.append(Headline(title, best.accuracy, 100 * (best.accuracy - first.accuracy)))
    return found


ENOUGH = 2
"""Examples of a label with which the model's guesses become useful."""


@dataclass(frozen=True)
class ToDo:
    """How far one label is while a project is set up."""

    label: str
    examples: int

    @property
    def done(self) -> bool:
        """Whether it has `ENOUGH` examples."""
        return self.examples >= ENOUGH

    @property
    def says(self) -> str:
        """What there is and what would help, in words."""
        have = {0: "no example yet", 1: "1 example"}.get(self.examples, f"{self.examples} examples")
        return have if self.done else f"{have}, {ENOUGH - self.examples} more would help"


def checklist(labels: Sequence[str], examples: Sequence[str | None]) -> list[ToDo]:
    """For each of a project's ``labels`` how far it is; ``examples``: the label of every example there is."""
    return [ToDo(label, sum(one == label for one in examples)) for label in labels]


def with_method(settings: Settings, method: Method) -> tuple[Settings, str]:
    """``settings`` with ``method``, the one that a proof suggests, and a sentence that says so.

    Another method's limit of probability means nothing, so it goes.
    """
    new = replace(settings, method=method.name, k=method.k or settings.k)
    said = f"{method.title} is used from now on."
    if method.name != settings.method and settings.reject_below is not None:
        new = replace(new, reject_below=None)
        said += " The limit of probability for “none of these” was that of the other method: find it again."
    return new, said


def method_in_use(proof: Proof, settings: Settings) -> str:
    """The title of the method that ``settings`` name."""
    k = settings.k if settings.method == "lm-shots" else 0
    titles = {(score.method.name, score.method.k): score.method.title for score in proof.scores}
    return titles.get((settings.method, k), f"{k} examples")
