"""What every row of the card is computed from: the engine, the test clips, and a bank of training clips."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from afcore.clap import Clap
from afcore.corpus.clips import ClipSet
from afcore.corpus.items import PER_GROUP
from afcore.corpus.labels import Name, read_names
from afcore.engine.results import Heard
from afcore.errors import MissingPart
from afcore.evaluation.naming import everyday
from afcore.evaluation.ontology import shared
from afcore.evaluation.sounds import CardSounds, Subject
from afcore.retrieval import ExampleBank
from afcore.retrieval.example import Example

if TYPE_CHECKING:
    from afcore.engine.engine import Engine

OF_LABEL_TEST = 50  # clips of one test label that count at most; scores are means over labels, so more say little
OF_LABEL_BANK = 120  # clips of one label in the bank of training clips


class ClipBank(ExampleBank):
    """Clips of a `ClipSet` as an example bank in memory: what `Retriever` and `Engine.features_of` ask of a `Bank`."""

    def __init__(self, clips: ClipSet, rows: Sequence[int], clap: Clap):
        self._clips, self._rows = clips, list(rows)
        self._vectors = clips.clap_vectors(clap, self._rows)
        self._examples = [
            Example(
                i,
                clips.label_of(i),
                clips[i].caption,
                f"clip {i}",
                0.0,
                package=clips[i].package,
                group_key=clips[i].group,
            )
            for i in self._rows
        ]

    def examples(self) -> list[Example]:
        return self._examples

    def features(self, example_id: int, model: str) -> np.ndarray:
        return self._clips.of(example_id).astype(np.float32)

    def clap_matrix(self, model: str) -> tuple[list[int], np.ndarray]:
        return self._rows, self._vectors


class Context:
    """`work`: the folder that `python -m afcore.training` made. Raises MissingPart where it lacks the clips."""

    def __init__(self, work: Path, engine: Engine):
        if not (work / "clips" / "clips.jsonl").exists():
            raise MissingPart(
                f"There are no test sounds in {work}: make them with `python -m afcore.training all --work {work}`."
            )
        self.work, self.engine, self.clips = work, engine, ClipSet(work / "clips")
        self.names: dict[str, Name] = read_names()
        self.everyday = everyday()
        self.sounds = CardSounds(
            self.clips, work / "corpus", engine.encoder, work / "card" / f"{engine.features_name}.npz"
        )
        used = {example.package for example in engine.bank.examples()} if engine.bank else set()
        if shared := used & {info.package for info in self.clips.info if info.split == "test"}:
            raise MissingPart(
                f"The bank holds sounds of the test package {sorted(shared)[0]}: the scores would not be honest."
            )

    @cached_property
    def training_bank(self) -> ClipBank:
        """Labelled clips of the training packages, none of which is a test package, at most `OF_LABEL_BANK` of a
        label."""
        rng, rows = np.random.default_rng(0), []
        taken: dict[str, int] = {}
        for i in rng.permutation(len(self.clips)).tolist():
            info = self.clips[i]
            if info.split == "train" and info.source >= 0 and info.label and taken.get(info.label, 0) < OF_LABEL_BANK:
                taken[info.label] = taken.get(info.label, 0) + 1
                rows.append(i)
        return ClipBank(self.clips, sorted(rows), self.engine.clap)

    def test_clips(self, labels: set[str], seed: int = 0) -> list[int]:
        """Test clips with one of `labels`, at most `PER_GROUP` takes of a source: one of each label, then a second of
        each, and so on up to `OF_LABEL_TEST`, so that the first few cover all labels too."""
        rng = np.random.default_rng(seed)
        ranked: list[tuple[int, int, int]] = []
        of_group: dict[str, int] = {}
        of_label: dict[str, int] = {}
        for i in rng.permutation(len(self.clips)).tolist():
            info = self.clips[i]
            if info.split != "test" or info.label not in labels or info.source < 0:
                continue
            of_group[info.group] = of_group.get(info.group, 0) + 1
            if of_group[info.group] <= PER_GROUP and of_label.get(info.label, 0) < OF_LABEL_TEST:
                of_label[info.label] = of_label.get(info.label, 0) + 1
                ranked.append((of_label[info.label], len(ranked), i))
        return [i for _, _, i in sorted(ranked)]

    def hear(self, subject: Subject, how: str = "") -> Heard:
        """The subject as the engine would have heard it. With hidden tags retrieval still goes by what was there."""
        features = self.sounds.features(subject, how)
        seen = self.sounds.features(subject) if how == "no tags" else features
        vector = np.asarray(self.engine.clap.audio_from_features(seen), np.float32)
        return Heard.of_features(f"{subject.key} {how}", features, vector)

    def labels_of(self, subject: Subject) -> list[str]:
        """The labels of the clips that it was made of."""
        return [self.clips.label_of(i) for i in subject.clips]

    def fine(self, label: str) -> str:
        """The label's own category, such as "animals"."""
        return self.names[label].category


def ten_options(
    rng: np.random.Generator, label: str, labels: Sequence[str], context: Context, count: int = 10
) -> tuple[str, ...]:
    """`label` among `count`: half of the others are its nearest in AudioSet's ontology, where it has as many in its
    branch; the rest are of other branches as far as these last. None is kept apart from it."""
    apart = context.everyday[label].apart if label in context.everyday else frozenset()
    others = [str(n) for n in rng.permutation(sorted(labels)) if n != label and n not in apart]
    others.sort(key=lambda n: -shared(label, n))  # stable: what is equally near stays in its random order
    near = [n for n in others if shared(label, n)][: count // 2]
    far = others[len(near) :]
    strangers = [n for n in far if not shared(label, n)]
    far = [*strangers, *(n for n in far if n not in strangers)][: count - 1 - len(near)]
    return tuple(str(n) for n in rng.permutation([*near, *far, label]))
