"""``python -m afcore evaluate mini|mini-card|encoder``: scores what ships, on sounds that no training or tuning saw."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any


def add_evaluate(commands: Any) -> None:
    """Adds `evaluate` to the command line."""
    parser = commands.add_parser("evaluate", help="score mini on held-out packages")
    parser.add_argument(
        "what",
        choices=["mini", "mini-card", "encoder"],
        help="mini: ten options; mini-card: every row of the model card; encoder: mini's ears against their teacher's",
    )
    parser.add_argument("--work", type=Path, required=True, help="folder made by python -m afcore.training")
    parser.add_argument(
        "--limit", type=int, help="only so many items, drawn with a fixed seed (mini-card: of each ability)"
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", metavar="A,B", help="mini-card: only these abilities (docs/mini-card.md)")
    parser.add_argument(
        "--controls", type=_count, default=60, help="mini-card: items per ability asked with controls too (default 60)"
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
        default="validation",
        help="encoder: of which split (default validation)",
    )
    parser.set_defaults(run=_run)


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return number


def _run(options: argparse.Namespace) -> None:
    from afcore.evaluation import card, encoder, split_scores

    if options.what == "mini-card":
        return card.run(options)
    if options.what == "encoder":
        return encoder.run(options)

    def say(n: int, of: int) -> None:
        print(f"{n} of {of}", file=sys.stderr, flush=True)

    result = split_scores.evaluate(options.work, options.limit, options.load, say)
    print(json.dumps(result, indent=1) if options.json else split_scores.table(result))
