"""``python -m afcore caption FILE...``: describes sounds in a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from afcore.cli.ask import answer_question
from afcore.cli.shared import add_decoding, add_shots, sound_command

if TYPE_CHECKING:
    from afcore.engine.engine import Engine
    from afcore.engine.results import Heard
    from afcore.retrieval.bank import Bank


def add_caption(commands) -> None:
    parser = sound_command(commands, "caption", "describe sounds in a sentence", _caption)
    add_shots(parser)
    add_decoding(parser)


def _caption(engine: Engine, heard: Heard, bank: Bank | None, options) -> tuple[dict, str]:
    from afcore.prompts import CAPTION

    options.question = CAPTION
    return answer_question(engine, heard, bank, options)
