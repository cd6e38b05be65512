"""What the commands share: sounds as arguments, shots, decoding settings, progress, sentences on stderr."""

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

from afcore.errors import AudioError, BadRequest

if TYPE_CHECKING:
    from afcore.engine.engine import Engine
    from afcore.engine.results import Heard
    from afcore.retrieval.bank import Bank

BAD_INPUT, MISSING, INTERRUPTED = 2, 1, 130  # exit codes


def about(engine: Engine, heard: Heard, timings: dict[str, float]) -> dict:
    windows = [{"start": start, "end": end} for start, end in heard.times]
    return {"windows": windows, "timings": timings, "model": engine.name}


def shots_for(
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


def labels_of(text: str | None, bank: Bank | None) -> list[str]:
    if text is not None:
        return [label.strip() for label in text.split(",") if label.strip()]
    if bank is None:
        raise BadRequest('Say which labels to choose from: --labels "dog,cat", or --bank with a folder for each label.')
    return sorted({example.label for example in bank.examples()})


def sound_command(commands, name: str, help: str, answer: Callable) -> argparse.ArgumentParser:
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
    parser.add_argument("--device", type=device_name, help="cpu or cuda; default: a GPU if there is one")
    parser.add_argument(
        "--start", type=between(float, 0), default=0.0, metavar="S", help="hear each file from this second on"
    )
    parser.set_defaults(run=run_on_files, answer=answer, bank=None)
    return parser


def add_shots(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--shots", type=between(int, 0), default=0, metavar="K", help="similar examples in the prompt (default 0)"
    )
    add_bank_option(parser)


def add_bank_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--bank",
        metavar="DIR",
        help="take examples from this folder, which has a subfolder for each label or is from `bank build`",
    )


def add_decoding(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--preset",
        choices=["benchmark", "foundation", "chat"],
        help="decode as the paper's benchmarks (3 beams) or the published demos (sampling) did",
    )
    parser.add_argument(
        "--max-tokens", type=between(int, 1), metavar="N", help="length of the answer at most (default 64)"
    )
    parser.add_argument(
        "--temperature", type=between(float, 0), metavar="T", help="0, the default, takes the likeliest token"
    )
    parser.add_argument("--top-k", type=between(int, 0), metavar="N")
    parser.add_argument("--top-p", type=between(float, 0, 1), metavar="P")
    parser.add_argument("--beams", type=between(int, 1), metavar="N")
    parser.add_argument("--seed", type=int, metavar="N", help="makes sampling repeatable")
    parser.add_argument(
        "--candidates",
        type=between(int, 1),
        default=1,
        metavar="N",
        help="draw N answers and order them by how well they fit the sound (CLAP); needs a temperature "
        "above 0, for instance by --preset chat",
    )


def settings_of(options):
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


def run_on_files(options) -> int:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # answering never asks the network
    engine = options.load(options.model, options.device, progress_line())
    if engine.retrieval_notice:
        say(engine.retrieval_notice)
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
            say(error)
            failed = BAD_INPUT
            continue
        data, text = options.answer(engine, heard, bank, options)
        if options.json:
            print(json.dumps({"file": file, **data, "notices": heard.notices}, ensure_ascii=False), flush=True)
            continue
        for notice in heard.notices:
            say(f"{file}: {notice}")
        head = f"{file}: " if len(options.files) > 1 else ""
        print(head + ("\n" if head and "\n" in text else "") + text, flush=True)
    return failed


def between(kind: type, least: float, most: float = math.inf) -> Callable[[str], Any]:
    """An argparse type: a finite number from ``least`` to ``most``."""

    def parse(text: str):
        number = kind(text)
        if not least <= number <= most or math.isinf(number):
            allowed = f"{least:g} or more" if most == math.inf else f"{least:g} to {most:g}"
            raise argparse.ArgumentTypeError(f"must be {allowed}")
        return number

    parse.__name__ = kind.__name__  # argparse names it where the text is no number at all
    return parse


def device_name(text: str) -> str:
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


def say(message: object) -> None:
    print(message, file=sys.stderr, flush=True)
