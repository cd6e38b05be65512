"""CochlScene (zenodo.org/records/7080122): ten seconds of one of 13 scenes."""

from __future__ import annotations

from pathlib import Path

from afcore.evaluation.benchmarks.item import LABEL, TEST, TRAIN, VALIDATION, Benchmark, Item
from afcore.evaluation.benchmarks.layout import Layout, sounds_in
from afcore.evaluation.benchmarks.published_prompts import PROMPTS

SCENES = (
    "Bus Cafe Car CrowdedIndoor Elevator Kitchen Park ResidentialArea Restaurant Restroom Street Subway SubwayStation"
).split()
SPLITS = {TRAIN: "Train", VALIDATION: "Val", TEST: "Test"}


def read(data: Path) -> list[Item]:
    """As `Benchmark.read`. Who recorded a sound stands in its name: ``Bus_user0123_….wav``."""
    layout = Layout(
        data, "CochlScene", "the folders Train, Val and Test with a folder for each scene, such as Test/Bus"
    )
    layout.folder("Test")
    items = []
    for split, name in SPLITS.items():
        for scene in SCENES:
            for file in sounds_in(data / name / scene) if (data / name / scene).is_dir() else []:
                who = "_".join(file.stem.split("_")[1:2])
                items.append(Item(f"{name}/{scene}/{file.name}", file, (scene.lower(),), split, source=who))
    if not any(item.split == TEST for item in items):
        raise layout.wrong("there are no sounds in Test/Bus and the others")
    return items


BENCHMARKS = (
    Benchmark("cochlscene", "CochlScene", LABEL, PROMPTS["cochlscene"], read, tuple(scene.lower() for scene in SCENES)),
)
