"""``python -m afcore classify FILE... --labels A,B``: gives every label a probability."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from afcore.cli.shared import about, add_shots, labels_of, shots_for, sound_command

if TYPE_CHECKING:
    from afcore.cli.shared import Commands
    from afcore.engine.engine import Engine
    from afcore.engine.results import Heard
    from afcore.retrieval.bank import Bank


def add_classify(commands: Commands) -> None:
    parser = sound_command(commands, "classify", "give every label a probability", _classify)
    parser.add_argument("--labels", metavar="A,B,C", help="labels with commas between; default: the folders of --bank")
    add_shots(parser)


def _classify(
    engine: Engine, heard: Heard, bank: Bank | None, options: argparse.Namespace
) -> tuple[dict[str, Any], str]:
    from afcore.engine.results import shot_json
    from afcore.prompts import CLASSIFY

    labels = labels_of(options.labels, bank)
    shots, retrieve = shots_for(engine, heard, bank, options.shots, labels)
    begun = time.perf_counter()
    scores = engine.score(heard, labels, shots)
    score = {"score": time.perf_counter() - begun}
    data = {
        "answer": scores.best,
        "label": scores.best,
        **scores.to_json(),
        "shots": [shot_json(shot) for shot in shots],
        **about(engine, heard, heard.timings | retrieve | score),
        "prompt": engine.build_prompt(heard, CLASSIFY, shots, labels=labels).text,
    }
    ranked = sorted(scores.probabilities.items(), key=lambda pair: -pair[1])
    return data, "\n".join([*(f"{100 * p:5.1f} %  {label}" for label, p in ranked), scores.judged_by])
