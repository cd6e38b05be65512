"""`evaluate held-out`: which sounds become a folder to evaluate, and that `evaluate folder` reads it."""

import json

import numpy as np
import pytest

from afcore.audio.recording import from_samples
from afcore.cli.main import main
from afcore.corpus.decoded import RATE
from afcore.evaluation import held_folder
from afcore.evaluation.benchmarks import folder as folder_benchmark
from afcore.evaluation.held_sounds import HeldSound
from afcore.evaluation.truth import truth_of
from afcore.knowledge.table import by_name

TRAIN = {"Bark": 4, "Rain": 4, "Dog": 4, "Piano": 3, "Helicopter": 4}
TEST = {"Bark": 3, "Rain": 2, "Dog": 2, "Piano": 2, "Helicopter": 1}
"""Of a class so many sounds, each from a recording of its own."""


def sounds(counts, split):
    found = []
    for name, count in counts.items():
        probability = np.full(527, 0.001, np.float32)
        probability[by_name()[name].index] = 0.9
        for n in range(count):
            group = f"{split}/{name}-{n}"
            found.append(HeldSound(f"{group}.ogg", (), truth_of(name.lower(), probability), group))
    return found


def test_classes_have_enough_sounds_and_are_never_both_true():
    rows = list(held_folder.label_rows(sounds(TEST, "test"), sounds(TRAIN, "train")))
    said = {answer for _, answer, _, _ in rows}
    assert said == {by_name()["Bark"].tag, by_name()["Rain"].tag}, "Dog is true of a bark; the others are too few"
    for answer in said:
        splits = [split for _, label, _, split in rows if label == answer]
        assert splits.count("test") == held_folder.EACH and splits.count("train") == held_folder.EXAMPLES
    assert all(sound.group.startswith(split) for sound, _, _, split in rows), "the two splits never mix"
    again = held_folder.label_rows(sounds(TEST, "test")[::-1], sounds(TRAIN, "train")[::-1])
    assert [row[0].id for row in again] == [row[0].id for row in rows], "by their names, not by their order"


def test_captions_are_sentences_about_one_sound_of_each_class():
    test = sounds(TEST, "test")
    captions = {sound.id: "a dog barks in a yard" for sound in test if "Bark" in sound.id}
    captions["test/Rain-0.ogg"] = "rain falling"
    [(sound, answer, prompt, split)] = held_folder.caption_rows(test, captions)
    assert "Bark" in sound.id and answer == "a dog barks in a yard" and (prompt, split) == (held_folder.CAPTION, "test")


class MadeUp:
    def __init__(self, work, split):
        self.sounds = sounds(TEST if split == "test" else TRAIN, split)

    def clip(self, sound):
        return from_samples(np.sin(np.arange(RATE) / 9).astype(np.float32), RATE, sound.id).clip()


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.setattr(held_folder, "HeldSounds", MadeUp)
    (tmp_path / "corpus").mkdir()
    row = {"id": "test/Bark-0.ogg", "caption": "a dog barks in a yard can be heard"}
    (tmp_path / "corpus" / "labels.jsonl").write_text(json.dumps(row) + "\n" + json.dumps({"id": "x"}) + "\n")
    return tmp_path


def test_the_command_writes_what_evaluate_folder_reads(work, tmp_path, capsys):
    asked = ["evaluate", "held-out", "--work", str(work), "--out", str(tmp_path / "held")]
    assert main(asked) == 0 and "4 to ask about, 12 in all" in capsys.readouterr().out
    items = folder_benchmark.read(tmp_path / "held" / "labels")
    assert [item.split for item in items].count("test") == 4 and all(item.file.is_file() for item in items)
    [caption] = folder_benchmark.read(tmp_path / "held" / "captions")
    assert caption.answers == ("a dog barks in a yard",) and folder_benchmark.as_asked([caption]).kind == "caption"
    assert main(asked) == 2 and "not empty" in capsys.readouterr().err
    assert main(asked[:-2]) == 2 and "--out FOLDER" in capsys.readouterr().err
