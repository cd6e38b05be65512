"""``python -m afcore finetune DATA --from MODEL --out FOLDER``: trains a model on a person's own questions."""

from __future__ import annotations

import argparse
import os
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afcore.cli.shared import between, device_name, print_json, progress_line, say, stopping
from afcore.errors import BadRequest, Cancelled

if TYPE_CHECKING:
    from afcore.cli.shared import Commands
    from afcore.teach.project import Project
    from afcore.training.finetune.data import Item

WAYS = ("lora", "cross-attention", "full")
DESCRIPTION = """\
DATA is a CSV file with the columns file, question, answer (and, where you have them, source and start), JSON lines
{"audio": "dog.ogg", "messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}, or a
project of the Teach page by its name, folder or exported zip. Files are paths from DATA's folder. Whole sources are
held out, and their questions are asked before and after. Ctrl-C stops; the same command goes on from there.
"""


def add_finetune(commands: Commands) -> None:
    """Adds ``finetune`` to the command line."""
    parser = commands.add_parser(
        "finetune",
        help="train a model on your own questions and answers",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", metavar="DATA", help="a .csv or .jsonl file, or a project of the Teach page")
    parser.add_argument("--from", dest="base", default="mini", metavar="MODEL", help="a name or a folder; default mini")
    parser.add_argument("--out", metavar="FOLDER", help="a folder, or a name under which the app offers the model")
    parser.add_argument("--look", action="store_true", help="only say what is in the data")
    parser.add_argument("--train", choices=WAYS, default="lora", help="what is trained (default lora)")
    parser.add_argument(
        "--epochs",
        type=between(float, 0.01),
        metavar="N",
        help="passes (default 4; up to 20 where there are few questions)",
    )
    parser.add_argument("--rate", type=between(float, 1e-9), metavar="R", help="learning rate; default by --train")
    parser.add_argument("--batch", type=between(int, 1), default=8, metavar="N", help="questions a step (default 8)")
    parser.add_argument("--rank", type=between(int, 1), default=16, metavar="N", help="of the low-rank updates")
    parser.add_argument("--seed", type=between(int, 0), default=0, metavar="N")
    parser.add_argument("--device", type=device_name, help="cpu, cuda, mps or xpu; default: a GPU if there is one")
    parser.add_argument("--json", action="store_true", help="tell what happens as JSON objects, one a line")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if not options.out and not options.look:
        raise BadRequest("Say where the model is to go: --out FOLDER, or --look to look at the data alone.")
    from afcore.engine import own_models
    from afcore.training.finetune.run import FineTuning, Settings

    settings = Settings(**{f.name: getattr(options, f.name) for f in fields(Settings)})
    out = Path(options.out or "look")
    if out.name == str(out) and options.out:  # a name alone: where the app looks for models
        out = own_models.home() / out
    show = progress_line() or (lambda stage, share: None)
    if options.json:

        def show(stage: str, share: float) -> None:
            print_json({"stage": stage, "share": round(share, 4)})

    with ExitStack() as stack:
        stop = stack.enter_context(stopping())
        items, left_out = items_of(options.data, stack)
        if options.look:
            return _look(items, left_out, options)
        tuning = FineTuning(items, left_out, options.base, out, settings, options.load, options.device)
        try:
            tuning.run(show, print_json if options.json else _tell, stop)
        except Cancelled as error:
            raise Cancelled("Stopped; the same command goes on from here.") from error
    return 0


def _look(items: list[Item], left_out: dict[str, str], options: argparse.Namespace) -> int:
    from afcore.checkpoints import pretrained
    from afcore.checkpoints.mini import language_model_folder
    from afcore.engine import model_folder, own_models
    from afcore.published.weights import folder_of
    from afcore.training.finetune import data
    from afcore.training.finetune.run import MOST_TOKENS

    own = own_models.find(options.base) if options.base != "mini" else None
    kind = model_folder.facts_in(own).kind if own else options.base.removeprefix("audio-flamingo-")
    place = own or (language_model_folder() if options.base == "mini" else folder_of(options.base))
    tokenizer = pretrained.load_tokenizer(place)
    found = data.look(items, left_out, kind, lambda text: len(tokenizer(text).input_ids), MOST_TOKENS)
    (print_json if options.json else _tell)({"look": found.to_json(), "sentences": found.sentences()})
    return 0


def _tell(told: dict[str, Any]) -> None:
    """What happens, as text."""
    from afcore.training.finetune.compare import row_text

    if "look" in told:
        print("\n".join(told["sentences"]))
        for why in told["look"]["left_out"].values():
            say(why)
    elif "memory" in told:
        print(told["memory"], flush=True)
    elif "report" in told:
        report = told["report"]
        print(f"Ready in {report['minutes']} minutes: {told['folder']}")
        print("Held-out questions, before and after (95 % intervals over sources):")
        print("\n".join(f"  {row_text(entry)}" for entry in [*report["scores"], *report["elsewhere"]]))
        for one in report["answers"][:6]:
            print(f"  {one['file']}: {one['question']}\n    right:  {one['right']}")
            print(f"    before: {one['before']}\n    after:  {one['after']}")


def items_of(source: str, stack: ExitStack) -> tuple[list[Item], dict[str, str]]:
    """The items of a file or of a Teach project, and what is left out of them; ``stack`` keeps what they need open.

    Raises BadRequest, MissingPart.
    """
    from afcore.teach.batch import open_project
    from afcore.training.finetune import data

    path = Path(source).expanduser()
    if path.suffix.lower() in (".csv", ".jsonl"):
        return data.read(path)
    return items_of_project(stack.enter_context(open_project(source)))


def items_of_project(project: Project) -> tuple[list[Item], dict[str, str]]:
    """The labelled clips of a Teach project as questions for a class; stretches of longer files are written out."""
    from afcore import paths, prompts
    from afcore.audio.recording import open_recording
    from afcore.audio.wav import wav_bytes
    from afcore.errors import AudioError
    from afcore.teach.media import write_whole
    from afcore.teach.schema import EXAMPLE, TEST
    from afcore.training.finetune.data import Item

    items, left_out = [], {}
    for clip in project.items(EXAMPLE, TEST):
        if not clip.label:
            continue
        try:
            file = project.sound_path(clip)
            recording = open_recording(file, clip.name)
            if clip.start > 0 or clip.seconds < recording.duration - 0.05:
                part = recording.clip(clip.start, clip.seconds)
                file = paths.DATA / "finetune" / f"{clip.key}.wav"
                if not file.exists():
                    file.parent.mkdir(parents=True, exist_ok=True)
                    write_whole(file, wav_bytes(part.samples, part.rate))
        except (AudioError, BadRequest) as error:
            left_out[clip.name] = str(error)
            continue
        turns = ((prompts.CLASSIFY, prompts.answer_of(clip.label)),)
        items.append(Item(file, turns, clip.group_key or clip.source or clip.sha256, False, 0.0, clip.origin))
    return items, left_out
