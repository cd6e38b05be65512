"""``python -m afcore caption FILE...``: describes sounds in a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from afcore.cli.ask import answer_question
from afcore.cli.shared import add_decoding, add_shots, sound_command
from afcore.prompts import CAPTION

if TYPE_CHECKING:
    from afcore.cli.shared import Commands


def add_caption(commands: Commands) -> None:
    parser = sound_command(commands, "caption", "describe sounds in a sentence", answer_question)
    parser.set_defaults(question=CAPTION)
    add_shots(parser)
    add_decoding(parser)
