"""Runs of `python -m afcore evaluate` that lie in the data folder, measure by measure, beside the published numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from afcore import paths
from afcore.errors import BadRequest
from afcore.evaluation.benchmarks.report import published
from afcore.evaluation.benchmarks.results import SUMMARY, Run
from afcore.evaluation.metrics import Score


@dataclass
class Measure:
    """One measure of one benchmark."""

    title: str
    metric: str
    scores: list[tuple[str, Score]] = field(default_factory=list)
    """Each run's name and score."""
    published: list[tuple[str, float]] = field(default_factory=list)
    """Who published which value; the paper's own model first."""
    apart: list[str] = field(default_factory=list)
    """Why a run is not comparable with what was published, a sentence each."""


def finished(folder: Path | None = None) -> list[Run]:
    """Runs that have come to their end, the newest last."""
    found = []
    files = (folder or paths.DATA / "evaluations").rglob(SUMMARY)
    for file in sorted(files, key=lambda file: file.stat().st_mtime):
        try:
            found.append(_read(file.parent, file.stat().st_mtime_ns))
        except BadRequest:
            continue  # another version's, or one that is being written
    return found


@lru_cache(256)
def _read(folder: Path, written: int) -> Run:
    """A run whose summary was ``written`` then: a page asks for all of them each time that it is drawn."""
    return Run.read(folder)


def measures(runs: list[Run]) -> list[Measure]:
    """What they measured, benchmark by benchmark."""
    found: dict[tuple[str, str, str], Measure] = {}
    known = published()
    for run in runs:
        for score in run.scores:
            key = run.summary["benchmark"], score.name, score.subset
            if key not in found:
                title = f"{run.summary['title']}: {score.name}" + (f", {score.subset}" if score.subset else "")
                theirs = [row for row in known if (row.benchmark, row.metric, row.subset) == key]
                named = [
                    (f"{row.method}{f', {row.shots} examples' if row.shots else ''}", row.value)
                    for row in sorted(theirs, key=lambda row: not row.method.startswith("Audio Flamingo"))
                ]
                found[key] = Measure(title, score.name, published=named)
            measure = found[key]
            measure.scores.append((run.name, score))
            if measure.published and (why := run.not_comparable(score)):
                measure.apart.append(f"{run.name}: {why}.")
    return list(found.values())
