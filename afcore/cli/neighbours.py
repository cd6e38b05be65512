"""``python -m afcore neighbours FILE...``: finds the most similar sounds of the bank."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from afcore.cli.shared import about, add_bank_option, between, sound_command

if TYPE_CHECKING:
    from afcore.cli.shared import Commands
    from afcore.engine.engine import Engine
    from afcore.engine.results import Heard
    from afcore.retrieval.bank import Bank


def add_neighbours(commands: Commands) -> None:
    parser = sound_command(commands, "neighbours", "find the most similar sounds of the bank", _neighbours)
    parser.add_argument("-k", type=between(int, 0), default=5, help="how many (default 5)")
    add_bank_option(parser)


def _neighbours(
    engine: Engine, heard: Heard, bank: Bank | None, options: argparse.Namespace
) -> tuple[dict[str, Any], str]:
    from afcore.engine.results import shot_json

    begun = time.perf_counter()
    shots = engine.neighbours(heard, options.k, bank=bank)
    timings = heard.timings | {"retrieve": time.perf_counter() - begun}
    data = {"shots": [shot_json(shot) for shot in shots], **about(engine, heard, timings)}
    return data, "\n".join(
        f"{shot.similarity:6.3f}  {shot.example.label:<24} {shot.example.caption or ''}".rstrip() for shot in shots
    )
