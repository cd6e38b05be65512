"""What the commands share: sounds as arguments, shots, decoding settings, progress, sentences on stderr."""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from afcore.audio.channels import AUTO, check_rule
from afcore.audio.notices import NOTHING_SENTENCE
from afcore.errors import AudioError, BadRequest
from afcore.names import escaped

if TYPE_CHECKING:
    from afcore.engine.engine import Engine
    from afcore.engine.results import Heard
    from afcore.model.generation import GenerationSettings
    from afcore.retrieval.bank import Bank
    from afcore.retrieval.nearest import Shot

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]
    """Where a command adds its parser."""
    Answer = Callable[[Engine, Heard, Bank | None, argparse.Namespace], tuple[dict[str, Any], str]]
    """What a command says of one sound: as data and as text."""

Number = TypeVar("Number", int, float)
BAD_INPUT, MISSING, REFUSED, INTERRUPTED = 2, 1, 1, 130
"""Exit codes: the command as a whole cannot be followed; a part of the program is missing; it was followed, but a file
or an entry was refused or left out; it was stopped."""


def about(engine: Engine, heard: Heard, timings: dict[str, float]) -> dict[str, Any]:
    windows = [{"start": start, "end": end} for start, end in heard.times]
    return {"windows": windows, "timings": timings, "model": engine.name, "retrieval": engine.clap_name}


def shots_for(
    engine: Engine, heard: Heard, bank: Bank | None, k: int, labels: Sequence[str] = ()
) -> tuple[list[Shot], dict[str, float]]:
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
        return split_labels(text)
    if bank is None:
        raise BadRequest('Say which labels to choose from: --labels "dog,cat", or --bank with a folder for each label.')
    return sorted({example.label for example in bank.examples()})


def split_labels(text: str) -> list[str]:
    """Labels with commas between, quoted as in CSV where one has a comma itself: ``dog,"bell, small"``."""
    rows = csv.reader(text.splitlines(), skipinitialspace=True)
    return list(dict.fromkeys(label.strip() for row in rows for label in row if label.strip()))


def add_padding(parser: argparse._ActionsContainer, usual: str = "demo") -> None:
    """Adds the option ``--padding``; ``usual``: what the command does without it."""
    parser.add_argument(
        "--padding",
        choices=["demo", "benchmark"],
        help="how the published foundation model is given a single sound: demo, 1 audio, or benchmark, 8 audios "
        f"(default: {usual}); with examples it has always 8, the chat model always 4",
    )


def add_ray(parser: argparse._ActionsContainer) -> None:
    """Adds the option ``--ray``."""
    parser.add_argument(
        "--ray", metavar="ADDRESS", help="run on this Ray cluster (“local” starts one here); see requirements-ray.lock"
    )


def add_retrieval(parser: argparse._ActionsContainer, option: str = "--retrieval") -> None:
    """Adds the option that chooses the CLAP by which examples are found."""
    parser.add_argument(
        option,
        dest="finder",
        metavar="CLAP",
        help="by which CLAP examples are found: mini, laion, a LAION-CLAP checkpoint (.pt), or the folder of a CLAP of "
        "transformers (default: the model's own); a bank keeps the vectors of each",
    )


def loaded(options: argparse.Namespace, progress: Callable[[str, float], None] | None = None) -> Engine:
    """The model that was asked for, by ``--model``, ``--device`` and, where the command has them, ``--padding`` and
    ``--retrieval``.

    Raises as `load_engine`, and BadRequest for a padding that the model has not.
    """
    finder = getattr(options, "finder", None)
    more = {"retrieval": finder} if finder else {}
    engine: Engine = options.load(options.model, options.device, progress, **more)
    if padding := getattr(options, "padding", None):
        engine.use_padding(padding)
    return engine


def sound_command(
    commands: Commands, name: str, help: str, answer: Answer, count: str = "+"
) -> argparse.ArgumentParser:
    """A command about sound files; ``count``: how many, as argparse's ``nargs``."""
    parser = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
    parser.add_argument(
        "files", nargs=count, metavar="FILE", help="sound or video files; the first 33.25 s from --start are heard"
    )
    parser.add_argument(
        "--json", action="store_true", help="one JSON object per file named, each on a line of its own, in UTF-8"
    )
    parser.add_argument(
        "--model",
        default="mini",
        metavar="NAME",
        help="mini (default), audio-flamingo-chat or audio-flamingo-foundation once `get` has fetched it, a folder "
        "that `finetune` or Engine.save wrote, or hf:OWNER/NAME (docs/benchmarks.md)",
    )
    parser.add_argument("--device", type=device_name, help="cpu, cuda, mps or xpu; default: a GPU if there is one")
    add_padding(parser)
    add_retrieval(parser)
    parser.add_argument(
        "--start", type=between(float, 0), default=0.0, metavar="S", help="hear each file from this second on"
    )
    add_what_is_heard(parser)
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
        metavar="NAME",
        help="take examples from this bank of `bank build`, or this folder, which has a subfolder for each label",
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


