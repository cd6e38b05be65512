"""The clips that mini CLAP is fitted on: packages and sets, first windows, no test sound heard."""

import json

import numpy as np
import torch

from afcore.corpus import first_windows
from afcore.corpus.clips import ClipSet
from afcore.encoders.mini import RATE
from afcore.knowledge.table import table

NAMES = [f"Class {i}" for i in range(527)]


class Ears:
    labels, width = NAMES, 911

    def embed(self, samples: np.ndarray) -> torch.Tensor:
        return torch.full((1, 911), len(samples) / RATE)


def folder_of(place, rows: list[dict], top: list[int]) -> None:
    place.mkdir()
    rng, offset = np.random.default_rng(len(rows)), 0
    for k, row in enumerate(rows):
        bits = np.packbits(rng.random(512) < 0.5).tobytes().hex()
        row |= {"offset": offset, "length": 2 * RATE, "peak": 9000, "active": 2.0, "seconds": 2.0, "cluster": k}
        row |= {
            "fingerprint": f"{bits}:{1000 + 500 * k}",
            "group": row["path"],
            "id": f"{row['package']}:{row['path']}",
        }
        offset += 2 * RATE
    (rng.standard_normal(offset) * 3000).astype(np.int16).tofile(place / "audio.i16")
    (place / "index.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    taught = np.full((len(rows), 911), -9, np.float16)
    for k, best in enumerate(top):
        if best >= 0:
            taught[k, 384 + best] = 4
    np.save(place / "teacher.npy", taught)


def test_clips_of_packages_and_sets(tmp_path, monkeypatch):
    monkeypatch.setattr(first_windows.MiniEncoder, "load", lambda folder: Ears())
    packages = [{"package": name, "path": "a.wav"} for name in ("bambam", "krank", "scratch")]  # one of each split
    sets = [
        {"package": "ss14", "path": "bell.ogg", "label": "bell", "source": ""},
        {"package": "emogator", "path": "000001-01-1.ogg", "label": "vocal burst awe", "source": ""},
    ]
    folder_of(tmp_path / "corpus", packages, [3, -1, 5])
    folder_of(tmp_path / "sounds", sets, [7, 8])
    (tmp_path / "corpus" / "labels.jsonl").write_text(json.dumps({"id": "bambam:a.wav", "label": "gong"}) + "\n")
    first_windows.describe_first_windows(tmp_path / "corpus", tmp_path / "sounds", tmp_path, tmp_path / "heard")
    clips = ClipSet(tmp_path / "heard")
    assert [c.split for c in clips.info][:4] == [
        "train",
        "dropped",
        "dropped",
        "train",
    ]  # nothing known; a test package
    assert clips[0].label == "gong" and clips[3].label == "bell" and clips[3].events[0] == "bell"
    assert clips[4].label is None and clips[4].events == [first_windows.describe.tag_name("Class 8")]
    assert clips[4].extra["heard"] == [table()[8].name] and clips[1].extra["heard"] == []
    assert clips.of(0).shape == (1, 911) and float(clips.of(0)[0, 0]) == 2.0
    assert not clips.of(2).any()
