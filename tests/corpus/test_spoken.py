"""The clips that are spoken about: what is known of single sounds and of blends, split by recording."""

from __future__ import annotations

import json

import numpy as np
import pytest

from afcore import paths
from afcore.corpus import spoken
from afcore.corpus.clips import ClipInfo, ClipSet
from afcore.corpus.decoded import RATE
from afcore.corpus.fingerprint import fingerprint
from afcore.knowledge.table import by_name

DOG, RAIN = by_name()["Bark"].index, by_name()["Rain"].index


def decoded(folder, rows, labels=None):
    """A folder of decoded sounds: (package, path, label, class) with a tone of its own each."""
    folder.mkdir()
    rng, offset, index, logits, audio = np.random.default_rng(0), 0, [], [], []
    for n, (package, path, label, tag) in enumerate(rows):
        x = (8000 * np.sin(np.arange(RATE) * (0.02 + 0.01 * n)) + 50 * rng.standard_normal(RATE)).astype(np.int16)
        index.append(
            {"id": f"{package}:{path}", "package": package, "path": path, "label": label, "source": "", "seconds": 1.0}
            | {"offset": offset, "length": len(x), "peak": int(np.abs(x).max()), "active": 1.0, "group": path}
            | {"fingerprint": fingerprint(x)}
        )
        offset += len(x)
        audio.append(x)
        row = np.full(911, -9.0, np.float16)
        row[384 + tag] = 2.0
        logits.append(row)
    np.concatenate(audio).tofile(folder / "audio.i16")
    (folder / "index.jsonl").write_text("".join(json.dumps(row) + "\n" for row in index))
    np.save(folder / "teacher.npy", np.stack(logits))
    if labels is not None:
        lines = [{"id": row["id"], "label": label} for row, label in zip(index, labels, strict=True)]
        (folder / "labels.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    corpus = decoded(
        work / "corpus",
        [("a", "d1.wav", None, DOG), ("a", "r1.wav", None, RAIN), ("scratch", "t.wav", None, DOG)],
        ["dog barking", None, "dog barking"],
    )
    sets = decoded(work / "sounds", [("ss14", "x/guardian.ogg", "guardian death", RAIN), ("fsdd", "y.ogg", "", DOG)])
    for folder in (corpus, sets):
        spoken.hear_all(folder, paths.MINI)
    spoken.describe([corpus, sets], paths.MINI, work / "spoken", blends=6, noises=4)
    return ClipSet(work / "spoken")


def test_sounds_come_with_tags_labels_and_splits(described):
    known = {info.extra.get("id"): info for info in described.info if info.extra.get("id")}
    assert "scratch:t.wav" not in known  # a test package
    dog = known["a:d1.wav"]
    assert (dog.label, dog.split) == ("dog barking", "train") and DOG in dog.extra["classes"]
    assert dog.extra["tags"] == [[DOG, 0.881]]
    assert known["ss14:x/guardian.ogg"].extra["classes"] == []
    assert "barking dog" in dog.events


def test_blends_are_of_sounds_of_one_split_and_know_their_parts(described):
    blends = [info for info in described.info if "parts" in info.extra]
    assert blends
    for info in blends:
        assert info.label is None and info.source == -1
        assert len(info.extra["parts"]) == len(info.extra["groups"]) == 2
        assert {index for index, _ in info.extra["tags"]} <= {DOG, RAIN}
        assert 0 <= info.extra["behind"] <= 16


def test_noise_is_there_without_tags(described):
    noise = [info for info in described.info if info.extra.get("noise")]
    assert noise and all(info.extra["tags"] == [] and not info.events for info in noise)


def test_features_are_those_of_the_encoder(described):
    assert described.features.shape[1] == 911
    assert all(len(described.of(i)) >= 1 for i in range(len(described)))


@pytest.mark.parametrize("lengths", [(0.3, 2.0), (9.0, 1.0), (8.0, 8.0)])
def test_a_blend_is_at_most_seven_seconds_and_the_second_is_fainter_by_what_is_said(lengths):
    rng = np.random.default_rng(1)
    a, b = (np.sin(np.arange(int(s * RATE)) * w).astype(np.float32) for s, w in zip(lengths, (0.05, 0.3), strict=True))
    samples, fainter = spoken.blend(a, b, rng)
    assert len(samples) <= 7 * RATE and np.abs(samples).max() == pytest.approx(1, abs=1e-5)
    assert 0 <= fainter <= 16
    if lengths == (8.0, 8.0):
        power = np.abs(np.fft.rfft(samples)) ** 2
        places = [int(w / (2 * np.pi) * len(samples)) for w in (0.05, 0.3)]
        first, second = (np.sqrt(power[at - 40 : at + 41].sum()) for at in places)
        assert 20 * np.log10(first / second) == pytest.approx(fainter, abs=0.2)


def test_the_classes_of_a_label_are_those_written_down_or_its_own_words():
    assert DOG in spoken.classes_of("dog barking")
    assert spoken.classes_of("guardian death") == ()
    assert by_name()["Piano"].index in spoken.classes_of("piano")


def test_what_is_known_of_a_blend_of_two():
    one = ClipInfo(
        "dog barking", "", None, ["dog barking"], [], "a", "a/1", "train", 0, {"tags": [[1, 0.5]], "classes": [1]}
    )
    two = ClipInfo(None, "", None, [], [], "b", "b/1", "train", 1, {"tags": [[2, 0.9]], "classes": []})
    info = spoken.blended(one, two, "train", 9.0)
    assert info.extra["tags"] == [(2, 0.9), (1, 0.5)] and info.extra["behind"] == 9.0
