"""``python -m afcore failures``: asks the model card's failure cases again, or looks for others."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from afcore import paths
from afcore.errors import AfcoreError, MissingPart

if TYPE_CHECKING:
    from afcore.cli.shared import Commands
    from afcore.engine.engine import Engine
    from afcore.evaluation.failures import Case, CaseSounds, Verdict
    from afcore.retrieval.bank import Bank


def add_failures(commands: Commands) -> None:
    """Adds ``failures`` to the command line."""
    parser = commands.add_parser("failures", help="ask the model card's failure cases again, or look for others")
    parser.add_argument("--look", type=int, metavar="N", help="try N sounds of the bank for each kind of failure")
    parser.add_argument("--most", type=int, metavar="N", help="with --look: stop at N wrong ones of each kind")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="write this list: the cases with what it says now, or with --look those that it gets wrong",
    )
    parser.add_argument(
        "--count",
        type=Path,
        metavar="FOLDER",
        help="only count the training clips of each label, in step spoken's folder",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per case, each on a line of its own")
    parser.add_argument("--model", default="mini", metavar="NAME", help="default: mini")
    parser.add_argument("--device", help="cpu, cuda, mps or xpu; default: a GPU if there is one")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from afcore.evaluation.failures import KINDS, CaseSounds, read, recorded, write
    from afcore.evaluation.failures_search import candidates
    from afcore.retrieval.bank import Bank

    sounds = CaseSounds(Bank(paths.SHIPPED_BANK))
    if options.count:
        return _count(sounds.bank, options.count)
    lists: Iterable[Iterable[Case]] = [read()]
    if options.look:
        lists = (candidates(sounds.bank, kind, options.look) for kind in KINDS)
    engine = options.load(options.model, options.device)
    every: list[Case] = []
    wrong: list[Case] = []
    for cases in lists:
        before = len(wrong)
        for case in cases:
            if options.look and options.most and len(wrong) - before >= options.most:
                break
            found = _asked(engine, sounds, case, options.json)
            every += recorded([case], found)
            # What stands beside a rare label shows something only where it is known.
            if not found[case].right and not (options.look and case.beside and not found[case.beside].right):
                wrong.append(every[-1])
    if options.out:
        try:
            write(wrong if options.look else every, options.out)
        except OSError as error:
            raise AfcoreError(f"{options.out} could not be written: {error.strerror}.") from error
    print(f"{len(wrong)} of {len(every)} are wrong.", file=sys.stderr)
    return 0


def _asked(engine: Engine, sounds: CaseSounds, case: Case, as_json: bool) -> dict[Case, Verdict]:
    from afcore.evaluation.failures import asked, verdicts

    found = {}
    for one, verdict in verdicts(engine, sounds, asked([case])):
        found[one] = verdict
        labels = sounds.labels(one)
        if as_json:
            row = asdict(one) | {"labels": labels, **asdict(verdict), "expected": one.right, "model": engine.name}
            print(json.dumps(row, ensure_ascii=False), flush=True)
        else:
            print(
                f"{'right now' if verdict.right else 'wrong':<10} {one.kind:<17} {' and '.join(labels)}: "
                f"{one.question} “{verdict.said}” (would be right: {one.right})",
                flush=True,
            )
    return found


def _count(bank: Bank, folder: Path) -> int:
    from afcore.corpus.clips import ClipSet
    from afcore.evaluation import failures_search

    try:
        clips = ClipSet(folder).info
    except OSError as error:
        raise MissingPart(f"{folder} holds no described clips: {error.strerror}.") from error
    found = failures_search.count(bank, clips)
    failures_search.COUNTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"{len(found)} labels are counted in {failures_search.COUNTS}.")
    return 0
