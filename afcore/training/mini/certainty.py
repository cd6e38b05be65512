"""Step `certainty`: from which probability on an answer may be called sure, likely, or not sure.

On validation sounds, ten options each, the limit of "sure" is the lowest probability from which at least `SURE` of the
answers are right, that of "likely" the lowest from which `LIKELY` of those below "sure" are. The same for the encoder's
tags, whose best one counts as right where it is a teacher's best too, or one above or under that ("animal", "dog").
(Among the teacher's three it is nearly always, which would call every tag sure.)
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from afcore.corpus.decoded import Sounds
from afcore.hashing import sha256_of
from afcore.knowledge.table import ancestors, table
from afcore.training.mini.judging import KnownSound, hear, known_sounds

if TYPE_CHECKING:
    from afcore.engine.engine import Engine

FILE = "certainty.json"
SURE, LIKELY = 0.9, 0.7
"""Share of answers that must be right."""
LEAST = 20  # answers from which a share says anything
PER_LABEL, MOST, OPTIONS = 4, 200, 10
TEACHER_TAGS = 384
"""Where the tags begin in a line of ``teacher.npy``."""
NEVER = 1.01


def limit(
    probabilities: Sequence[float] | np.ndarray, right: Sequence[bool] | np.ndarray, share: float, steady: bool = True
) -> float:
    """The lowest probability from which on at least ``share`` of the answers are right; where it has to be ``steady``,
    also of those from each higher limit on that has `LEAST` answers. `NEVER` where there is none."""
    order = np.argsort(-np.asarray(probabilities, float), kind="stable")
    p, hits = np.asarray(probabilities, float)[order], np.asarray(right, float)[order]
    found = NEVER
    for n in range(LEAST, len(p) + 1):
        if n < len(p) and p[n] == p[n - 1]:
            continue  # equal ones are on one side
        if hits[:n].mean() >= share:
            found = float(p[n - 1])
        elif steady:
            break
    return found


def row(probabilities: Sequence[float], right: Sequence[bool]) -> dict[str, Any]:
    """Both limits, and what was measured: answers, and the share right of each word."""
    p, hits = np.asarray(probabilities, float), np.asarray(right, bool)
    sure = limit(p, hits, SURE)
    below = p < sure
    likely = min(sure, limit(p[below], hits[below], LIKELY, steady=False))
    parts = {"sure": p >= sure, "likely": (p >= likely) & (p < sure), "not sure": p < likely}
    return {
        "sure": round(sure, 3),
        "likely": round(likely, 3),
        "measured": {
            word: {"answers": int(some.sum()), "right": round(float(hits[some].mean()), 3) if some.any() else None}
            for word, some in parts.items()
        },
    }


def measure(engine: Engine, folders: Sequence[Path], most: int = MOST) -> dict[str, Any]:
    """Both rows, "labels" and "tags", on validation sounds of ``folders``."""
    sounds, opened = known_sounds(folders), [Sounds(folder) for folder in folders]
    by_label: dict[str, list[KnownSound]] = defaultdict(list)
    for sound in sounds:
        if sound.split == "validation" and sound.label and len(by_label[sound.label]) < PER_LABEL:
            by_label[sound.label].append(sound)
    labels = sorted(by_label)
    chosen = [sound for some in by_label.values() for sound in some]
    chosen = sorted(chosen, key=lambda sound: sha256_of(sound.id))[:most]
    rng, said = np.random.default_rng(0), []
    for sound in chosen:
        others = rng.permutation([label for label in labels if label != sound.label])[: OPTIONS - 1]
        options = sorted([sound.label, *map(str, others)])
        scores = engine.score(hear(engine, opened[sound.folder], sound.row), options)
        said.append((scores.probabilities[scores.best], scores.best == sound.label))
    return {
        "labels": row([p for p, _ in said], [right for _, right in said]),
        "tags": row(*_tags(engine, folders, opened, [sound for sound in sounds if sound.split == "validation"][:most])),
    }


def _tags(
    engine: Engine, folders: Sequence[Path], opened: Sequence[Sounds], sounds: Sequence[KnownSound]
) -> tuple[list[float], list[bool]]:
    teachers = [np.load(f / "teacher.npy", mmap_mode="r") if (f / "teacher.npy").exists() else None for f in folders]
    probabilities, right = [], []
    for sound in sounds:
        teacher = teachers[sound.folder]
        if teacher is None or sound.row >= len(teacher) or np.isnan(teacher[sound.row, 0]):
            continue
        tags = engine.encoder.tags(hear(engine, opened[sound.folder], sound.row).features).numpy()
        probabilities.append(float(tags.max()))
        best, taught = (table()[int(of.argmax())].name for of in (tags, teacher[sound.row, TEACHER_TAGS:]))
        right.append(best == taught or best in ancestors(taught) or taught in ancestors(best))
    return probabilities, right


def write(engine: Engine, folders: Sequence[Path], out: Path) -> dict[str, Any]:
    """Writes ``certainty.json`` into ``out`` and returns what it says."""
    found = measure(engine, folders)
    (out / FILE).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found
