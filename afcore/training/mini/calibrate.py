"""Step `calibrate`: how label scores are read (`afcore.engine.calibration.Calibration`), chosen on validation packages
alone.

A third of the items are of labels that the language side was never trained on, and every item is asked in four ways,
once with invented names for its labels, so that what is chosen serves known and new classes alike, with shots and
without.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from afcore import prompts
from afcore.corpus.clips import ClipSet
from afcore.corpus.held_out import HELD_OUT
from afcore.corpus.items import NamingItem, heard_clip, make_items, renamed
from afcore.engine.calibration import Calibration
from afcore.engine.engine import Engine
from afcore.engine.results import Heard
from afcore.retrieval.nearest import Shot, prompt_order

SHOTS, SHOTS_RENAMED = 4, 8
KNOWN, NEW = 56, 32  # items of labels that training had, and of labels held out of it
PROCESSES = 2  # of one thread each
NAMES = (
    "brimble cazzet dorvin fleeb gruntle hobbet jinkle kworp lindle mopsy plonk tazzle".split()
)  # none of them in training
ALPHAS = (0.0, 0.25, 0.5, 0.7, 0.8, 0.9, 1.0)
WEIGHTS = (0.2, 0.35, 0.5, 0.65, 0.8, 1.0)
TEMPERATURES = (0.4, 0.6, 0.8, 1.0, 1.3, 1.7, 2.2, 3.0)
ASKED = ("none", "any", "among", "renamed")
"""How an item is asked: without shots, with shots of any label, with shots among the options, with those under invented
names."""


def scores_of(engine: Engine, sound: Heard, labels: list[str], shots: Sequence[Shot]) -> dict:
    """Raw scores of `labels` with `shots` and without, and without for any sound in the query's place."""
    bare = engine.build_prompt(sound, prompts.CLASSIFY, labels=labels)
    without, counts = engine.score_labels(sound, bare, labels)
    shown = (
        engine.score_labels(sound, engine.build_prompt(sound, prompts.CLASSIFY, shots, labels=labels), labels)[0]
        if shots
        else None
    )
    return {"scores": without, "shown": shown, "counts": counts, "free": engine.content_free_scores(bare, labels)}


def collect(engine: Engine, clips: ClipSet, items: Sequence[NamingItem], options: bool) -> list[dict]:
    """For every item the raw scores of each way of asking. Shots of the item's own package are left out."""
    engine = engine.with_calibration(Calibration(alpha=1.0, options=options, end=True))
    rows = []
    for item in items:
        sound, labels = heard_clip(clips, item.clip, engine.clap), list(item.options)
        own = [example.id for example in engine.retriever().bank.examples() if example.package == item.package]

        def near(k, of=None, sound=sound, own=own):
            return prompt_order(engine.neighbours(sound, k, exclude=own, labels=of))

        among = near(SHOTS_RENAMED, set(labels))
        names = dict(
            zip(labels, map(str, np.random.default_rng(item.clip).permutation(NAMES)[: len(labels)]), strict=True)
        )
        known = scores_of(engine, sound, labels, among[-SHOTS:])
        prompt = engine.build_prompt(sound, prompts.CLASSIFY, near(SHOTS), labels=labels)
        rows.append(
            {
                "truth": labels.index(item.label),
                "label": item.label,
                "none": known | {"shown": None},
                "among": known,
                "any": known | {"shown": engine.score_labels(sound, prompt, labels)[0]},
                "renamed": scores_of(engine, sound, list(names.values()), renamed(among, names)),
            }
        )
    return rows


def _collect(folder: str, items: Sequence[NamingItem]) -> tuple[list[dict], list[dict]]:
    """`collect` in a process of its own, without and with listed options."""
    from afcore.engine.loading import load_engine

    torch.set_num_threads(1)
    engine, clips = load_engine("mini"), ClipSet(folder)
    return collect(engine, clips, items, False), collect(engine, clips, items, True)


def read(reader: Calibration, row: dict, asked: str) -> torch.Tensor:
    """Probabilities of a row's labels."""
    raw = row[asked]
    if raw["shown"] is None:
        return reader.probabilities(raw["scores"], raw["counts"], raw["free"])
    return reader.probabilities(raw["shown"], raw["counts"], raw["free"], raw["scores"])


def choose(rows_of: dict[bool, list[dict]]) -> dict[str, str | float | bool]:
    """rows_of: what `collect` gave without and with listed options. The setting with the best accuracy (mean over known
    and held-out labels and over the ways of asking), then the temperature with the best likelihood."""
    best, found = -1.0, Calibration()
    for options, rows in rows_of.items():
        held = np.array([row["label"] in HELD_OUT for row in rows])
        kinds = {name: of for name, of in (("known", ~held), ("held out", held)) if of.any()}
        for normalise, alpha, weight in itertools.product(("sum", "mean"), ALPHAS, WEIGHTS):
            reader = Calibration(normalise=normalise, alpha=alpha, options=options, end=True, shots=weight)
            right = {
                asked: np.array([int(read(reader, row, asked).argmax()) == row["truth"] for row in rows], float)
                for asked in ASKED
            }
            accuracy = {
                f"{kind}, {asked}": round(float(right[asked][of].mean()), 3)
                for kind, of in kinds.items()
                for asked in ASKED
            }
            mean = round(float(np.mean(list(accuracy.values()))), 4)
            print(json.dumps(setting_of(reader) | {"mean": mean} | accuracy), flush=True)
            if mean > best:
                best, found = mean, reader
    rows = rows_of[found.options]
    likelihood = {
        t: float(
            np.mean(
                [
                    torch.log(read(replace(found, temperature=t), row, asked)[row["truth"]].clamp(min=1e-9))
                    for row in rows
                    for asked in ASKED
                ]
            )
        )
        for t in TEMPERATURES
    }
    return setting_of(found) | {"temperature": max(likelihood, key=lambda t: likelihood[t])}


def setting_of(reader: Calibration) -> dict[str, str | float | bool]:
    """What is chosen before the temperature."""
    names = ("normalise", "alpha", "options", "end", "shots")
    return {name: value for name, value in asdict(reader).items() if name in names}


def validation_items(engine: Engine, clips: ClipSet, known: int = KNOWN, new: int = NEW) -> list[NamingItem]:
    """Validation clips of labels that the bank has, so many of known and of held-out ones."""
    labels = {example.label for example in engine.retriever().bank.examples()} & {
        clips[i].label for i in range(len(clips)) if clips[i].split == "train"
    }
    items = make_items(clips, "validation", labels, seed=3)

    def held(wanted):
        return [item for item in items if (item.label in HELD_OUT) == wanted]

    return held(False)[:known] + held(True)[:new]


def calibrate(folder: Path, clips_folder: Path) -> dict:
    """Writes the `calibration` entry of `folder/config.json` and returns it."""
    from afcore.engine.loading import load_engine

    items = validation_items(load_engine("mini"), ClipSet(clips_folder))
    print(
        f"{len(items)} validation items, {sum(item.label in HELD_OUT for item in items)} of them of held-out labels",
        flush=True,
    )
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported there
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        parts = pool.starmap(
            _collect, [(str(clips_folder), items[part::PROCESSES]) for part in range(PROCESSES)], chunksize=1
        )
    without, listed = ([row for rows in way for row in rows] for way in zip(*parts, strict=True))
    found = choose({False: without, True: listed})
    config = json.loads((folder / "config.json").read_text())
    config["calibration"] = found
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    return found
