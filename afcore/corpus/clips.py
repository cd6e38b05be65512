"""Described clips with their features cached on disk: what the language side trains and is judged on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from afcore.clap import Clap

NO_TAG = -12.0
"""Logit of a tag that is hidden."""


@dataclass
class ClipInfo:
    """One clip. `events`: what is heard, strongest first (label and teacher tags); `maybe`: fainter tags, never used as
    a "no"."""

    label: str | None
    caption: str
    category: str | None  # "speech", "music" or "sound"
    events: list[str]
    maybe: list[str]
    package: str
    group: str
    split: str  # train, validation or test
    source: int = -1  # piece of the corpus; −1 for mixtures
    extra: dict = field(default_factory=dict)


class ClipSet:
    """`features.npy` (windows, 911) float16 of all clips one after the other, `clips.jsonl` a line per clip with its
    slice."""

    def __init__(self, folder: str | Path):
        self.features = np.load(Path(folder) / "features.npy", mmap_mode="r")
        self.info, self.slices = [], []
        for line in (Path(folder) / "clips.jsonl").read_text().splitlines():
            row = json.loads(line)
            start, count = row.pop("start"), row.pop("windows")
            self.slices.append((start, count))
            self.info.append(ClipInfo(**row))

    def __len__(self) -> int:
        return len(self.info)

    def __getitem__(self, i: int) -> ClipInfo:
        return self.info[i]

    def label_of(self, i: int) -> str:
        """The label of clip i. Raises ValueError where it has none."""
        label = self.info[i].label
        if label is None:
            raise ValueError(f"clip {i} has no label")
        return label

    def of(self, i: int) -> np.ndarray:
        """Features of clip i: (windows, 911) float16."""
        start, count = self.slices[i]
        return self.features[start : start + count]

    def tensor(self, i: int) -> torch.Tensor:
        """`of` as the encoder gave it: (windows, 911) float32."""
        return torch.from_numpy(self.of(i).astype(np.float32))

    def clap_vectors(self, clap: Clap, rows: Iterable[int]) -> np.ndarray:
        """CLAP vectors of the clips `rows`, (len(rows), d) float32 unit."""
        return np.stack([clap.audio_from_features(self.tensor(i)) for i in rows])


def write_clips(folder: str | Path, infos: list[ClipInfo], features: list[np.ndarray]) -> None:
    """Writes a `ClipSet`; features[i] (windows, 911)."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "features.npy", np.concatenate(features).astype(np.float16))
    start = 0
    with open(folder / "clips.jsonl", "w") as file:
        for info, rows in zip(infos, features, strict=False):
            file.write(json.dumps({**asdict(info), "start": start, "windows": len(rows)}) + "\n")
            start += len(rows)
