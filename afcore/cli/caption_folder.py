"""``python -m afcore caption-folder DIR --out captions.jsonl``: captions of a folder, kept where they fit the sound."""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from afcore.audio.channels import AUTO
from afcore.cli.shared import (
    REFUSED,
    add_decoding,
    add_padding,
    add_ray,
    between,
    channel_rule,
    device_name,
    loaded,
    print_json,
    say,
    settings_of,
)
from afcore.prompts import CAPTION

if TYPE_CHECKING:
    from afcore.cli.shared import Commands


def add_caption_folder(commands: Commands) -> None:
    """Adds ``caption-folder`` to the command line."""
    parser = commands.add_parser("caption-folder", help="caption a folder of sounds, and keep what fits the sound")
    parser.add_argument("folder", metavar="DIR", type=Path, help="sounds in it and in the folders in it")
    parser.add_argument(
        "--out", metavar="FILE", type=Path, required=True, help="a .jsonl file; the same command again goes on"
    )
    parser.add_argument(
        "--min-clap",
        type=between(float, -1, 1),
        default=0.3,
        metavar="S",
        help="CLAP similarity below which a sound gets no caption (default 0.3); another one asks nothing anew",
    )
    parser.add_argument("--prompt", default=CAPTION, metavar="TEXT", help=f"default: {CAPTION}")
    parser.add_argument(
        "--channels", type=channel_rule, default=AUTO, metavar="RULE", help="auto, one, mix or a number"
    )
    parser.add_argument("--json", action="store_true", help="also print every row")
    parser.add_argument("--model", default="mini", metavar="NAME", help="default: mini")
    parser.add_argument("--device", type=device_name, help="cpu, cuda, mps or xpu; default: a GPU if there is one")
    add_ray(parser)
    add_padding(parser)
    add_decoding(parser)
    # As the authors did it: ten, drawn as the published demo draws.
    parser.set_defaults(run=_run, candidates=10, preset="foundation", seed=0)


def _run(options: argparse.Namespace) -> int:
    from afcore.corpus.captioning import caption_folder
    from afcore.corpus.drawn_captions import Drawing

    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # captioning never asks the network
    drawing = Drawing(options.candidates, settings_of(options), options.prompt, options.channels)
    shown = sys.stderr.isatty()

    def progress(done: int, total: int) -> None:
        if shown:
            print(f"\r\033[K{done} of {total} files", end="", file=sys.stderr, flush=True)

    make_engine = partial(loaded, options)
    try:
        rows = caption_folder(
            options.folder, options.out, make_engine, drawing, options.min_clap, options.model, progress, options.ray
        )
    except KeyboardInterrupt:
        say("\nStopped; the same command goes on from here.")
        raise
    finally:
        if shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
    for row in rows:
        if options.json:
            print_json(row)
        if "error" in row:
            say(f"{row['file']}: {row['error']}")
    kept = sum(bool(row.get("caption")) for row in rows)
    bad = sum("error" in row for row in rows)
    say(f"{kept} of {len(rows)} files have a caption in {options.out}; {len(rows) - kept - bad} fell below the limit.")
    return REFUSED if bad else 0
