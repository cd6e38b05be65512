"""Mini's texts with shots: a question about one clip after answered questions about others.

Shots are the nearest clips or random ones. In some samples the labels are renamed, so that the answer can come from the
shots alone: this is what teaches the model to read its examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from afcore import prompts
from afcore.corpus.clips import ClipSet

if TYPE_CHECKING:
    from afcore.training.recipe.texts import TrainingSample

    T = TypeVar("T")

RENAMED = 0.4  # share of interleaved samples whose labels are renamed
RETRIEVED = 0.6  # of these, the share with the nearest clips as shots
MISLEADING = 0.3  # share of interleaved samples with similar shots whose shots have none of the query's label
INVENTED = (
    "blicket dax wug fep toma zorb kiki bouba modi tulver gazzer pimwit sprock quill narb vost lumer crant "
    "drell fosk glim hask jorp keld lorn mib nusk orvet plim rask"
).split()
NOISE = 0.06  # share of samples that are about noise or silence


class Shots:
    """The part of `SampleMaker` that draws interleaved samples, from what that knows of its clips."""

    clips: ClipSet
    rng: np.random.Generator
    labels: list[str]
    by_label: dict[str, list[int]]
    labelled: np.ndarray
    labelled_weights: np.ndarray
    noise: list[int]
    neighbours: np.ndarray

    if TYPE_CHECKING:  # what else `SampleMaker` does for it

        def _choice(self, options: Sequence[T]) -> T: ...

        def _draw(self, ids: np.ndarray, cumulative: np.ndarray) -> int: ...

        def plain(self) -> TrainingSample: ...

        def options(self, label: str) -> list[str]: ...

        def empty(self, clip: int) -> str: ...

        @staticmethod
        def finish(
            prompt: prompts.Prompt, answer: str, clips: list[int], earlier_count: bool = True
        ) -> TrainingSample: ...

    def interleaved(self) -> TrainingSample:
        count = int(self._choice((1, 2, 3, 4, 4, 4, 4, 8)))
        roll = self.rng.random()
        if roll < RENAMED:
            return self.renamed(count)
        query = self._draw(self.labelled, self.labelled_weights)
        if self.noise and self.rng.random() < NOISE / 2:
            return self.of_noise(count)
        similar = roll < RENAMED + 0.7 * (1 - RENAMED)
        shots = (
            self.nearest(query, count)
            if similar
            else [self._draw(self.labelled, self.labelled_weights) for _ in range(count)]
        )
        if not shots:
            return self.plain()
        answer: Callable[[int], str] = self.clips.label_of
        options: list[str] | None = None
        if self.rng.random() < 0.75:
            question = prompts.CLASSIFY
            options = self.options(self.clips.label_of(query)) if self.rng.random() < 0.2 else None
            if options:  # what the shots say is on offer too
                options = list(dict.fromkeys([*options, *map(self.clips.label_of, shots)]))
        else:
            question = prompts.CAPTION
            said = {i: self.clips[i].caption for i in shots}
            said[query] = self.caption_apart(query, list(said.values()))
            answer = said.__getitem__
        return self._shots(question, shots, query, answer, options, similar, earlier_count=True)

    def caption_apart(self, clip: int, shown: Sequence[str]) -> str:
        """A clip's caption, where it can be in other words than those that its shots show."""
        return self.clips[clip].caption

    def of_noise(self, count: int) -> TrainingSample:
        """Noise or silence after shots of sounds: none of them is the answer."""
        query = self._choice(self.noise)
        shots = [self._draw(self.labelled, self.labelled_weights) for _ in range(count)]
        question = self._choice((prompts.CLASSIFY, prompts.CAPTION))

        def told(i: int) -> str:
            return self.clips.label_of(i) if question == prompts.CLASSIFY else self.clips[i].caption

        def answer(i: int) -> str:
            return self.empty(i) if i == query else told(i)

        return self._shots(question, shots, query, answer, None, bool(self.rng.random() < 0.7), earlier_count=False)

    def nearest(self, query: int, count: int) -> list[int]:
        """The `count` nearest labelled clips, nearest last in three samples of four, else shuffled as in the paper.

        Often those of the query's own label are left out: a bank seldom has every class, and a model whose shots always
        hold the answer learns to repeat a shot's label whatever it hears.
        """
        apart = self.clips[query].label if self.rng.random() < MISLEADING else None
        shots = [i for i in self._beside(query) if self.clips[i].label != apart][:count][::-1]
        return shots if self.rng.random() < 0.75 else [int(i) for i in self.rng.permutation(shots)]

    def renamed(self, count: int) -> TrainingSample:
        """Labels swapped among themselves or for invented words; the query's own class is always among the shots.

        A share of RETRIEVED is as retrieval brings them, nearest last."""
        count = max(count, 2)
        query = self._draw(self.labelled, self.labelled_weights)
        own = self.clips.label_of(query)
        if self.rng.random() < RETRIEVED and (shots := self.retrieved(query, count)):
            classes = sorted({self.clips.label_of(i) for i in shots})
            return self._renamed(query, shots, classes, True)
        classes = [own]
        if self.rng.random() < 0.5:  # classes that sound alike, as retrieval would bring
            classes += self._other_labels(query)[:3]
        classes += [n for n in self.rng.permutation(self.labels)[:4] if n not in classes]
        classes = [str(c) for c in classes[: int(self.rng.integers(2, min(4, count) + 1))]]
        drawn = [own] + [classes[k % len(classes)] for k in range(1, count)]
        shots = []
        for label in drawn:
            pool = [i for i in self.by_label[label] if i != query and self.clips[i].group != self.clips[query].group]
            if pool:
                shots.append(self._choice(pool))
        if not any(self.clips[i].label == own for i in shots):
            return self.plain()
        return self._renamed(query, [int(i) for i in self.rng.permutation(shots)], classes, False)

    def retrieved(self, query: int, count: int) -> list[int]:
        """The nearest clips of a few classes, nearest last, the query's own among them; [] where none of that is
        near."""
        own = self.clips.label_of(query)
        classes = {own, *self.rng.permutation(self._other_labels(query))[: int(self.rng.integers(1, 8))]}
        shots = [i for i in self._beside(query) if self.clips[i].label in classes][:count][::-1]
        return shots if {own} < {self.clips[i].label for i in shots} else []

    def _beside(self, query: int) -> list[int]:
        """The query's labelled neighbours, nearest first."""
        return [int(i) for i in self.neighbours[query] if i >= 0 and self.clips[i].label in self.by_label]

    def _other_labels(self, query: int) -> list[str]:
        """What these are called but for the query's own label, nearest first."""
        return [n for n in dict.fromkeys(map(self.clips.label_of, self._beside(query))) if n != self.clips[query].label]

    def _renamed(self, query: int, shots: list[int], classes: list[str], similar: bool) -> TrainingSample:
        """`shots` and the query under new names for `classes`."""
        names = list(self.rng.permutation(INVENTED if self.rng.random() < 0.5 else self.labels)[: len(classes)])
        if self.rng.random() < 0.3:
            names = list(self.rng.permutation(classes))
        rename = dict(zip(classes, map(str, names), strict=True))
        options = [str(n) for n in self.rng.permutation(list(rename.values()))] if self.rng.random() < 0.3 else None
        return self._shots(
            prompts.CLASSIFY,
            shots,
            query,
            lambda i: rename[self.clips.label_of(i)],
            options,
            similar,
            earlier_count=False,
        )

    def _shots(
        self,
        question: str,
        shots: list[int],
        query: int,
        answer: Callable[[int], str],
        options: list[str] | None,
        similar: bool,
        earlier_count: bool,
    ) -> TrainingSample:
        prompt = prompts.with_shots(
            question, prompts.task_of(question), [(question, answer(i)) for i in shots], options, similar=similar
        )
        return self.finish(prompt, answer(query), [*shots, query], earlier_count)