def settings_of(options: argparse.Namespace) -> GenerationSettings:
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


def opened(options: argparse.Namespace, channels: str | int = AUTO) -> tuple[Engine, Bank | None, int]:
    """The model and the bank that were asked for, and `REFUSED` where something of the bank is left out, else 0."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # answering and searching never ask the network
    engine = loaded(options, progress_line())
    for notice in filter(None, (engine.device_notice, engine.retrieval_notice)):
        say(notice)
    bank = open_bank(options.bank, engine, channels)
    return engine, bank, REFUSED if bank is not None and bank.left_out else 0


def run_on_files(options: argparse.Namespace) -> int:
    engine, bank, refused = opened(options, options.channels)
    # One rule for both: where none was named, a bank's own.
    channels = bank.channels() if bank is not None and options.channels == AUTO else options.channels
    for file in options.files:
        shown = escaped(file)
        try:
            heard = engine.hear_file(file, start=options.start, channels=channels, track=options.track)
        except (AudioError, BadRequest) as error:  # about this file alone
            say(error)
            refused = REFUSED
            if options.json:
                print_json({"file": shown, "error": str(error)})
            continue
        if heard.silent and not options.even_silence:
            data, text = {"answer": NOTHING_SENTENCE, "label": None, "model": engine.name}, NOTHING_SENTENCE
        else:
            data, text = options.answer(engine, heard, bank, options)
        if options.json:
            print_json({"file": shown, **data, "notices": [notice.to_json() for notice in heard.notices]})
            continue
        for notice in heard.notices:
            say(f"{shown}: {notice}")
        head = f"{shown}: " if len(options.files) > 1 else ""
        print(head + ("\n" if head and "\n" in text else "") + text, flush=True)
    return refused


def open_bank(folder: str | None, engine: Engine, channels: str | int = AUTO) -> Bank | None:
    """The bank in ``folder``, heard by ``engine``; None where none is named. What is left out of it is said. Raises
    BadRequest."""
    if not folder:
        return None
    from afcore.retrieval import own_banks
    from afcore.retrieval.bank import Bank

    if own_banks.find(folder) is not None:  # what was left out of it was said when it was built
        bank = own_banks.open_own(folder)
        bank.left_out = {}
    else:
        bank = Bank.from_folder(folder, channels)
    for why in bank.left_out.values():
        say(why)
    engine.retriever(bank)
    return bank


def print_json(data: dict[str, Any]) -> None:
    """One JSON object on a line of its own, in UTF-8 whatever the terminal's encoding is."""
    text = json.dumps(data, ensure_ascii=False)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Half a character, which no JSON in UTF-8 can hold, becomes its escape, which JSON knows.
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    print(text, flush=True)


def channel_rule(text: str) -> str | int:
    """An argparse type: auto, one, mix or a number."""
    try:
        return check_rule(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError("must be auto, one, mix or the number of a channel") from error


def add_what_is_heard(
    parser: argparse.ArgumentParser,
    usual: str = "auto",
    even: str = "ask the model about silent files too, which hold nothing to hear",
) -> None:
    """Options that say what of a file is heard; ``usual``: by which rule for channels where none is named."""
    parser.add_argument(
        "--channels",
        type=channel_rule,
        default=AUTO,
        metavar="RULE",
        help="auto: the first channel, or the mix where the first is silent or unlike the others; one: the first; mix; "
        f"or a channel's number (default: {usual})",
    )
    parser.add_argument(
        "--track", type=between(int, 1), metavar="N", help="which of several sound tracks; default: as players choose"
    )
    parser.add_argument("--even-silence", action="store_true", help=even)


def between(kind: type[Number], least: float, most: float = math.inf) -> Callable[[str], Number]:
    """An argparse type: a finite number from ``least`` to ``most``."""

    def parse(text: str) -> Number:
        number = kind(text)
        if not least <= number <= most or math.isinf(number):
            allowed = f"{least:g} or more" if most == math.inf else f"{least:g} to {most:g}"
            raise argparse.ArgumentTypeError(f"must be {allowed}")
        return number

    parse.__name__ = kind.__name__  # argparse names it where the text is no number at all
    return parse


def device_name(text: str) -> str:
    if not re.fullmatch(r"cpu|mps|(cuda|xpu)(:\d+)?", text):
        raise argparse.ArgumentTypeError("must be cpu, cuda, mps or xpu")
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


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """An event that Ctrl-C, or a request to end, sets; a second one ends at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # as tests call it
        yield event
        return

    def ask(number: int, frame: object) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()
        say("Stopping after this step …")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def say(message: object) -> None:
    print(message, file=sys.stderr, flush=True)
