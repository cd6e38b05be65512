"""``python -m afcore ask FILE... "question"``: answers a question about sounds, or, without a file, about none."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from afcore.audio.notices import Notice
from afcore.cli.shared import (
    add_decoding,
    add_shots,
    opened,
    print_json,
    run_on_files,
    say,
    settings_of,
    shots_for,
    sound_command,
)
from afcore.errors import BadRequest

if TYPE_CHECKING:
    from afcore.cli.shared import Commands
    from afcore.engine.engine import Engine
    from afcore.engine.results import Heard
    from afcore.retrieval.bank import Bank


def add_ask(commands: Commands) -> None:
    help = "answer a question about sounds; without a FILE, in text alone"
    parser = sound_command(commands, "ask", help, answer_question, count="*")
    parser.add_argument("question", help='for instance: "what is happening here?"')
    add_shots(parser)
    add_decoding(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    if options.files:
        return run_on_files(options)
    if options.shots or options.candidates > 1:
        raise BadRequest("Without a sound there are neither examples nor candidates.")
    engine, _, _ = opened(options)
    prompt = engine.build_prompt(None, options.question)
    timings: dict[str, float] = {}
    answer = "".join(engine.stream(None, prompt, settings_of(options), timings=timings)).strip()
    if options.json:
        data = {"answer": answer, "prompt": prompt.text, "timings": timings, "model": engine.name}
        told = [Notice("no sound", engine.text_notice).to_json()] if engine.text_notice else []
        print_json({"file": None, **data, "notices": told})
        return 0
    print(answer)
    if engine.text_notice:
        say(engine.text_notice)
    return 0


def answer_question(
    engine: Engine, heard: Heard, bank: Bank | None, options: argparse.Namespace
) -> tuple[dict[str, Any], str]:
    shots, retrieve = shots_for(engine, heard, bank, options.shots)
    if options.candidates > 1:
        answer = engine.best_of(heard, options.question, options.candidates, shots, settings_of(options))
    else:
        answer = engine.ask(heard, options.question, shots, settings=settings_of(options))
    data = answer.to_json()
    data["timings"] = heard.timings | retrieve | data["timings"]
    others = [f"{similarity:6.3f}  {text}" for text, similarity in answer.candidates]
    return data, "\n".join(others) or answer.text
