"""``python -m afcore.reliability soak | faults | fuzz | waits``: tries the program where it may break, prints figures.

The exit status is 1 where a promise of docs/reliability.md did not hold. ``--json``: one object in UTF-8.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from afcore import threads
from afcore.cli.shared import between, print_json


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of them; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m afcore.reliability", description=__doc__.splitlines()[0])
    kinds = parser.add_subparsers(metavar="soak | faults | fuzz | waits", required=True)
    soak = kinds.add_parser("soak", help="many sessions at once: memory, stops, closed tabs")
    soak.add_argument("--sessions", type=between(int, 1), default=10, metavar="N")
    soak.add_argument("--rounds", type=between(int, 2), default=200, metavar="N", help="in all (default 200)")
    soak.add_argument("--browsers", action="store_true", help="in a real Chromium, a window each; CHROMIUM= names it")
    soak.set_defaults(run=_soak)
    faults = kinds.add_parser("faults", help="kills, full disks, damaged weights, locks, clocks; then what is saved")
    faults.add_argument("--only", metavar="NAME", action="append", help="this fault alone; may be given several times")
    faults.set_defaults(run=_faults)
    fuzz = kinds.add_parser("fuzz", help="damaged and hostile files, given to every reader")
    fuzz.add_argument("--files", type=between(int, 1), default=2000, metavar="N")
    fuzz.add_argument("--seed", type=int, default=0, metavar="N", help="the same files each time (default 0)")
    fuzz.set_defaults(run=_fuzz)
    waits = kinds.add_parser("waits", help="seconds of every action, alone and beside busy processes")
    waits.add_argument("--rounds", type=between(int, 1), default=10, metavar="N", help="of each action (default 10)")
    waits.add_argument("--busy", type=between(int, 0), metavar="N", help="processes beside it (default: one a core)")
    waits.set_defaults(run=_waits)
    for kind in (soak, faults, fuzz, waits):
        kind.add_argument("--json", action="store_true", help="one JSON object")
    options = parser.parse_args(arguments)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    return options.run(options)


def _soak(options: argparse.Namespace) -> int:
    if options.browsers:
        from afcore.reliability.browsers import soak
    else:
        from afcore.reliability.soak import soak
    return _told(options, soak(options.sessions, options.rounds, _progress))


def _faults(options: argparse.Namespace) -> int:
    from afcore.reliability.faults import inject

    return _told(options, inject(options.only, _progress))


def _fuzz(options: argparse.Namespace) -> int:
    from afcore.reliability.fuzz import fuzz

    return _told(options, fuzz(options.files, options.seed, _progress))


def _waits(options: argparse.Namespace) -> int:
    from afcore.reliability.waits import measure

    return _told(options, measure(options.rounds, options.busy, _progress))


def _told(options: argparse.Namespace, found: dict[str, Any]) -> int:
    """Prints what was found; ``broken`` lists the promises that did not hold."""
    if options.json:
        print_json(found)
    else:
        for name, value in found.items():
            if isinstance(value, list):
                print(f"{name}: {'none' if not value else ''}")
                for one in value:
                    print(f"  {one}")
            else:
                print(f"{name}: {value}")
    return 1 if found["broken"] else 0


def _progress(said: str) -> None:
    print(said, file=sys.stderr, flush=True)


if __name__ == "__main__":
    threads.settle()  # before torch is imported
    sys.exit(main())
