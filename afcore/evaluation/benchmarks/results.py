"""From the answers of a run to its scores, and the summary that says what was asked of whom and how."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from afcore import paths
from afcore._version import __version__
from afcore.errors import BadRequest
from afcore.evaluation import metrics
from afcore.evaluation.benchmarks.item import (
    ANSWER,
    CAPTION,
    DIALOGUE,
    LABEL,
    LABELS_APPROXIMATE,
    Benchmark,
)
from afcore.evaluation.metrics import Alike, Score, caption_scores, cider, measured

if TYPE_CHECKING:
    from afcore.engine.engine import Engine
    from afcore.evaluation.benchmarks.setting import Setting

SUMMARY = "summary.json"
ALIKE, LIKELIHOOD, JUDGED = "F1, approximate", "accuracy by likelihood", "accuracy, all judges"
Record = dict[str, Any]


@cache
def _alike() -> Alike:
    from afcore.clap.mini import SentenceEncoder

    encoder = SentenceEncoder()
    return Alike(lambda texts: encoder(texts).numpy())


def scores(kind: str, records: Sequence[Record]) -> list[Score]:
    """All measures of a benchmark of ``kind`` over its answered records, whole and by subset."""
    found = _measures(kind, records)
    for subset in sorted({name for record in records for name in record["subsets"]}):
        some = [record for record in records if subset in record["subsets"]]
        found += [Score(**{**asdict(score), "subset": subset}) for score in _measures(kind, some)]
    return found


def _measures(kind: str, records: Sequence[Record]) -> list[Score]:
    groups = [record["source"] for record in records]
    if kind == CAPTION:
        return caption_scores([r["said"] for r in records], [r["answers"] for r in records], groups)
    if kind == DIALOGUE:
        turns = [
            (said, [true], r["source"]) for r in records for said, true in zip(r["said"], r["answers"], strict=True)
        ]
        return caption_scores([t[0] for t in turns], [t[1] for t in turns], [t[2] for t in turns])
    if kind == ANSWER:
        return [measured("accuracy", _right(records), groups)]
    if kind == LABEL:
        return _of_labels(records, groups)
    said = [metrics.labels_in(record["said"]) for record in records]
    true = [record["answers"] for record in records]
    found = [metrics.f1_score(said, true, groups, metrics.equal, "F1")]
    if kind == LABELS_APPROXIMATE:
        alike = _alike()
        alike.learn([label for some in (*said, *true) for label in some])
        found.insert(0, metrics.f1_score(said, true, groups, alike, ALIKE))
    return found


def _right(records: Sequence[Record]) -> np.ndarray:
    return np.array([metrics.is_right(record["said"], record["answers"]) for record in records], float)


def _of_labels(records: Sequence[Record], groups: Sequence[str]) -> list[Score]:
    found = [measured("accuracy", _right(records), groups)]
    if all("probabilities" in record for record in records):
        likeliest = [max(r["probabilities"], key=r["probabilities"].__getitem__) for r in records]
        hits = [metrics.is_right(label, r["answers"]) for label, r in zip(likeliest, records, strict=True)]
        found.append(measured(LIKELIHOOD, np.array(hits, float), groups))
    if all("judged" in record for record in records):
        hits = [metrics.is_right(record["judged"], record["answers"]) for record in records]
        found.append(measured(JUDGED, np.array(hits, float), groups))
    said, true = (np.array(list(map(metrics.normal_answer, texts))) for texts in _said_and_true(records))
    rows = np.arange(len(records))
    found.append(measured("F1, mean over labels", rows, groups, metrics.mean_f1(said, true)))
    return found


def _said_and_true(records: Sequence[Record]) -> tuple[list[str], list[str]]:
    return [record["said"] for record in records], [record["answers"][0] for record in records]


def values(kind: str, records: Sequence[Record]) -> dict[str, float]:
    """Item -> its own score of the main measure, by which two runs are paired."""
    if not records:
        return {}
    if kind in (CAPTION, DIALOGUE):
        by = metrics.PTB if metrics.java_here() else metrics.PLAIN
        if kind == CAPTION:
            each = cider([r["said"] for r in records], [r["answers"] for r in records], by)
            return {r["id"]: float(v) for r, v in zip(records, each, strict=True)}
        flat = [
            (n, said, [true]) for n, r in enumerate(records) for said, true in zip(r["said"], r["answers"], strict=True)
        ]
        each = cider([said for _, said, _ in flat], [true for _, _, true in flat], by)
        of = np.array([n for n, *_ in flat])
        return {r["id"]: float(each[of == n].mean()) for n, r in enumerate(records)}
    if kind in (ANSWER, LABEL):
        return {r["id"]: float(v) for r, v in zip(records, _right(records), strict=True)}
    same = _alike() if kind == LABELS_APPROXIMATE else metrics.equal
    found = {}
    for record in records:
        right, told, hit, all_true = metrics.f1_counts(metrics.labels_in(record["said"]), record["answers"], same)
        precision, recall = right / max(told, 1), hit / max(all_true, 1)
        found[record["id"]] = 2 * precision * recall / (precision + recall) if right and hit else 0.0
    return found


def write_summary(
    folder: Path,
    benchmark: Benchmark,
    about: dict[str, Any],
    counts: dict[str, int],
    records: Sequence[Record],
    setting: Setting,
    engine: Engine,
) -> None:
    """Writes ``summary.json`` beside the answers."""
    answered = [record for record in records if "error" not in record]
    if not answered:
        raise BadRequest(f"None of the sounds could be heard: {records[0]['error'] if records else 'none was asked'}")
    seconds = [record["seconds"]["generate"] for record in answered if "seconds" in record]
    summary = {
        **about,
        "title": benchmark.title,
        "kind": benchmark.kind,
        "split": setting.split,
        "limit": setting.limit,
        "counts": {**counts, "answered": len(answered), "could not be heard": len(records) - len(answered)},
        "scores": [asdict(score) for score in scores(benchmark.kind, answered)],
        "values": values(benchmark.kind, answered),
        "sources": {record["id"]: record["source"] for record in answered},
        "seconds per answer": float(np.mean(seconds)) if seconds else None,
        "device": str(engine.device),
        "version": __version__,
        "commit": commit(),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    text = json.dumps(summary, indent=1, ensure_ascii=False)
    (folder / SUMMARY).write_text(text + "\n", encoding="utf-8")


def commit() -> str:
    """The repository's commit, where this runs from a clone; ''."""
    try:
        ran = subprocess.run(
            ["git", "-C", str(paths.ASSETS.parent), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ran.stdout.strip() if ran.returncode == 0 else ""


@dataclass(frozen=True)
class Run:
    """A run's summary, read again."""

    folder: Path
    summary: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Run:
        """Raises BadRequest where there is none."""
        file = folder / SUMMARY if folder.is_dir() else folder
        try:
            summary = json.loads(file.read_text(encoding="utf-8"))
            run = cls(file.parent, summary)
            _ = run.scores, run.name, summary["counts"]["in the split"], summary["values"], summary["sources"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadRequest(f"There is no finished run in {folder}: it has no {SUMMARY} that can be read.") from error
        return run

    @property
    def scores(self) -> list[Score]:
        """Its measures."""
        return [Score(**score) for score in self.summary["scores"]]

    @property
    def name(self) -> str:
        """Its model and shots, in words."""
        shots, text = self.summary["shots"], " as text only" if self.summary["examples"] == "text" else ""
        kind = "nearest" if self.summary["retrieval"] == "knn" else "random"
        return f"{self.summary['model']}, {f'{shots} {kind} examples{text}' if shots else 'no examples'}"

    def not_comparable(self, score: Score) -> str:
        """Why a score is not set beside a paper's, in a few words; '' where it is."""
        counts = self.summary["counts"]
        why = []
        if score.tokenizer == metrics.PLAIN:
            why.append("tokenized without Java")
        if self.summary["limit"]:
            why.append(f"{counts['asked']} of {counts['in the split']} items")
        elif counts["answered"] < counts["in the split"]:
            why.append(f"{counts['in the split'] - counts['answered']} of {counts['in the split']} sounds are missing")
        if self.summary["split"] != "test":
            why.append(f"the {self.summary['split']} split")
        return "; ".join(why)
