"""The command line: the same engine as the pages.

``python -m afcore ask FILE... "question" --shots 4 --json``, ``caption``, ``classify``, ``neighbours``, ``bench``,
``get``. Another command is another function in ``COMMANDS``, which adds its parser and sets ``run``. A file that cannot
be read gets one sentence on stderr, the others are answered, and the exit code is 2.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afcore.engine.loading import LoadEngine, load_engine
from afcore.errors import AfcoreError, AudioError, BadRequest, Cancelled, MissingPart
from afcore.teach.batch import add_label

if TYPE_CHECKING:
    from afcore.engine.engine import Engine
    from afcore.engine.results import Heard
    from afcore.retrieval.bank import Bank

BAD_INPUT, MISSING, INTERRUPTED = 2, 1, 130  # exit codes


def add_ask(commands) -> None:
    parser = _sound_command(commands, "ask", "answer a question about sounds", _ask)
    parser.add_argument("question", help='for instance: "what is happening here?"')
    _add_shots(parser)
    _add_decoding(parser)


def add_caption(commands) -> None:
    parser = _sound_command(commands, "caption", "describe sounds in a sentence", _caption)
    _add_shots(parser)
    _add_decoding(parser)


def add_classify(commands) -> None:
    parser = _sound_command(commands, "classify", "give every label a probability", _classify)
    parser.add_argument("--labels", metavar="A,B,C", help="labels with commas between; default: the folders of --bank")
    _add_shots(parser)


def add_neighbours(commands) -> None:
    parser = _sound_command(commands, "neighbours", "find the most similar sounds of the bank", _neighbours)
    parser.add_argument("-k", type=_between(int, 0), default=5, help="how many (default 5)")
    _add_bank(parser)


def add_bench(commands) -> None:
    from afcore.cli.bench import add_bench

    add_bench(commands)


def add_get(commands) -> None:
    from afcore.cli.get import add_get

    add_get(commands)


def add_evaluate(commands) -> None:
    from afcore.evaluation.split_scores import add_evaluate

    add_evaluate(commands)


def add_failures(commands) -> None:
    from afcore.evaluation.failures import add_failures

    add_failures(commands)


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
    bank = from_debian(options.work, options.out, options.packages, progress=_say)
    minutes = (time.perf_counter() - begun) / 60
    print(
        f"Ready in {minutes:.1f} minutes: {len(bank.examples())} sounds with {len(bank.labels())} labels. "
        f"`--bank {options.out}` takes examples from it; the app does where AFCORE_BANK names it."
    )


COMMANDS: list[Callable[[Any], None]] = [
    add_ask,
    add_caption,
    add_classify,
    add_neighbours,
    add_label,
    add_bench,
    add_evaluate,
    add_failures,
    add_bank,
    add_get,
]
"""One function per command, in the order of ``--help``."""


def main(arguments: Sequence[str] | None = None, load: LoadEngine = load_engine) -> int:
    """Run one command; returns the exit code: 0, 1 where a part is missing, 2 for input that cannot be used.

    ``load``: where the commands get their engine from; they find it among their options.
    """
    parser = argparse.ArgumentParser(
        prog="python -m afcore", description="Ask about sounds, with examples to learn from."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in COMMANDS:
        add(commands)
    options = parser.parse_args(arguments, argparse.Namespace(load=load))
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # stderr is for sentences to people
    try:
        return options.run(options) or 0
    except MissingPart as error:
        _say(error)
        return MISSING
    except Cancelled as error:
        _say(error)
        return INTERRUPTED
    except AfcoreError as error:
        _say(error)
        return BAD_INPUT
    except KeyboardInterrupt:
        return INTERRUPTED


# What the commands do with one sound: the JSON object, and the same for people.


def _ask(engine: Engine, heard: Heard, bank: Bank | None, options) -> tuple[dict, str]:
    shots, retrieve = _retrieve(engine, heard, bank, options.shots)
    if options.candidates > 1:
        answer = engine.best_of(heard, options.question, options.candidates, shots, _settings(options))
    else:
        answer = engine.ask(heard, options.question, shots, settings=_settings(options))
    data = answer.to_json()
    data["timings"] = heard.timings | retrieve | data["timings"]
    others = [f"{similarity:6.3f}  {text}" for text, similarity in answer.candidates]
    return data, "\n".join(others) or answer.text


def _caption(engine: Engine, heard: Heard, bank: Bank | None, options) -> tuple[dict, str]:
    from afcore.prompts import CAPTION

    options.question = CAPTION
    return _ask(engine, heard, bank, options)


def _classify(engine: Engine, heard: Heard, bank: Bank | None, options) -> tuple[dict, str]:
    from afcore.engine.results import shot_json
    from afcore.prompts import CLASSIFY

    labels = _labels(options.labels, bank)
    shots, retrieve = _retrieve(engine, heard, bank, options.shots, labels)
    begun = time.perf_counter()
    probabilities = engine.classify(heard, labels, shots)
    score = {"score": time.perf_counter() - begun}
    best = max(probabilities, key=probabilities.get)
    data = {
        "answer": best,
        "label": best,
        "probabilities": probabilities,
        "shots": [shot_json(shot) for shot in shots],
        **_about(engine, heard, heard.timings | retrieve | score),
        "prompt": engine.build_prompt(heard, CLASSIFY, shots, labels=labels).text,
    }
    ranked = sorted(probabilities.items(), key=lambda pair: -pair[1])
    return data, "\n".join(f"{100 * p:5.1f} %  {label}" for label, p in ranked)


def _neighbours(engine: Engine, heard: Heard, bank: Bank | None, options) -> tuple[dict, str]:
    from afcore.engine.results import shot_json

    begun = time.perf_counter()
    shots = engine.neighbours(heard, options.k, bank=bank)
    timings = heard.timings | {"retrieve": time.perf_counter() - begun}
    data = {"shots": [shot_json(shot) for shot in shots], **_about(engine, heard, timings)}
    return data, "\n".join(
        f"{shot.similarity:6.3f}  {shot.example.label:<24} {shot.example.caption or ''}".rstrip() for shot in shots
    )


def _about(engine: Engine, heard: Heard, timings: dict[str, float]) -> dict:
    windows = [{"start": start, "end": end} for start, end in heard.times]
    return {"windows": windows, "timings": timings, "model": engine.name}


def _retrieve(
    engine: Engine, heard: Heard, bank: Bank | None, k: int, labels: Sequence[str] = ()
) -> tuple[list, dict[str, float]]:
    if k > engine.max_shots:
        raise BadRequest(f"This model takes at most {engine.max_shots} examples beside the sound itself.")
    if k == 0:
        return [], {}
    from afcore.retrieval.nearest import prompt_order

    begun = time.perf_counter()
    # Examples of the labels that are asked about, where the bank has every one of them.
    known = {example.label for example in engine.retriever(bank).examples}
    among = set(labels) if labels and set(labels) <= known else None
    shots = prompt_order(engine.neighbours(heard, k, bank=bank, labels=among))
    return shots, {"retrieve": time.perf_counter() - begun}


def _labels(text: str | None, bank: Bank | None) -> list[str]:
    if text is not None:
        return [label.strip() for label in text.split(",") if label.strip()]
    if bank is None:
        raise BadRequest('Say which labels to choose from: --labels "dog,cat", or --bank with a folder for each label.')
    return sorted({example.label for example in bank.examples()})


# Shared by the commands about sounds


def _sound_command(commands, name: str, help: str, answer: Callable) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="sound or video files; the first 33.25 s from --start are heard"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per file, each on a line of its own")
    parser.add_argument(
        "--model",
        default="mini",
        metavar="NAME",
        help="mini (default), or audio-flamingo-chat or audio-flamingo-foundation once `get` has fetched it",
    )
    parser.add_argument("--device", type=_device, help="cpu or cuda; default: a GPU if there is one")
    parser.add_argument(
        "--start", type=_between(float, 0), default=0.0, metavar="S", help="hear each file from this second on"
    )
    parser.set_defaults(run=_run_on_files, answer=answer, bank=None)
    return parser


def _add_shots(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--shots", type=_between(int, 0), default=0, metavar="K", help="similar examples in the prompt (default 0)"
    )
    _add_bank(parser)


def _add_bank(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--bank",
        metavar="DIR",
        help="take examples from this folder, which has a subfolder for each label or is from `bank build`",
    )


def _add_decoding(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--preset",
        choices=["benchmark", "foundation", "chat"],
        help="decode as the paper's benchmarks (3 beams) or the published demos (sampling) did",
    )
    parser.add_argument(
        "--max-tokens", type=_between(int, 1), metavar="N", help="length of the answer at most (default 64)"
    )
    parser.add_argument(
        "--temperature", type=_between(float, 0), metavar="T", help="0, the default, takes the likeliest token"
    )
    parser.add_argument("--top-k", type=_between(int, 0), metavar="N")
    parser.add_argument("--top-p", type=_between(float, 0, 1), metavar="P")
    parser.add_argument("--beams", type=_between(int, 1), metavar="N")
    parser.add_argument("--seed", type=int, metavar="N", help="makes sampling repeatable")
    parser.add_argument(
        "--candidates",
        type=_between(int, 1),
        default=1,
        metavar="N",
        help="draw N answers and order them by how well they fit the sound (CLAP); needs a temperature "
        "above 0, for instance by --preset chat",
    )


def _settings(options):
    """The preset's, or greedy decoding, with what was asked for by itself."""
    from dataclasses import replace

    from afcore.model.generation import PRESETS, GenerationSettings

    asked = {
        "max_new_tokens": options.max_tokens,
        "temperature": options.temperature,
        "top_k": options.top_k,
        "top_p": options.top_p,
        "num_beams": options.beams,
        "seed": options.seed,
    }
    base = PRESETS[options.preset] if options.preset else GenerationSettings()
    return replace(base, **{name: value for name, value in asked.items() if value is not None})


