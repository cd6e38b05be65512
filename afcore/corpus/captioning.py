"""Captions for a folder of sounds, as the authors captioned AudioSet: several are drawn for each sound, the one whose
CLAP similarity to the sound is highest is taken, and kept only where that is high enough.

What is drawn is noted line by line beside the output, by the content of each file, so that the same command takes up
where it was cut off; another threshold asks nothing anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afcore.corpus.drawn_captions import Drawing, drawn
from afcore.errors import BadRequest
from afcore.hashing import sha256_of, sha256_of_file
from afcore.json_lines import JsonLines
from afcore.names import files_in
from afcore.published.weights import weights_of

if TYPE_CHECKING:
    from afcore.engine.engine import Engine

NOTED = ".progress.jsonl"
"""Added to the output's name: where what was drawn is noted."""
Progress = Callable[[int, int], None]
"""Hears (files done, files in all)."""


def caption_folder(
    folder: Path,
    out: Path,
    make_engine: Callable[[], Engine],
    drawing: Drawing,
    least: float,
    model: str = "mini",
    progress: Progress = lambda done, total: None,
    ray: str | None = None,
) -> list[dict[str, Any]]:
    """Captions every file in ``folder`` and the folders in it, writes ``out`` (.jsonl) and returns its rows, by file.

    A row has ``file``, ``caption`` (None below the similarity ``least``, which is -1 to 1), ``similarity``,
    ``candidates``, ``model``, ``weights``, or ``error``. ``make_engine`` is only called where something is to be
    drawn. What is done is written also where the run is stopped. ``ray``: the address of a Ray cluster, or "local".
    Raises BadRequest, and MissingPart as `ray_captioning.with_ray`.
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
    total, sums = len(found.files), dict[str, str]()
    kept = JsonLines(noted, lambda record: record["sha256"] if record["basis"] == basis else None)
    with kept.opened():
        try:
            for path, file in found.files.items():
                try:
                    sums[path] = sha256_of_file(file)
                except OSError as error:
                    rows.append({"file": path, "error": f"“{path}” cannot be opened: {error.strerror}."})
            waiting = {sha256: path for path, sha256 in sums.items() if kept.get(sha256) is None}
            before = total - len(waiting)
            progress(before, total)
            if waiting and ray is not None:
                from afcore.corpus import ray_captioning

                work = ray_captioning.Work(make_engine, drawing, model, weights, folder.resolve())
                files = [(sha256, path, str(found.files[path].resolve())) for sha256, path in waiting.items()]
                for done, record in enumerate(ray_captioning.with_ray(files, work, ray), before + 1):
                    kept.add({"basis": basis, **record})
                    progress(done, total)
            elif waiting:
                engine = make_engine()
                for done, (sha256, path) in enumerate(waiting.items(), before + 1):
                    record = drawn(engine, found.files[path], path, sha256, drawing)
                    kept.add({"basis": basis, "sha256": sha256, **record})
                    progress(done, total)
        finally:
            for path, sha256 in sums.items():
                if (noted_before := kept.get(sha256)) is not None:
                    rows.append(_row(path, noted_before, least, model, weights))
            rows.sort(key=lambda row: row["file"])
            out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return rows


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
