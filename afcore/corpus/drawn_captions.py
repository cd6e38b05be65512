"""Several captions of one sound, drawn by the model, the one nearest to the sound first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afcore import prompts
from afcore.audio.channels import AUTO
from afcore.audio.notices import NOTHING_SENTENCE
from afcore.errors import AudioError, BadRequest
from afcore.hashing import number_of

if TYPE_CHECKING:
    from afcore.engine.engine import Engine
    from afcore.model.generation import GenerationSettings


@dataclass(frozen=True)
class Drawing:
    """How captions are drawn."""

    candidates: int
    decoding: GenerationSettings
    """Whose seed is each sound's own, so that a caption does not depend on what was captioned before."""
    prompt: str = prompts.CAPTION
    channels: str | int = AUTO

    def __post_init__(self) -> None:
        if self.candidates < 1:
            raise BadRequest("Draw at least one caption.")
        if self.candidates > 1 and self.decoding.temperature <= 0:
            raise BadRequest("Several captions are drawn at a temperature above 0.")


def drawn(engine: Engine, file: Path, path: str, sha256: str, drawing: Drawing) -> dict[str, Any]:
    """What is noted of a file: its ``candidates``, the nearest first, or the ``error`` for which it has none."""
    try:
        heard = engine.hear_file(file, path, channels=drawing.channels)
    except (AudioError, BadRequest) as error:  # about this file alone
        return {"error": str(error)}
    if heard.silent:
        return {"error": NOTHING_SENTENCE}
    prompt = engine.build_prompt(heard, drawing.prompt)
    decoding = replace(drawing.decoding, seed=number_of(f"{drawing.decoding.seed} {sha256}"))
    found = engine.candidates(replace(heard, in_passing=True), prompt, drawing.candidates, decoding)
    return {"candidates": [{"caption": text, "similarity": round(near, 4)} for text, near in found]}