def _run_on_files(options) -> int:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # answering never asks the network
    engine = options.load(options.model, options.device, progress_line())
    if engine.retrieval_notice:
        _say(engine.retrieval_notice)
    bank = None
    if options.bank:
        from afcore.retrieval.bank import Bank

        built = (Path(options.bank) / "bank.sqlite").exists()
        bank = Bank(options.bank) if built else Bank.from_folder(options.bank)
        engine.retriever(bank)
    failed = 0
    for file in options.files:
        try:
            heard = engine.hear_file(file, start=options.start)
        except (AudioError, BadRequest) as error:  # about this file alone
            _say(error)
            failed = BAD_INPUT
            continue
        data, text = options.answer(engine, heard, bank, options)
        if options.json:
            print(json.dumps({"file": file, **data, "notices": heard.notices}, ensure_ascii=False), flush=True)
            continue
        for notice in heard.notices:
            _say(f"{file}: {notice}")
        head = f"{file}: " if len(options.files) > 1 else ""
        print(head + ("\n" if head and "\n" in text else "") + text, flush=True)
    return failed


def _between(kind: type, least: float, most: float = math.inf) -> Callable[[str], Any]:
    """An argparse type: a finite number from ``least`` to ``most``."""

    def parse(text: str):
        number = kind(text)
        if not least <= number <= most or math.isinf(number):
            allowed = f"{least:g} or more" if most == math.inf else f"{least:g} to {most:g}"
            raise argparse.ArgumentTypeError(f"must be {allowed}")
        return number

    parse.__name__ = kind.__name__  # argparse names it where the text is no number at all
    return parse


def _device(text: str) -> str:
    if not re.fullmatch(r"cpu|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError("must be cpu or cuda")
    return text


def progress_line() -> Callable[[str, float], None] | None:
    """Stages on one line of a terminal; nothing where stderr is a file."""
    if not sys.stderr.isatty():
        return None

    def show(stage: str, fraction: float) -> None:
        print(
            f"\r\033[K{stage} … {100 * fraction:.0f} %",
            end="\r\033[K" if fraction >= 1 else "",
            file=sys.stderr,
            flush=True,
        )

    return show


def _say(message: object) -> None:
    print(message, file=sys.stderr, flush=True)
