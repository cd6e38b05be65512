"""The command line: the same engine as the pages.

``python -m afcore ask FILE... "question" --shots 4 --json``, ``caption``, ``classify``, ``neighbours``, ``search``,
``bench``, ``get``, ``check``. Another command is another function in ``COMMANDS``, which adds its parser and sets
``run``. A file that cannot be read gets one sentence on stderr, and with ``--json`` a row that says why, the others are
answered, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from afcore.checkpoints import Broken
from afcore.cli.ask import add_ask
from afcore.cli.bank import add_bank
from afcore.cli.bench import add_bench
from afcore.cli.caption import add_caption
from afcore.cli.caption_folder import add_caption_folder
from afcore.cli.check import add_check
from afcore.cli.classify import add_classify
from afcore.cli.evaluate import add_evaluate
from afcore.cli.examples import add_examples
from afcore.cli.failures import add_failures
from afcore.cli.finetune import add_finetune
from afcore.cli.get import add_get
from afcore.cli.label import add_label
from afcore.cli.neighbours import add_neighbours
from afcore.cli.search import add_search
from afcore.cli.shared import BAD_INPUT, INTERRUPTED, MISSING, say
from afcore.cli.timeline import add_timeline
from afcore.engine.loading import LoadEngine, load_engine
from afcore.errors import AfcoreError, Cancelled, MissingPart

if TYPE_CHECKING:
    from afcore.cli.shared import Commands

COMMANDS: list[Callable[[Commands], None]] = [
    add_ask,
    add_caption,
    add_classify,
    add_neighbours,
    add_search,
    add_timeline,
    add_label,
    add_caption_folder,
    add_bench,
    add_evaluate,
    add_failures,
    add_examples,
    add_bank,
    add_finetune,
    add_get,
    add_check,
]
"""One function per command, in the order of ``--help``."""


def main(arguments: Sequence[str] | None = None, load: LoadEngine = load_engine) -> int:
    """Run one command; returns the exit code: 0, 1 where a file was refused or a part is missing, 2 for a
    command that cannot be followed.

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
    except (MissingPart, Broken) as error:
        say(error)
        return MISSING
    except Cancelled as error:
        say(error)
        return INTERRUPTED
    except AfcoreError as error:
        say(error)
        return BAD_INPUT
    except KeyboardInterrupt:
        return INTERRUPTED
