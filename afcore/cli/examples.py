"""``python -m afcore examples``: mini's answers about the examples that a visitor is offered first, kept beforehand."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from afcore import paths
from afcore.cli.shared import progress_line

if TYPE_CHECKING:
    from afcore.cli.shared import Commands


def add_examples(commands: Commands) -> None:
    """Adds ``examples`` to the command line."""
    help = "for whoever made new weights: ask about the examples beforehand, so that a first visit need not wait"
    parser = commands.add_parser("examples", help=help, description=help[0].upper() + help[1:] + ".")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from afcore.evaluation import beforehand
    from afcore.retrieval.bank import Bank

    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # answering never asks the network
    progress = progress_line()
    engine = options.load(beforehand.MODEL, None, progress)
    count = beforehand.make(engine, Bank(paths.SHIPPED_BANK), progress=progress)
    print(f"{count} answers are in {paths.MINI / beforehand.FILE}.")
    return 0
