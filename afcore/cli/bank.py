"""``python -m afcore bank build``: makes a large example bank on this machine."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from afcore.cli.shared import say

if TYPE_CHECKING:
    pass


def add_bank(commands) -> None:
    parser = commands.add_parser("bank", help="build a large example bank on this machine, from Debian's packages")
    parser.add_argument("action", choices=["build"])
    parser.add_argument(
        "--from-debian", action="store_true", required=True, help="download and decode the packages (9 GB)"
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for packages and decoded sounds (25 GB)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the new bank")
    parser.add_argument("--packages", type=lambda text: text.split(","), metavar="A,B,C", help="download these alone")
    parser.set_defaults(run=_build_bank)


def _build_bank(options) -> None:
    from afcore.corpus.make_bank import from_debian

    begun = time.perf_counter()
    bank = from_debian(options.work, options.out, options.packages, progress=say)
    minutes = (time.perf_counter() - begun) / 60
    print(
        f"Ready in {minutes:.1f} minutes: {len(bank.examples())} sounds with {len(bank.labels())} labels. "
        f"`--bank {options.out}` takes examples from it; the app does where AFCORE_BANK names it."
    )
