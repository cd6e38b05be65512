"""``python -m afcore get NAME``: makes a model's files ready; shows what would come before anything does."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from afcore.cli.shared import progress_line
from afcore.engine.loading import PEER
from afcore.errors import BadRequest, MissingPart
from afcore.published import folders

if TYPE_CHECKING:
    from afcore.cli.shared import Commands
    from afcore.published.items import ModelFiles

NAMES = ("mini", *folders.NAMES, "laion-clap")

HELP = """\
Fetches the files from the Hugging Face hub (an interrupted download goes on where it stopped), checks and
converts them.
What is already on this machine is named with --from, in any order, and told apart by its content: the weights
(foundation.pt or chat.pt, or one of its five parts with the others beside it), clapcap_weights_2023.pth,
630k-audioset-fusion-best.pt, a folder with the configuration and tokenizer of facebook/opt-iml-max-1.3b, or one folder
with all of these. They are only read.
"""


def add_get(commands: Commands) -> None:
    """Add the command ``get``."""
    parser = commands.add_parser(
        "get", help="make a model's files ready", description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", metavar="NAME", help=f"one of: {', '.join(NAMES)}, or hf:OWNER/NAME")
    parser.add_argument(
        "--agree", action="store_true", help="agree to the licences that are shown, without being asked"
    )
    parser.add_argument("--from", dest="given", nargs="+", type=Path, default=[], metavar="PATH", help="files at hand")
    parser.set_defaults(run=_get)


def _get(options: argparse.Namespace) -> None:
    if options.name.startswith(PEER):
        _get_peer(options)
        return
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
    known = "Sizes are approximate."
    if not options.given:  # with files at hand it works without a connection
        try:
            wanted, known = items.as_the_hub_says(wanted), "Sizes and the licences in quotes: as the hub says now."
        except MissingPart as error:
            known = f"Sizes are approximate, since the hub could not be asked: {error}"
    print(f"{table(wanted)}\n{known}")
    agreed = options.agree or not any(item.agree for item in wanted) or _asked()
    print(download.get(options.name, agreed, options.given, progress_line()))


def _get_peer(options: argparse.Namespace) -> None:
    from afcore.published import download, peer_files

    if options.given:
        raise BadRequest(f"Files at hand need no get: name their folder as the model, {PEER}FOLDER.")
    peer_files.repository_of(options.name)
    if peer_files.folder_of(options.name) is not None:
        print(f"{options.name} is here already.")
        return
    item, _ = peer_files.files_of(options.name)
    print(f"What is needed: {item.shown_size} of {item.repository}. Its licence: {item.licence}.")
    agreed = options.agree or _asked(
        f"Have you read the licence on huggingface.co/{item.repository}, and do you agree?"
    )
    print(download.get(options.name, agreed, progress=progress_line()))


def table(wanted: Sequence[ModelFiles]) -> str:
    """What would come, for people."""
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


def _asked(
    question: str = "Some of these are for non-commercial use only. Do you agree to their licences?",
    ask: Callable[[str], str] = input,
) -> bool:
    if not sys.stdin.isatty():
        return False
    answer = ask(f"{question} [y/N] ")
    return answer.strip().lower() in ("y", "yes")
