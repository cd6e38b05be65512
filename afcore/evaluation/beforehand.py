"""What mini says of the examples that a visitor is offered first, computed beforehand, so that a first visit need not
wait for the model.

``python -m afcore examples`` makes the file, which says for which weights: with others nothing of it is shown.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema

from afcore import paths
from afcore.audio.recording import MAX_SECONDS, open_recording
from afcore.errors import BadRequest
from afcore.published.weights import weights_of
from afcore.retrieval.everyday import EVERYDAY, everyday_examples

if TYPE_CHECKING:
    from afcore.engine.engine import Engine
    from afcore.retrieval.bank import Bank

FILE = "example-answers.json"
MODEL = "mini"
_TAG = {"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}], "minItems": 2, "maxItems": 2}
_ANSWER = {
    "type": "object",
    "properties": {"caption": {"type": "string"}, "tags": {"type": "array", "items": _TAG}},
    "required": ["caption", "tags"],
}
_SCHEMA = {
    "type": "object",
    "properties": {
        "weights": {"type": "string"},
        "answers": {"type": "object", "additionalProperties": _ANSWER},
    },
    "required": ["weights", "answers"],
}


@dataclass(frozen=True)
class Beforehand:
    """What mini says of one example."""

    caption: str
    tags: tuple[tuple[str, float], ...]
    """(name, probability), best first."""


def read(folder: Path | None = None, weights: str | None = None) -> dict[str, Beforehand]:
    """The answers by the SHA-256 of the example's file; none where they are of other weights than those on the disk, or
    the file is missing or damaged. ``weights``: the name of those on the disk, where it is known."""
    try:
        content = json.loads(((folder or paths.MINI) / FILE).read_text(encoding="utf-8"))
        jsonschema.validate(content, _SCHEMA)
    except (OSError, ValueError, jsonschema.ValidationError):
        return {}
    if content["weights"] != (weights_of(MODEL) if weights is None else weights):
        return {}
    answers = content["answers"].items()
    return {sha256: Beforehand(one["caption"], tuple(map(tuple, one["tags"]))) for sha256, one in answers}


def make(
    engine: Engine, bank: Bank, folder: Path | None = None, progress: Callable[[str, float], None] | None = None
) -> int:
    """Ask ``engine`` about the examples and write the file; returns how many there are. Raises BadRequest for another
    model than mini."""
    if engine.name != MODEL:
        raise BadRequest(f"Only answers of {MODEL} are kept beforehand.")
    weights, answers = weights_of(MODEL), {}
    examples = everyday_examples(bank, len(EVERYDAY))
    for number, example in enumerate(examples):
        if progress is not None:
            progress(f"Asking about “{example.label}”", number / len(examples))
        heard = engine.hear(open_recording(bank.audio_path(example.id)).clip(0.0, MAX_SECONDS))
        said = Beforehand(engine.caption(heard).text, tuple((name, round(p, 6)) for name, p in heard.tags))
        answers[example.sha256] = asdict(said)
    text = json.dumps({"weights": weights, "answers": answers}, ensure_ascii=False)
    ((folder or paths.MINI) / FILE).write_text(text + "\n", encoding="utf-8")
    return len(answers)
