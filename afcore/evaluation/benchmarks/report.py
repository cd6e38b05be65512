"""`evaluate report`: runs as Markdown or HTML, beside the paper's numbers and the baselines it names."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markdown_it import MarkdownIt

from afcore.errors import BadRequest
from afcore.evaluation.benchmarks.results import Run
from afcore.evaluation.metrics import Score, paired

PERCENT = ("accuracy", "F1")
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;display:block;overflow-x:auto}td,th{border:1px solid #8886;padding:.3rem .6rem}"
    "@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}}"
)


@dataclass(frozen=True)
class Published:
    """A number that somebody published."""

    benchmark: str
    subset: str
    metric: str
    shots: int
    method: str
    value: float
    source: str


def published() -> list[Published]:
    """The paper's numbers, a reproduction's, and the baselines that the paper names."""
    rows = json.loads((Path(__file__).parent / "published_scores.json").read_text(encoding="utf-8"))
    return [Published(**row) for row in rows]


def shown(metric: str, value: float) -> str:
    """Shares as per cent, CIDEr and the like as numbers."""
    return f"{value:.1%}".replace("%", " %") if metric.startswith(PERCENT) else f"{value:.3f}"


def markdown(runs: Sequence[Run]) -> str:
    """The report of runs, benchmark by benchmark. Raises BadRequest for none."""
    if not runs:
        raise BadRequest("Name the folders of the runs to report.")
    parts = ["# Evaluation\n"]
    for name in dict.fromkeys(run.summary["benchmark"] for run in runs):
        some = [run for run in runs if run.summary["benchmark"] == name]
        parts += [_benchmark(name, some)]
    return "\n".join(parts)


def _benchmark(name: str, runs: Sequence[Run]) -> str:
    first = runs[0].summary
    lines = [f"## {_text(first['title'])}\n"]
    asked = first["prompt"]["text"].strip()
    lines.append(
        f"Task: {_text(first['prompt']['task'])}. Prompt: "
        + (f"`{asked}`" if asked else "each item's own")
        + (f", {len(first['options'])} options listed." if first["options"] else ".")
        + (f" {_text(first['prompt']['note'])}" if first["prompt"]["note"] else "")
        + "\n"
    )
    lines += ["| measure | who | value (95 % interval) | n | beside the paper |", "|---|---|---|---|---|"]
    keys = dict.fromkeys((score.name, score.subset) for run in runs for score in run.scores)
    known = [row for row in published() if row.benchmark == name]
    for metric, subset in keys:
        measure = metric + (f", {subset}" if subset else "")
        for run in runs:
            for score in run.scores:
                if (score.name, score.subset) == (metric, subset):
                    lines.append(_row(measure, run, score, known))
        lines += [
            f"| {measure} | {_text(row.method)}{f', {row.shots} examples' if row.shots else ''} | "
            f"{shown(metric, row.value)} | | {_text(row.source)} |"
            for row in known
            if (row.metric, row.subset) == (metric, subset)
        ]
    lines += ["", *_pairs(runs), "", *(_about(run) for run in runs), ""]
    return "\n".join(lines)


def _row(measure: str, run: Run, score: Score, known: Sequence[Published]) -> str:
    reason = run.not_comparable(score)
    has = any((row.metric, row.subset) == (score.name, score.subset) for row in known)
    note = f"not comparable: {reason}" if reason and has else "comparable" if has else reason
    value = f"**{shown(score.name, score.value)}** ({shown(score.name, score.low)} to {shown(score.name, score.high)})"
    return f"| {measure} | {_text(run.name)} | {value} | {score.n} | {_text(note)} |"


def _pairs(runs: Sequence[Run]) -> list[str]:
    """Each later run against the first, over the items that both answered."""
    lines = []
    base = runs[0]
    for other in runs[1:]:
        shared = [id for id in base.summary["values"] if id in other.summary["values"]]
        if shared:
            first, second = (np.array([run.summary["values"][id] for id in shared]) for run in (base, other))
            mean, low, high = paired(first, second, [base.summary["sources"][id] for id in shared])
            metric = base.scores[0].name
            sign = "+" if mean >= 0 else ""
            lines.append(
                f"- {_text(other.name)} against {_text(base.name)}, {metric}, {len(shared)} items that both answered: "
                f"**{sign}{shown(metric, mean)}** ({shown(metric, low)} to {shown(metric, high)}, paired)"
            )
    return lines


def _about(run: Run) -> str:
    about: dict[str, Any] = run.summary
    decoding = about["decoding"]
    how = f"{decoding['num_beams']} beams" if decoding["num_beams"] > 1 else "greedy"
    if decoding["temperature"]:
        how = f"temperature {decoding['temperature']:g}, top-k {decoding['top_k']}, top-p {decoding['top_p']:g}"
    counts = ", ".join(f"{number} {name}" for name, number in about["counts"].items() if number or name == "answered")
    tokenizers = {score.tokenizer for score in run.scores if score.tokenizer}
    return (
        f"- {_text(run.name)}: weights {about['weights'] or 'unknown'}, {about['number format']} on {about['device']}, "
        f"{how}, up to {decoding['max_new_tokens']} tokens, channel rule “{about['channels']}”; {counts}"
        + (f"; neighbours by {_text(about['clap'])}" if about["clap"] else "")
        + (f"; captions tokenized by {', '.join(tokenizers)}" if tokenizers else "")
        + f"; commit {about['commit'][:12] or 'unknown'}, version {about['version']}, {about['made']}."
    )


def _text(text: str) -> str:
    """Text that is no table and no markup."""
    return " ".join(text.replace("|", "/").replace("<", "&lt;").split())


def page(text: str) -> str:
    """Markdown as a page of HTML that needs nothing else."""
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    title = html.escape(text.splitlines()[0].lstrip("# "))
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    return f'<!doctype html><html lang="en"><head>{head}<style>{STYLE}</style></head><body>{body}</body></html>\n'


def write(runs: Sequence[Run], out: Path) -> None:
    """Writes the report; ``out`` ends with .md or .html. Raises BadRequest."""
    text = markdown(runs)
    if out.suffix.lower() not in (".md", ".html"):
        raise BadRequest(f"The report ends with .md or .html, not “{out.suffix}”.")
    try:
        out.write_text(page(text) if out.suffix.lower() == ".html" else text, encoding="utf-8")
    except OSError as error:
        raise BadRequest(f"{out} cannot be written: {error.strerror}.") from error
