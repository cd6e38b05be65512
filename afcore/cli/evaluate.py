"""``python -m afcore evaluate``: scores what ships, on sounds that no training or tuning saw (mini, mini-card, encoder,
questions, transcripts), and the paper's benchmarks (`afcore.cli.evaluate_benchmark`)."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from afcore.cli.evaluate_benchmark import REPORT, add_benchmark_options, run_benchmark, run_report
from afcore.errors import BadRequest
from afcore.evaluation.benchmarks.table import FILES

if TYPE_CHECKING:
    from afcore.cli.shared import Commands

OWN = ("mini", "mini-card", "encoder", "questions", "transcripts", "held-out")
"""Of what ships; the others are benchmarks."""


def add_evaluate(commands: Commands) -> None:
    """Adds `evaluate` to the command line."""
    parser = commands.add_parser("evaluate", help="score a model: the paper's benchmarks, your own folder, mini's card")
    parser.add_argument(
        "what",
        choices=[*OWN, *FILES, REPORT],
        metavar="WHAT",
        help="mini: ten options; mini-card: every row of the model card; encoder: mini's ears against their teacher's; "
        "questions: what people ask about a sound, by kind; transcripts: captions and dialogues to be read; "
        "held-out: the sounds of the test split as folders to evaluate; report: finished runs beside the paper; "
        "or a benchmark, see below",
    )
    parser.add_argument("--work", type=Path, help="what ships: folder made by python -m afcore.training")
    parser.add_argument(
        "--limit",
        type=int,
        help="only so many items, drawn with a fixed seed (mini-card: of each ability; questions: of each kind, "
        "default 60)",
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--only", metavar="A,B", help="mini-card: only these abilities (docs/mini-card.md); questions: only these kinds"
    )
    parser.add_argument(
        "--controls",
        type=_count,
        default=60,
        help="mini-card, questions: items per ability or kind asked with controls too (default 60)",
    )
    parser.add_argument(
        "--processes", type=_count, default=os.cpu_count() or 1, help="mini-card: processes of one thread each"
    )
    parser.add_argument("--minutes", type=float, help="mini-card: score what is answered by then; run again to go on")
    parser.add_argument(
        "--afresh", action="store_true", help="mini-card: ask again what these weights have answered before"
    )
    parser.add_argument("--sounds-only", action="store_true", help="mini-card: make its sounds and stop")
    parser.add_argument("--teacher", type=Path, help="encoder: folder with the teacher's weights")
    parser.add_argument(
        "--split",
        choices=["validation", "test"],
        help="encoder, questions, transcripts: of which split (default validation); benchmarks: default test",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="transcripts: where they are written, as Markdown; held-out: a new folder; report: a .md or .html file; "
        "benchmarks: the run's folder",
    )
    add_benchmark_options(parser)
    parser.set_defaults(run=_run)


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return number


def _run(options: argparse.Namespace) -> int | None:
    if options.what == REPORT:
        return run_report(options)
    if options.what in FILES:
        return run_benchmark(options)
    if options.work is None:
        raise BadRequest(f"evaluate {options.what} needs --work, the folder that python -m afcore.training made.")
    options.split = options.split or "validation"
    from afcore.evaluation import card, encoder, held_folder, questions, split_scores, transcripts

    ran = {
        "mini-card": card,
        "encoder": encoder,
        "questions": questions,
        "transcripts": transcripts,
        "held-out": held_folder,
    }
    if options.what in ran:
        ran[options.what].run(options)
        return None

    def say(n: int, of: int) -> None:
        print(f"{n} of {of}", file=sys.stderr, flush=True)

    result = split_scores.evaluate(options.work, options.limit, options.load, say)
    print(json.dumps(result, indent=1) if options.json else split_scores.table(result))
    return None
