"""``python -m afcore label PROJECT FOLDER --out labels.csv``: a folder of sounds labelled by a project of Teach."""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from afcore.cli.shared import REFUSED, add_padding, add_ray, add_what_is_heard, print_json
from afcore.teach.batch import chosen, label_folder, open_project
from afcore.teach.changes import METHODS
from afcore.teach.labeller import How

if TYPE_CHECKING:
    from afcore.cli.shared import Commands


def add_label(commands: Commands) -> None:
    """Adds ``label`` to the command line."""
    parser = commands.add_parser("label", help="label a folder of sounds by a project of the Teach page")
    parser.add_argument("project", metavar="PROJECT", help="its name, its folder, or its exported zip")
    parser.add_argument(
        "folder", metavar="FOLDER", type=Path, help="sounds in it and in the folders in it are labelled"
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        required=True,
        help="a .csv or .jsonl file; the same command again does only what is missing",
    )
    parser.add_argument("--shots", type=int, metavar="K", help="examples for each clip; default: as the project says")
    parser.add_argument("--method", choices=list(METHODS), help="default: as the project says")
    parser.add_argument(
        "--segments",
        type=float,
        metavar="S",
        help="cut each file into pieces of S seconds; default: hear its first 33.25 s",
    )
    parser.add_argument(
        "--json", action="store_true", help="also print every row as a JSON object on a line of its own"
    )
    parser.add_argument("--model", default="mini", metavar="NAME", help="default: mini")
    parser.add_argument("--device", help="cpu, cuda, mps or xpu; default: a GPU if there is one")
    add_padding(parser)
    add_ray(parser)
    add_what_is_heard(parser, "as the project says", "label silent files too, which hold nothing to hear")
    parser.set_defaults(run=_run, channels=None)


def _run(options: argparse.Namespace) -> int:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # labelling never asks the network
    begun = time.perf_counter()
    shown = sys.stderr.isatty()

    def progress(done: int, total: int) -> None:
        if shown:
            print(f"\r\033[K{done} of {total} files", end="", file=sys.stderr, flush=True)

    with open_project(options.project) as project:
        settings = chosen(project.settings, options.method, options.shots, options.channels)
        how = How(settings, options.segments, options.track, options.even_silence, options.padding)
        make_engine = partial(options.load, options.model, options.device)
        try:
            rows = label_folder(
                project, options.folder, options.out, make_engine, how, options.model, options.ray, progress
            )
        except KeyboardInterrupt:
            print("\nStopped; the same command goes on from here.", file=sys.stderr)
            raise
        finally:
            if shown:
                print("\r\033[K", end="", file=sys.stderr, flush=True)
    if options.json:
        for row in rows:
            print_json(asdict(row))
    for row in rows:
        if row.error:
            print(row.error, file=sys.stderr)
    files, bad = len({row.file for row in rows}), sum(1 for row in rows if row.error)
    seconds = time.perf_counter() - begun
    print(f"{files - bad} of {files} files are labelled in {options.out} ({seconds:.0f} s).", file=sys.stderr)
    return REFUSED if bad else 0
