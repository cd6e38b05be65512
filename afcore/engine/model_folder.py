"""A model as a folder: what `Engine.save` and the command ``finetune`` write, and what is known of it before it is
loaded.

Beside what `save_pretrained` writes (``model.safetensors``, ``config.json``, the tokenizer) lie the files of the other
parts, copied as they were, and ``engine.json``: the layout, the kind of prompts, the limits, the calibration, and every
file with its size and SHA-256, so that what is missing or damaged can be named. Nothing in it is run when it is read.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema

from afcore.checkpoints import CheckpointError, without_progress_bars
from afcore.engine.calibration import Calibration
from afcore.engine.own_models import FILE
from afcore.errors import BadRequest, MissingPart
from afcore.hashing import sha256_of_known
from afcore.prompts import MARKS
from afcore.safe_files import write_json

if TYPE_CHECKING:
    from afcore.engine.language import TextModel

JUDGES = "judges.safetensors", "judges.json"
PARTS: dict[str, tuple[str, ...]] = {
    "mini": ("encoder.safetensors", "encoder.json", "audioset.json", "clap.safetensors", "clap.json"),
    "published": ("clapcap.safetensors",),
}
"""By layout: the files of an engine's other parts, without which it cannot be loaded."""
OPTIONAL: dict[str, tuple[str, ...]] = {"mini": JUDGES, "published": ()}
"""By layout: what is copied where it is there."""
WHOLE = 2**30  # bytes: what is larger is known by pieces of it, since reading gigabytes at every start takes long
FORMAT = 1
SCHEMA = {
    "type": "object",
    "required": ["format", "layout", "kind", "max_shots", "calibration", "files"],
    "properties": {
        "format": {"const": FORMAT},
        "layout": {"enum": list(PARTS)},
        "kind": {"enum": sorted(MARKS)},
        "max_shots": {"type": "integer", "minimum": 0, "maximum": 64},
        "calibration": {"type": "object"},
        "based_on": {"type": "string"},
        "notes": {"type": "object"},
        "files": {
            "type": "object",
            "propertyNames": {"pattern": r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"},
            "additionalProperties": {
                "type": "object",
                "required": ["bytes", "sha256"],
                "properties": {
                    "bytes": {"type": "integer", "minimum": 0},
                    "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
                },
            },
        },
    },
}


@dataclass(frozen=True)
class Source:
    """Where the files of an engine's other parts lie."""

    layout: str
    """A key of `PARTS`."""
    folder: Path


@dataclass(frozen=True)
class Facts:
    """What ``engine.json`` says."""

    layout: str
    kind: str
    """Whose prompts it has, a key of ``prompts.MARKS``."""
    max_shots: int
    calibration: Calibration
    based_on: str = ""
    """The name of the model that it was made from."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """How it was made, for people: of a fine-tuned one its report."""


def save(
    folder: str | Path, language: TextModel, source: Source | None, calibration: Calibration, based_on: str
) -> Path:
    """As `Engine.save`."""
    from afcore.engine.language import flamingo

    if source is None:
        raise BadRequest("This engine was put together from parts without files, so it cannot be saved.")
    target = free_folder(folder)
    text = flamingo(language)
    facts = Facts(source.layout, text.kind, text.max_shots, calibration, based_on)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        with without_progress_bars():
            text.whole_model().save_pretrained(partial)
        text.tokenizer.save_pretrained(partial)
        complete(partial, source.folder, facts)
        put_in_place(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def free_folder(folder: str | Path) -> Path:
    """The full path of ``folder``. Raises BadRequest where something is in it."""
    target = Path(folder).expanduser().resolve()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BadRequest(f"There is something in {target} already: name another folder, or delete it.")
    return target


def put_in_place(made: Path, target: Path) -> None:
    """Moves the finished folder ``made`` to ``target``, which is absent or empty."""
    if target.exists():
        target.rmdir()
    os.replace(made, target)


def complete(folder: Path, parts: Path, facts: Facts) -> None:
    """Adds to ``folder``, which holds a model and its tokenizer, the other parts from ``parts`` and ``engine.json``.

    Raises MissingPart for a part that is not there.
    """
    for name in (*PARTS[facts.layout], *OPTIONAL[facts.layout]):
        if (parts / name).is_file():
            shutil.copyfile(parts / name, folder / name)
        elif name in PARTS[facts.layout]:
            raise MissingPart(f"{name} is missing in {parts}, so the model cannot be saved whole.")
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.name != FILE)
    content = {
        "format": FORMAT,
        **asdict(facts),
        "files": {file.name: {"bytes": file.stat().st_size, "sha256": _known(file)} for file in files},
    }
    write_json(folder / FILE, content)


def put_notes(folder: Path, notes: Mapping[str, Any]) -> None:
    """Sets what ``engine.json`` says of how the model was made. Raises MissingPart, CheckpointError."""
    write_json(folder / FILE, _content(folder) | {"notes": dict(notes)})


def facts_in(folder: Path) -> Facts:
    """What ``engine.json`` says, without a look at the other files. Raises MissingPart, CheckpointError."""
    return _facts(_content(folder), folder)


def read(folder: Path) -> Facts:
    """As `facts_in`, after every file was found as it was written.

    Raises MissingPart naming a file that is not there, CheckpointError naming one that is damaged.
    """
    content = _content(folder)
    for name, known in content["files"].items():
        file = folder / name
        if not file.is_file():
            raise MissingPart(f"{name} is missing in the model's folder {folder}.")
        if file.stat().st_size != known["bytes"] or _known(file) != known["sha256"]:
            raise CheckpointError(f"{name} in the model's folder {folder} is damaged, or was changed.")
    facts = _facts(content, folder)
    lacking = [name for name in ("model.safetensors", *PARTS[facts.layout]) if name not in content["files"]]
    if "model.safetensors" in lacking and "model.safetensors.index.json" in content["files"]:
        lacking.remove("model.safetensors")  # a large model is in several files
    if lacking:
        raise MissingPart(f"{lacking[0]} is missing in the model's folder {folder}.")
    return facts


def _content(folder: Path) -> dict[str, Any]:
    file = folder / FILE
    if not file.is_file():
        raise MissingPart(f"The folder {folder} is no saved model: it has no {FILE}.")
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        jsonschema.validate(content, SCHEMA)
    except (ValueError, jsonschema.ValidationError) as error:
        raise CheckpointError(f"{FILE} in the model's folder {folder} is damaged, or of another version.") from error
    return content


def _facts(content: dict[str, Any], folder: Path) -> Facts:
    try:
        calibration = Calibration.from_dict(content["calibration"])
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"The calibration in {FILE} in the folder {folder} is not right: {error}.") from error
    based_on, notes = content.get("based_on", ""), content.get("notes", {})
    return Facts(content["layout"], content["kind"], content["max_shots"], calibration, based_on, notes)


def _known(file: Path) -> str:
    return sha256_of_known(file, WHOLE)
