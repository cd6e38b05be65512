"""``python -m afcore search "a dog barks"``: finds the sounds of a bank, or of a folder, that fit a description."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from afcore.cli.shared import add_bank_option, add_retrieval, between, device_name, opened, print_json

if TYPE_CHECKING:
    from afcore.cli.shared import Commands


def add_search(commands: Commands) -> None:
    help = "find the sounds of the bank, or of a folder, that fit a description"
    parser = commands.add_parser("search", help=help, description=help[0].upper() + help[1:] + ".")
    parser.add_argument("text", metavar="TEXT", help='what to look for, such as "a dog barks"')
    parser.add_argument("-k", type=between(int, 1), default=10, help="how many (default 10)")
    parser.add_argument("--json", action="store_true", help="one JSON object, in UTF-8")
    parser.add_argument("--model", default="mini", metavar="NAME", help="whose CLAP compares them (default mini)")
    parser.add_argument("--device", type=device_name, help="cpu, cuda, mps or xpu; default: a GPU if there is one")
    add_bank_option(parser)
    add_retrieval(parser)
    parser.set_defaults(run=_search)


def _search(options: argparse.Namespace) -> int:
    from afcore.engine.results import shot_json

    engine, bank, refused = opened(options)
    begun = time.perf_counter()
    shots = engine.search(options.text, options.k, bank)
    seconds = time.perf_counter() - begun
    if options.json:
        found = [shot_json(shot) for shot in shots]
        print_json(
            {
                "text": options.text,
                "found": found,
                "model": engine.name,
                "retrieval": engine.clap_name,
                "timings": {"search": seconds},
            }
        )
        return refused
    for shot in shots:
        example = shot.example
        said = example.caption or example.path
        print(f"{shot.similarity:6.3f}  {example.label:<24} {said}".rstrip())
    return refused
