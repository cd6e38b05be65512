"""``python -m afcore ask FILE... "question"``: answers a question about sounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from afcore.cli.shared import add_decoding, add_shots, settings_of, shots_for, sound_command

if TYPE_CHECKING:
    from afcore.engine.engine import Engine
    from afcore.engine.results import Heard
    from afcore.retrieval.bank import Bank


def add_ask(commands) -> None:
    parser = sound_command(commands, "ask", "answer a question about sounds", answer_question)
    parser.add_argument("question", help='for instance: "what is happening here?"')
    add_shots(parser)
    add_decoding(parser)


def answer_question(engine: Engine, heard: Heard, bank: Bank | None, options) -> tuple[dict, str]:
    shots, retrieve = shots_for(engine, heard, bank, options.shots)
    if options.candidates > 1:
        answer = engine.best_of(heard, options.question, options.candidates, shots, settings_of(options))
    else:
        answer = engine.ask(heard, options.question, shots, settings=settings_of(options))
    data = answer.to_json()
    data["timings"] = heard.timings | retrieve | data["timings"]
    others = [f"{similarity:6.3f}  {text}" for text, similarity in answer.candidates]
    return data, "\n".join(others) or answer.text
