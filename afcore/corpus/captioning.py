"""Captions for a folder of sounds, as the authors captioned AudioSet: several are drawn for each sound, the one whose
CLAP similarity to the sound is highest is taken, and kept only where that is high enough.

What is drawn is noted line by line beside the output, by the content of each file, so that the same command takes up
where it was cut off; another threshold asks nothing anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afcore import prompts
from afcore.audio.channels import AUTO
from afcore.audio.notices import NOTHING_SENTENCE
from afcore.errors import AudioError, BadRequest
from afcore.hashing import number_of, sha256_of, sha256_of_file
from afcore.json_lines import JsonLines
from afcore.names import files_in
from afcore.published.weights import weights_of

if TYPE_CHECKING:
    from afcore.engine.engine import Engine
    from afcore.model.generation import GenerationSettings

NOTED = ".progress.jsonl"
"""Added to the output's name: where what was drawn is noted."""
Progress = Callable[[int, int], None]
"""Hears (files done, files in all)."""


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


def caption_folder(
    folder: Path,
    out: Path,
    make_engine: Callable[[], Engine],
    drawing: Drawing,
    least: float,
    model: str = "mini",
    progress: Progress = lambda done, total: None,
) -> list[dict[str, Any]]:
    """Captions every file in ``folder`` and the folders in it, writes ``out`` (.jsonl) and returns its rows, by file.

    A row has ``file``, ``caption`` (None below the similarity ``least``, which is -1 to 1), ``similarity``,
    ``candidates``, ``model``, ``weights``, or ``error``. ``make_engine`` is only called where something is to be
    drawn. What is done is written also where the run is stopped. Raises BadRequest.
    """
    if out.suffix.lower() != ".jsonl":
        raise BadRequest(f"The output ends with .jsonl, not “{out.suffix}”.")
    if not folder.is_dir():
        raise BadRequest(f"There is no folder {folder}.")
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise BadRequest(f"There is no folder {out.parent} that {out.name} can be written to.")
    noted = out.with_name(out.name + NOTED)
    own = {out.resolve(), noted.resolve()}
    found = files_in(folder, lambda path: path not in own)
    weights = weights_of(model)
    basis = sha256_of(json.dumps([model, weights, asdict(drawing)], sort_keys=True))[:12]
    rows = [{"file": path, "error": why} for path, why in found.left_out.items()]
    engine: Engine | None = None
    kept = JsonLines(noted, lambda record: record["sha256"] if record["basis"] == basis else None)
    with kept.opened():
        try:
            for done, (path, file) in enumerate(found.files.items()):
                progress(done, len(found.files))
                try:
                    sha256 = sha256_of_file(file)
                except OSError as error:
                    rows.append({"file": path, "error": f"“{path}” cannot be opened: {error.strerror}."})
                    continue
                if kept.get(sha256) is None:
                    engine = engine or make_engine()
                    kept.add({"basis": basis, "sha256": sha256, **_drawn(engine, file, path, sha256, drawing)})
                rows.append(_row(path, kept.get(sha256) or {}, least, model, weights))
            progress(len(found.files), len(found.files))
        finally:
            rows.sort(key=lambda row: row["file"])
            out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return rows


def _drawn(engine: Engine, file: Path, path: str, sha256: str, drawing: Drawing) -> dict[str, Any]:
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


def _row(path: str, record: dict[str, Any], least: float, model: str, weights: str) -> dict[str, Any]:
    if "error" in record:
        return {"file": path, "error": record["error"]}
    best: dict[str, Any] = record["candidates"][0] if record["candidates"] else {"caption": "", "similarity": -1.0}
    return {
        "file": path,
        "caption": best["caption"] if best["similarity"] >= least and best["caption"] else None,
        "similarity": best["similarity"],
        "candidates": record["candidates"],
        "sha256": record["sha256"],
        "model": model,
        "weights": weights,
    }
