"""Sounds of the validation or test split of packages and sets, with what is truly heard in each."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from afcore.audio.recording import Clip, from_samples
from afcore.corpus.decoded import RATE, Sounds, splits_of
from afcore.corpus.describe import mix
from afcore.corpus.first_windows import UNNAMED
from afcore.corpus.labels import label_by_id
from afcore.corpus.sets import said_as
from afcore.corpus.splits import BY_RECORDING, recording_of
from afcore.encoders.mini import TAGS
from afcore.errors import MissingPart
from afcore.evaluation.truth import Truth, classes_of_label, of_mixture, truth_of
from afcore.hashing import sha256_of

FOLDERS = ("corpus", "sounds")
LONGEST = 10.0  # s of a sound that are heard: what the teacher heard of it
CLEAR = 0.5  # the teacher's probability of what it hears best in a sound without a label
NOT_ASKED = frozenset(("room", "recording"))
"""Kinds of class that nobody asks about: where a sound is recorded is not what is heard."""


@dataclass(frozen=True)
class HeldSound:
    """A sound, or two over each other."""

    id: str
    pieces: tuple[tuple[str, int], ...]
    """(folder, row of its index) of each part."""
    truth: Truth
    group: str
    """What it was cut from: sounds of one group are not independent."""


def by_hash(seed: str, sounds: Sequence[HeldSound]) -> list[HeldSound]:
    """The sounds in an order that their names decide: one of each main class, then a second of each, and so on; of a
    group the first only."""

    def number(sound: HeldSound) -> str:
        return sha256_of(f"{seed} {sound.id}")

    taken, groups, ranked = dict[str, int](), set[str](), list[tuple[int, str, HeldSound]]()
    for sound in sorted(sounds, key=number):
        if sound.group in groups:
            continue
        groups.add(sound.group)
        name = sound.truth.core[0]
        taken[name] = taken.get(name, 0) + 1
        ranked.append((taken[name], number(sound), sound))
    return [sound for *_, sound in sorted(ranked, key=lambda entry: entry[:2])]


def mixtures(sounds: Sequence[HeldSound]) -> list[HeldSound]:
    """Two sounds each that have nothing in common, not even a kind ("two instruments"), in the order given."""
    left, found = list(sounds), []
    while left:
        first = left.pop(0)
        kinds = len(first.truth.groups())
        for second in left:
            truth = of_mixture(first.truth, second.truth)
            if apart(first.truth, second.truth) and len(truth.groups()) == kinds + len(second.truth.groups()):
                left.remove(second)
                pieces = (*first.pieces, *second.pieces)
                group = f"{first.group} + {second.group}"
                found.append(HeldSound(f"{first.id} + {second.id}", pieces, truth, group))
                break
    return found


def apart(first: Truth, second: Truth) -> bool:
    """Whether nothing that is heard in one is, or may be, heard in the other."""
    return not (set(first.core) & (second.heard | second.open) or set(second.core) & (first.heard | first.open))


def is_clear(truth: Truth, surest: float) -> bool:
    """Whether enough is known of a sound to judge answers about it. With a label that names classes: where the teacher
    hears one of them; without: where it is at least `CLEAR` sure of what it hears best."""
    if not truth.core or truth.main.kind in NOT_ASKED:
        return False
    said = classes_of_label(truth.label) if truth.label else ()
    return bool(truth.heard & set(said)) if said else surest >= CLEAR


class HeldSounds:
    """`work`: the folder that `python -m afcore.training` made, with the steps corpus, sets, tags and labels.

    Raises MissingPart where there are no sounds, or the teacher has not heard them.
    """

    def __init__(self, work: Path, split: str):
        folders = [work / name for name in FOLDERS if (work / name / "index.jsonl").exists()]
        if not folders:
            raise MissingPart(
                f"There are no decoded sounds in {work}: make them with `python -m afcore.training corpus`."
            )
        if untagged := [folder for folder in folders if not (folder / "teacher.npy").exists()]:
            raise MissingPart(
                f"The sounds in {untagged[0]} are not tagged: run the step `python -m afcore.training tags`."
            )
        self.folders = {folder.name: Sounds(folder) for folder in folders}
        rows = [(name, i, row) for name, sounds in self.folders.items() for i, row in enumerate(sounds.index)]
        tags = {folder.name: np.load(folder / "teacher.npy", mmap_mode="r") for folder in folders}
        labels = label_by_id(work / "corpus")
        self.sounds: list[HeldSound] = []
        for (name, i, row), where in zip(rows, splits_of([row for *_, row in rows]), strict=True):
            if where != split:
                continue
            label = "" if row["package"] in UNNAMED else said_as(row["package"], row.get("label"))
            probability = 1 / (1 + np.exp(-tags[name][i, -TAGS:].astype(np.float32)))
            truth = truth_of(label or labels.get(row["id"], ""), probability)
            if is_clear(truth, float(probability.max())):
                self.sounds.append(HeldSound(row["id"], ((name, i),), truth, _group(row)))

    def clip(self, sound: HeldSound) -> Clip:
        """What is heard of it."""
        parts = [self.folders[name].samples(i)[: int(LONGEST * RATE)] for name, i in sound.pieces]
        rng = np.random.default_rng(zlib.crc32(sound.id.encode()))
        samples = parts[0] if len(parts) == 1 else mix(parts[0], parts[1], rng)
        return from_samples(samples, RATE, sound.id).clip()


def _group(row: dict) -> str:
    if row["package"] in BY_RECORDING:
        return recording_of(row["package"], row["path"], row.get("source", ""))
    return str(row.get("group") or row["id"])
