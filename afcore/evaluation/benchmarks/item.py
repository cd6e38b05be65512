"""What a benchmark is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from afcore.evaluation.benchmarks.published_prompts import PublishedPrompt

TRAIN, VALIDATION, TEST = "train", "validation", "test"
CAPTION, ANSWER, LABEL, LABELS, LABELS_APPROXIMATE, DIALOGUE = (
    "caption",
    "answer",
    "label",
    "labels",
    "labels, approximately",
    "dialogue",
)
"""What is asked for, which decides how it is scored."""


@dataclass(frozen=True)
class Item:
    """One question about one sound."""

    id: str
    """Unique within its benchmark."""
    file: Path
    """Which may be missing: of many datasets some sounds can no longer be had."""
    answers: tuple[str, ...]
    """The right ones: references of a caption, what annotators answered, or all labels that are true. Of a dialogue: an
    answer for each turn."""
    split: str = TEST
    prompt: str = ""
    """A question of its own; '' where the benchmark's prompt is asked."""
    subsets: tuple[str, ...] = ()
    fold: str = ""
    source: str = ""
    """What the sound was cut from, or who speaks; '' where the dataset does not say."""
    questions: tuple[str, ...] = ()
    """Of a dialogue: the person's turns."""
    yes_no: bool = False
    """Whether yes and no are listed as its options."""


@dataclass(frozen=True)
class Benchmark:
    """A dataset in its official layout, what is asked of its sounds and how answers are scored."""

    name: str
    """On the command line."""
    title: str
    kind: str
    prompt: PublishedPrompt
    read: Callable[[Path], list[Item]]
    """All items of a folder, of every split. Raises BadRequest in a sentence that says what was expected."""
    labels: Sequence[str] | None = field(default=None)
    """The dataset's own list, where its options are listed whole whatever a folder holds."""

    def options(self, items: Sequence[Item]) -> list[str]:
        """The labels that are listed with the question, sorted; empty where none are."""
        if not self.prompt.options:
            return []
        return sorted(self.labels or {answer for item in items for answer in item.answers})
