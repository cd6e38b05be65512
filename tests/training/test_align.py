"""Mini CLAP's fit: which texts a sound is put beside."""

import json
from typing import ClassVar

import numpy as np
import torch

from afcore.clap import mini
from afcore.corpus.clips import ClipInfo, ClipSet, write_clips
from afcore.training.mini import align


class Sentences:
    """Stands for the sentence encoder: each text is a direction of its own, and the texts are kept."""

    asked: ClassVar[set[str]] = set()

    def __call__(self, texts):
        self.asked.update(texts)
        rows = [np.random.default_rng(list(text.encode())).standard_normal(mini.TEXT) for text in texts]
        return torch.nn.functional.normalize(torch.tensor(np.stack(rows), dtype=torch.float32), dim=-1)


def test_peoples_sentences_are_read_by_what_they_name(tmp_path):
    rows = [{"sentence": f"a dog barks {n}", "classes": ["Bark"], "relation": "one"} for n in range(align.MOST + 9)]
    rows.append({"sentence": "rain and a dog", "classes": ["Rain", "Bark"], "relation": "together"})
    file = tmp_path / "sentences.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = align.read_sentences(file)
    assert len(found[frozenset({"Bark"})]) == align.MOST and found[frozenset({"Bark", "Rain"})] == ["rain and a dog"]


def test_a_sound_is_put_beside_what_people_wrote_of_just_its_classes(tmp_path, monkeypatch):
    for module in (mini, align):
        monkeypatch.setattr(module, "SentenceEncoder", Sentences)
    infos = [
        ClipInfo(
            label, label, None, [label], [], f"p{n}", f"p{n}/{n}", split, n, {"heard": [heard] if heard else []}
        )
        for n, (label, heard, split) in enumerate(
            [("dog barking", "Bark", "train"), ("rain", "Rain", "train"), ("odd", None, "train"),
             ("dog barking", "Bark", "validation"), ("rain", "Rain", "validation")]
        )
    ]  # fmt: skip
    write_clips(tmp_path / "heard", infos, [np.full((1, 911), n, np.float16) for n in range(5)])
    (tmp_path / "encoder.safetensors").write_bytes(b"")  # its digest is part of the name
    (tmp_path / "audioset.json").write_text(json.dumps([f"Class {n}" for n in range(527)]))
    people = {frozenset({"Bark"}): ["a dog barks at a gate"], frozenset({"Bark", "Rain"}): ["a dog in the rain"]}
    clap = align.align(ClipSet(tmp_path / "heard"), tmp_path, people, steps=3, batch=4)
    assert "a dog barks at a gate" in Sentences.asked and "a dog in the rain" not in Sentences.asked
    assert "the sound of rain" in Sentences.asked and "the sound of a dog barks at a gate" not in Sentences.asked
    assert clap.text(["rain"]).shape == (1, mini.MiniClap.width)
