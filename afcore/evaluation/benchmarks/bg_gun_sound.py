"""BG-Gun-Sound (github.com/junwoopark92/BG-Gun-Sound-Dataset): a gun in a game, from all sides and distances."""

from __future__ import annotations

from pathlib import Path

from afcore.evaluation.benchmarks.item import LABEL, TEST, TRAIN, Benchmark, Item
from afcore.evaluation.benchmarks.layout import Layout
from afcore.evaluation.benchmarks.published_prompts import PROMPTS


def read(data: Path) -> list[Item]:
    """As `Benchmark.read`."""
    layout = Layout(
        data,
        "BG-Gun-Sound",
        "data/v3_exp3_test.csv (name, cate, dist, dire), data/v3_exp3_train.csv, data/gun_sound_v2",
    )
    layout.file("data/v3_exp3_test.csv")
    folder, items = layout.folder("data/gun_sound_v2"), []
    for split in (TRAIN, TEST):
        table = data / "data" / f"v3_exp3_{split}.csv"
        for row in layout.rows(table, ["name", "cate"]) if table.is_file() else []:
            items.append(Item(f"{split}/{row['name']}", folder / row["name"], (row["cate"],), split))
    return items


BENCHMARKS = (Benchmark("bg-gun-sound", "BG-Gun-Sound", LABEL, PROMPTS["bg-gun-sound"], read),)
