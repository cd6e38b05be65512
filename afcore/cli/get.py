"""``python -m afcore get NAME``: makes a model's files ready; shows what would come before anything does."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from afcore.cli.shared import progress_line
from afcore.errors import BadRequest
from afcore.published import folders

NAMES = ("mini", *folders.NAMES, "laion-clap")

HELP = """\
Fetches the files from the Hugging Face hub (an interrupted download goes on where it stopped), checks and
converts them.
What is already on this machine is named with --from, in any order, and told apart by its content: the weights
(foundation.pt or chat.pt, or one of its five parts with the others beside it), clapcap_weights_2023.pth,
630k-audioset-fusion-best.pt, a folder with the configuration and tokenizer of facebook/opt-iml-max-1.3b, or one folder
with all of these. They are only read.
"""


def add_get(commands) -> None:
    """Add the command ``get``."""
    parser = commands.add_parser(
        "get", help="make a model's files ready", description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", metavar="NAME", help=f"one of: {', '.join(NAMES)}")
    parser.add_argument(
        "--agree", action="store_true", help="agree to the licences that are shown, without being asked"
    )
    parser.add_argument("--from", dest="given", nargs="+", type=Path, default=[], metavar="PATH", help="files at hand")
    parser.set_defaults(run=_get)


def _get(options) -> None:
    if options.name not in NAMES:
        raise BadRequest(f"There is nothing called “{options.name}” to get: choose {' or '.join(NAMES)}.")
    if options.name == "mini":
        from afcore.checkpoints.mini import language_model_folder

        print(f"Ready: {language_model_folder(progress_line())}")
        return
    from afcore.published import download, items

    if items.is_ready(options.name) and not options.given:
        print(f"{options.name} is here already.")
        if options.name == "laion-clap" or items.is_ready("laion-clap"):
            return
    wanted = items.files_of(options.name)
    print(table(wanted))
    agreed = options.agree or not any(item.agree for item in wanted) or _asked()
    print(download.get(options.name, agreed, options.given, progress_line()))


def table(wanted) -> str:
    """What would come, for people: sizes are rounded, and exact once the hub is asked."""
    from afcore.published.items import CONVERTED

    rows = [(item.shown_size, f"{item.repository}: {', '.join(item.names)}", item.licence) for item in wanted]
    wide = [max(len(row[i]) for row in rows) for i in (0, 1)]
    lines = [f"  {size:>{wide[0]}}  {files:<{wide[1]}}  {licence}" for size, files, licence in rows]
    total = sum(item.size for item in wanted) / 1e9
    more = (
        f" and {CONVERTED / 1e9:.0f} GB more once it is converted"
        if any(item.key == "weights" for item in wanted)
        else ""
    )
    together = f"Together about {total:.1f} GB{more}; what is here already is not fetched."
    return "\n".join(["What is needed:", *lines, together])


def _asked(ask: Callable[[str], str] = input) -> bool:
    if not sys.stdin.isatty():
        return False
    answer = ask("Some of these are for non-commercial use only. Do you agree to their licences? [y/N] ")
    return answer.strip().lower() in ("y", "yes")
