"""Clips that are spoken about, and who asks about them."""

from __future__ import annotations

import numpy as np
import pytest

from afcore.corpus.clips import ClipInfo, ClipSet, write_clips
from afcore.encoders.mini import EMBEDDING, TAGS
from afcore.knowledge.table import by_name
from afcore.training.mini.talk import Talk, trained

EVENTS = ("Bark", "Rain", "Siren", "Piano", "Car", "Sneeze", "Cat")


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    """Four clips of each of seven events in as many packages, blends, noise, one without a name, one held out, one for
    validation."""
    folder, infos, features = tmp_path_factory.mktemp("spoken"), [], []
    rng = np.random.default_rng(0)

    def add(tags: dict[str, float], split="train", package="p", **extra):
        found = [[by_name()[name].index, p] for name, p in tags.items()]
        logits = np.full(TAGS, -8.0, np.float32)
        for index, p in found:
            logits[index] = np.log(p / (1 - p))
        label = extra.pop("label", None)
        infos.append(
            ClipInfo(
                label, "", None, [], [], package, f"{package}/{len(infos)}", split, -1,
                {"tags": found, "classes": [], **extra},
            )
        )  # fmt: skip
        features.append(np.concatenate([rng.normal(size=EMBEDDING), logits])[None].astype(np.float32))

    for name in EVENTS:
        for k in range(4):
            add({name: 0.9}, package=f"{name}{k}")
    for a, b in (("Bark", "Rain"), ("Siren", "Piano")):
        parts = [[[[by_name()[n].index, 0.9]], []] for n in (a, b)]
        add({a: 0.9, b: 0.9}, parts=parts, behind=12.0)
    add({}, noise="hum")
    add({"Speech": 0.02})
    add({"Whip": 0.9})
    add({"Rain": 0.9}, split="validation")
    write_clips(folder, infos, features)
    return ClipSet(folder)


@pytest.fixture()
def maker(clips):
    return Talk(clips, trained(clips), np.full((len(clips), 0), -1), {}, seed=1)
