"""``python -m afcore failures``: asks the model card's failure cases again, or looks for others."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from afcore import paths
from afcore.errors import AfcoreError

if TYPE_CHECKING:
    from afcore.cli.shared import Commands


def add_failures(commands: Commands) -> None:
    """Adds ``failures`` to the command line."""
    parser = commands.add_parser("failures", help="ask the model card's failure cases again, or look for others")
    parser.add_argument("--look", type=int, metavar="N", help="try N sounds of the bank for each kind of failure")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="with --look: write the cases it gets wrong to this list"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per case, each on a line of its own")
    parser.add_argument("--model", default="mini", metavar="NAME", help="default: mini")
    parser.add_argument("--device", help="cpu, cuda, mps or xpu; default: a GPU if there is one")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from afcore.evaluation.failures import KINDS, Case, CaseSounds, read, verdicts, write
    from afcore.evaluation.failures_search import candidates
    from afcore.retrieval.bank import Bank

    sounds = CaseSounds(Bank(paths.SHIPPED_BANK))
    if options.look:
        cases: Sequence[Case] = [case for kind in KINDS for case in candidates(sounds.bank, kind, options.look)]
    else:
        cases = read()
    engine = options.load(options.model, options.device)
    wrong = []
    for case, verdict in verdicts(engine, sounds, cases):
        if not verdict.right:
            wrong.append(case)
        if options.json:
            print(
                json.dumps(
                    asdict(case)
                    | {"labels": sounds.labels(case), **asdict(verdict), "expected": case.right, "model": engine.name},
                    ensure_ascii=False,
                ),
                flush=True,
            )
        else:
            state = "right now" if verdict.right else "wrong"
            print(
                f"{state:<10} {case.kind:<13} {' and '.join(sounds.labels(case))}: {case.question} “{verdict.said}” "
                f"(would be right: {case.right})",
                flush=True,
            )
    if options.out:
        try:
            write(wrong, options.out)
        except OSError as error:
            raise AfcoreError(f"{options.out} could not be written: {error.strerror}.") from error
    print(f"{len(wrong)} of {len(cases)} are wrong.", file=sys.stderr)
    return 0
