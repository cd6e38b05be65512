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

SHOTS = (0, 4)


def collect(engine, clips: ClipSet, items, options: bool, end: bool) -> list[dict]:
    """Raw label scores of every item with 0 and 4 shots, and of silence in the query's place."""
    from afcore.prompts import CLASSIFY
    from afcore.retrieval import prompt_order
    engine.calibration = Calibration(alpha=1.0, options=options, end=end)
    rows = []
    for item in items:
        sound, labels = heard(clips, item.clip, engine.clap), list(item.options)
        own = [example.id for example in engine.bank.examples() if example.package == item.package]
        near = prompt_order(engine.neighbours(sound, max(SHOTS), exclude=own))
        for count in SHOTS:
            prompt = engine.build_prompt(sound, CLASSIFY, near[-count:] if count else (), labels=labels)
            scores, counts = engine.score_labels(sound, prompt, labels)
            free = engine.content_free_scores(engine.build_prompt(sound, CLASSIFY, labels=labels), labels)
            rows.append({"shots": count, "truth": labels.index(item.label), "label": item.label, "scores": scores, "counts": counts, "free": free})
    return rows


def choose(rows_of: dict[tuple[bool, bool], list[dict]]) -> dict:
    """The setting with the best accuracy, mean over labels, then over 0 and 4 shots; then the temperature with the best likelihood."""
    best, found = -1.0, {}
    for (options, end), rows in rows_of.items():
        for normalise, alpha in itertools.product(("sum", "mean"), (0.0, 0.5, 0.8, 1.0, 1.2)):
            reader = Calibration(normalise=normalise, alpha=alpha, options=options, end=end)
            right = {k: [(r["label"], int(reader.probabilities(r["scores"], r["counts"], r["free"]).argmax()) == r["truth"])
                         for r in rows if r["shots"] == k] for k in SHOTS}
            accuracy = {k: macro(np.array([hit for _, hit in found_]), [label for label, _ in found_]) for k, found_ in right.items()}
            print(json.dumps({"options": options, "end": end, "normalise": normalise, "alpha": alpha,
                              **{f"{k} shots": round(float(v), 3) for k, v in accuracy.items()}}), flush=True)
            if np.mean(list(accuracy.values())) > best:
                best, found = float(np.mean(list(accuracy.values()))), {"normalise": normalise, "alpha": alpha, "options": options, "end": end}
    rows = rows_of[found["options"], found["end"]]
    likelihood = {t: float(np.mean([torch.log(Calibration(**found, temperature=t).probabilities(r["scores"], r["counts"], r["free"])[r["truth"]].clamp(min=1e-9))
                                    for r in rows])) for t in (0.4, 0.6, 0.8, 1.0, 1.3, 1.7, 2.2, 3.0)}
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
