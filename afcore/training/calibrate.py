"""Step `calibrate`: how label scores are read (`afcore.calibration.Calibration`), chosen on validation packages alone.

Among the items are labels that the language side was never trained on, and every item is asked once more with invented names
for its labels, so that what is chosen serves known and new classes alike.
"""
from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import torch

from afcore import prompts
from afcore.calibration import Calibration
from afcore.evaluation.card_context import renamed
from afcore.evaluation.items import heard, macro, make_items
from afcore.retrieval import prompt_order
from afcore.training.clips import ClipSet

SHOTS, SHOTS_RENAMED = 4, 8
NAMES = "brimble cazzet dorvin fleeb gruntle hobbet jinkle kworp lindle mopsy plonk tazzle".split()  # none of them in training
ALPHAS = (0.0, 0.25, 0.5, 0.8, 1.0)
WEIGHTS = (0.2, 0.35, 0.5, 0.65, 0.8, 1.0)
TEMPERATURES = (0.4, 0.6, 0.8, 1.0, 1.3, 1.7, 2.2, 3.0)
ASKED = ("none", "shots", "renamed")  # how an item is asked: without shots, with them, with invented names for the labels


def scores_of(engine, sound, labels: list[str], shots) -> dict:
    """Raw scores of `labels` with `shots` and without, and without for any sound in the query's place."""
    bare = engine.build_prompt(sound, prompts.CLASSIFY, labels=labels)
    without, counts = engine.score_labels(sound, bare, labels)
    shown = engine.score_labels(sound, engine.build_prompt(sound, prompts.CLASSIFY, shots, labels=labels), labels)[0] if shots else None
    return {"scores": without, "shown": shown, "counts": counts, "free": engine.content_free_scores(bare, labels)}


def collect(engine, clips: ClipSet, items, options: bool, end: bool) -> list[dict]:
    """For every item the raw scores of each way of asking. Shots of the item's own package are left out."""
    engine.calibration = Calibration(alpha=1.0, options=options, end=end)
    rng, rows = np.random.default_rng(4), []
    for item in items:
        sound, labels = heard(clips, item.clip, engine.clap), list(item.options)
        own = [example.id for example in engine.bank.examples() if example.package == item.package]
        near, among = (prompt_order(engine.neighbours(sound, k, exclude=own, labels=set(labels))) for k in (SHOTS, SHOTS_RENAMED))
        names = dict(zip(labels, map(str, rng.permutation(NAMES)[:len(labels)])))
        known = scores_of(engine, sound, labels, near)
        rows.append({"truth": labels.index(item.label), "label": item.label, "none": known | {"shown": None}, "shots": known,
                     "renamed": scores_of(engine, sound, list(names.values()), renamed(among, names))})
    return rows


def read(reader: Calibration, row: dict, asked: str) -> torch.Tensor:
    """Probabilities of a row's labels."""
    raw = row[asked]
    if raw["shown"] is None:
        return reader.probabilities(raw["scores"], raw["counts"], raw["free"])
    return reader.probabilities(raw["shown"], raw["counts"], raw["free"], raw["scores"])


def choose(rows_of: dict[tuple[bool, bool], list[dict]]) -> dict:
    """The setting with the best accuracy (mean over labels, then over the ways of asking), then the temperature with the best likelihood."""
    best, found = -1.0, {}
    for (options, end), rows in rows_of.items():
        labels = [row["label"] for row in rows]
        for normalise, alpha, weight in itertools.product(("sum", "mean"), ALPHAS, WEIGHTS):
            setting = {"normalise": normalise, "alpha": alpha, "options": options, "end": end, "shots": weight}
            reader = Calibration(**setting)
            accuracy = {asked: macro(np.array([int(read(reader, row, asked).argmax()) == row["truth"] for row in rows], float), labels)
                        for asked in ASKED}
            print(json.dumps(setting | {f"asked with {asked}": round(value, 3) for asked, value in accuracy.items()}), flush=True)
            if np.mean(list(accuracy.values())) > best:
                best, found = float(np.mean(list(accuracy.values()))), setting
    rows = rows_of[found["options"], found["end"]]
    likelihood = {t: float(np.mean([torch.log(read(Calibration(**found, temperature=t), row, asked)[row["truth"]].clamp(min=1e-9))
                                    for row in rows for asked in ASKED])) for t in TEMPERATURES}
    return found | {"temperature": max(likelihood, key=likelihood.get)}


def calibrate(folder: Path, clips: ClipSet, limit: int = 110) -> dict:
    """Writes the `calibration` entry of `folder/config.json` and returns it."""
    from afcore.engine import load_engine
    engine = load_engine("mini")
    labels = {example.label for example in engine.bank.examples()} & {clips[i].label for i in range(len(clips)) if clips[i].split == "train"}
    items = make_items(clips, "validation", labels, seed=3)
    items = [items[i] for i in np.sort(np.random.default_rng(3).permutation(len(items))[:limit])]
    # Listing the labels in the prompt was worse with every mini so far, and would take as long again.
    found = choose({(False, True): collect(engine, clips, items, options=False, end=True)})
    config = json.loads((folder / "config.json").read_text())
    config["calibration"] = found
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    return found
