"""`evaluate encoder`: held-out sounds, what is compared, the table."""

import json

import numpy as np
import pytest
import torch

from afcore.cli.main import main
from afcore.encoders.mini import EMBEDDING
from afcore.evaluation import encoder as module

RATE = 32_000


@pytest.fixture
def work(tmp_path):
    """A training package, a validation package and a set, three sounds each."""
    rng = np.random.default_rng(0)
    for name, sources in (("corpus", ("bambam", "krank")), ("sounds", ("ss14",))):
        rows, audio, offset = [], [], 0
        for package in sources:
            for k, seconds in enumerate((0.3, 2.0, 8.0)):
                x = (rng.standard_normal(int(seconds * RATE)) * 3000).astype(np.int16)
                bits = np.packbits(rng.random(512) < 0.5).tobytes().hex()
                rows.append(
                    {"id": f"{package}:{k}", "package": package, "path": f"{k}.wav", "offset": offset, "length": len(x)}
                    | {"peak": 9000, "active": seconds, "seconds": seconds, "fingerprint": f"{bits}:{1000 + 400 * k}"}
                    | ({"label": "bell", "source": ""} if name == "sounds" else {})
                )
                audio.append(x)
                offset += len(x)
        (tmp_path / name).mkdir()
        np.concatenate(audio).tofile(tmp_path / name / "audio.i16")
        (tmp_path / name / "index.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    labels = [{"id": f"{p}:{k}", "label": ("bell", "horn", "rain")[k]} for p in ("bambam", "krank") for k in range(3)]
    (tmp_path / "corpus" / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in labels))
    return tmp_path


class Ears:
    """Hears the length and the loudness of a sound, and tags it by its length."""

    asked = 0

    def hear(self, samples: torch.Tensor) -> torch.Tensor:
        Ears.asked += 1
        features = torch.zeros(len(samples), 911)
        features[:, 0], features[:, 1] = samples.shape[1] / RATE, 1.0
        features[:, EMBEDDING + samples.shape[1] // RATE] = 5.0
        return features


@pytest.fixture
def same_ears(monkeypatch, tmp_path):
    """The encoder and the teacher hear alike."""
    monkeypatch.setattr(module.MiniEncoder, "load", lambda folder: Ears())
    monkeypatch.setattr(module, "ears_of", lambda folder: Ears().hear)
    Ears.asked = 0
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "encoder.safetensors").write_bytes(b"some")
    return tmp_path / "weights"


def test_ears_like_the_teachers_agree_wholly(work, same_ears):
    result = module.evaluate(work, work, folder=same_ears)
    everything, packages = result["rows"]
    assert (everything["set"], packages["set"], everything["n"]) == ("all", "packages", 3)
    assert all(everything[m]["value"] == pytest.approx(1) for m in ("best", "three", "logits", "cosine"))
    # Each held-out sound's nearest training sound is the one of its length; one of two of 0.3 s may be the set's bell.
    assert everything["neighbour"]["value"] == everything["teacher"]["value"] >= 2 / 3
    assert everything["share"] == 1 and everything["labelled"] == 3
    asked = Ears.asked
    assert module.evaluate(work, work, folder=same_ears) == result
    assert Ears.asked == asked  # what was heard is kept


def test_windows_are_cut_as_the_app_cuts_them(work):
    held_out = module.HeldOutSounds(work, "validation")
    lengths = {row["id"]: len(held_out.window(i)) / RATE for i, (_, row) in enumerate(held_out.sounds)}
    assert [lengths[f"krank:{k}"] for k in range(3)] == [1, 2, 7]
    assert sum(held_out.held) == 3 and len(held_out.sounds) == 9


def test_the_neighbour_carries_the_label_or_is_not_counted():
    embeddings = np.array([[1.0, 0], [0, 1], [1, 0.1], [0.1, 1], [0.2, 1]])
    held = np.array([False, False, True, True, True])
    right = module.neighbour_right(embeddings, ["bell", "rain", "bell", "bell", "unheard"], held)
    assert right[:2].tolist() == [1, 0] and np.isnan(right[2])


def test_the_command_prints_the_table(work, same_ears, capsys, monkeypatch):
    monkeypatch.setattr(module.paths, "MINI", same_ears)
    monkeypatch.setattr(module.evaluate, "__defaults__", ("validation", same_ears, lambda _: None))
    assert main(["evaluate", "encoder", "--work", str(work), "--teacher", str(work)]) == 0
    table = capsys.readouterr().out
    assert "| all | 3 | 100.0 (100.0–100.0) |" in table and "| bar | | 80 | 95 | 97 | 95 |" in table
    assert main(["evaluate", "encoder", "--work", str(work), "--teacher", str(work), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["split"] == "validation"
    assert main(["evaluate", "encoder", "--work", str(work)]) == 1  # without a teacher there is nothing to compare with
    assert "--teacher" in capsys.readouterr().err
