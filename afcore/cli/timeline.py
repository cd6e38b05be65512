"""``python -m afcore timeline FILE``: what is heard when in a whole recording, and where something is."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from afcore.cli.shared import REFUSED, add_what_is_heard, device_name, print_json, progress_line, say
from afcore.errors import AudioError, BadRequest
from afcore.names import escaped

if TYPE_CHECKING:
    from afcore.audio.recording import Recording
    from afcore.cli.shared import Commands
    from afcore.engine.engine import Engine
    from afcore.engine.timeline import Window


def add_timeline(commands: Commands) -> None:
    """Adds ``timeline`` to the command line."""
    help = "say what is heard when in whole recordings, and where something is"
    parser = commands.add_parser("timeline", help=help, description=help[0].upper() + help[1:] + ".")
    parser.add_argument("files", nargs="+", metavar="FILE", help="sound or video files, up to hours long")
    parser.add_argument("--find", metavar="TEXT", help='where is it? For instance "a dog barks"')
    parser.add_argument("--json", action="store_true", help="one JSON object per file, each on a line, in UTF-8")
    parser.add_argument("--model", default="mini", metavar="NAME", help="whose ear listens (default mini)")
    parser.add_argument("--device", type=device_name, help="cpu, cuda, mps or xpu; default: a GPU if there is one")
    add_what_is_heard(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from afcore.audio.recording import open_recording
    from afcore.engine.timeline import listen, starts

    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # answering never asks the network
    progress = progress_line()
    engine = options.load(options.model, options.device, progress)
    refused = 0
    for file in options.files:
        try:
            recording = open_recording(file, None, options.channels, options.track)
            windows, count = [], len(starts(recording.duration))
            for window in listen(engine, recording):
                windows.append(window)
                if progress is not None:
                    progress("Listening", len(windows) / count)
            _tell(engine, escaped(file), recording, windows, options)
        except (AudioError, BadRequest) as error:  # about this file alone
            say(error)
            refused = REFUSED
            if options.json:
                print_json({"file": escaped(file), "error": str(error)})
    return refused


def _tell(engine: Engine, file: str, recording: Recording, windows: list[Window], options: argparse.Namespace) -> None:
    from afcore.audio.clock import minutes_text
    from afcore.engine.timeline import find, stretches, summary, title
    from afcore.evaluation.mentions import classes_named

    found = [] if options.find is None else find(engine, windows, options.find, classes_named(options.find))
    if options.json:
        data: dict[str, Any] = {
            "file": file,
            "duration": round(recording.duration, 3),
            "summary": summary(windows),
            "windows": [window.to_json() for window in windows],
            "model": engine.name,
            "notices": [notice.to_json() for notice in recording.notices],
        }
        if options.find is not None:
            places = [
                {"start": place.window.start, "end": place.window.end, "score": round(place.score, 4)}
                | ({} if place.fits is None else {"fits": place.fits})
                for place in found
            ]
            data |= {"find": options.find, "found": places}
        print_json(data)
        return
    print(f"{file}: {summary(windows)}" if len(options.files) > 1 else summary(windows))
    for part in stretches(windows):
        times = f"{minutes_text(part.start)} – {minutes_text(part.end)}"
        print(f"  {times:<17} {title(part.label)}" + (f"  {part.probability:.2f}" if part.label else ""))
    for place in found:
        doubt = "" if place.fits or place.fits is None else "  (not sure that it is there)"
        print(f"  “{options.find}” at {minutes_text(place.window.start)}  {place.score:.2f}{doubt}")
