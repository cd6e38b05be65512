"""Step `calibrate`: how label scores are read (`afcore.calibration.Calibration`), chosen on validation packages alone."""
from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import torch

from afcore.calibration import Calibration
from afcore.evaluation.items import heard, macro, make_items
from afcore.training.clips import ClipSet

SHOTS = 4


WEIGHTS = (0.2, 0.35, 0.5, 0.65, 0.8, 1.0)


def collect(engine, clips: ClipSet, items, options: bool, end: bool) -> list[dict]:
    """Raw label scores of every item with 0 and 4 shots, and of silence in the query's place."""
    from afcore.prompts import CLASSIFY
    from afcore.retrieval import prompt_order
    engine.calibration = Calibration(alpha=1.0, options=options, end=end)
    rows = []
    for item in items:
        sound, labels = heard(clips, item.clip, engine.clap), list(item.options)
        own = [example.id for example in engine.bank.examples() if example.package == item.package]
        near = prompt_order(engine.neighbours(sound, SHOTS, exclude=own))
        bare = engine.build_prompt(sound, CLASSIFY, labels=labels)
        scores, counts = engine.score_labels(sound, bare, labels)
        shown, _ = engine.score_labels(sound, engine.build_prompt(sound, CLASSIFY, near, labels=labels), labels)
        rows.append({"truth": labels.index(item.label), "label": item.label, "scores": scores, "shown": shown,
                     "counts": counts, "free": engine.content_free_scores(bare, labels)})
    return rows


def read(reader: Calibration, row: dict, shots: bool) -> torch.Tensor:
    """Probabilities of a row's labels."""
    if shots:
        return reader.probabilities(row["shown"], row["counts"], row["free"], row["scores"])
    return reader.probabilities(row["scores"], row["counts"], row["free"])


def choose(rows_of: dict[tuple[bool, bool], list[dict]]) -> dict:
    """The setting with the best accuracy, mean over labels, then over 0 and 4 shots; of its weights of the shots the largest whose
    accuracy is within one standard error of the best (Breiman et al., 1984), since validation has only classes that the model
    knows and shots are there for those that it does not; then the temperature with the best likelihood."""
    best, found, measured = -1.0, {}, []
    for (options, end), rows in rows_of.items():
        labels = [row["label"] for row in rows]
        for normalise, alpha, weight in itertools.product(("sum", "mean"), (0.0, 0.25, 0.5, 0.8, 1.0), WEIGHTS):
            setting = {"normalise": normalise, "alpha": alpha, "options": options, "end": end, "shots": weight}
            reader = Calibration(**setting)
            hits = {shots: [int(read(reader, row, shots).argmax()) == row["truth"] for row in rows] for shots in (False, True)}
            accuracy = {shots: macro(np.array(hit, float), labels) for shots, hit in hits.items()}
            print(json.dumps({**setting, "0 shots": round(accuracy[False], 3), f"{SHOTS} shots": round(accuracy[True], 3)}), flush=True)
            measured.append((setting, accuracy[True]))
            if np.mean(list(accuracy.values())) > best:
                best, found = float(np.mean(list(accuracy.values()))), setting
    rows = rows_of[found["options"], found["end"]]
    alike = [(setting["shots"], value) for setting, value in measured if setting | {"shots": 0} == found | {"shots": 0}]
    top = max(value for _, value in alike)
    error = (top * (1 - top) / len(rows)) ** 0.5
    found = found | {"shots": max(weight for weight, value in alike if value >= top - error)}
    likelihood = {t: float(np.mean([torch.log(read(Calibration(**found, temperature=t), row, shots)[row["truth"]].clamp(min=1e-9))
                                    for row in rows for shots in (False, True)])) for t in (0.4, 0.6, 0.8, 1.0, 1.3, 1.7, 2.2, 3.0)}
    return found | {"temperature": max(likelihood, key=likelihood.get)}


def calibrate(folder: Path, clips: ClipSet, limit: int = 110) -> dict:
    """Writes the `calibration` entry of `folder/config.json` and returns it."""
    from afcore.engine import load_engine
    engine = load_engine("mini")
    labels = {example.label for example in engine.bank.examples()} & {clips[i].label for i in range(len(clips)) if clips[i].split == "train"}
    items = make_items(clips, "validation", labels, seed=3)
    items = [items[i] for i in np.sort(np.random.default_rng(3).permutation(len(items))[:limit])]
    found = choose({(o, e): collect(engine, clips, items, o, e) for o in (False, True) for e in (True,)})
    config = json.loads((folder / "config.json").read_text())
    config["calibration"] = found
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    return found
