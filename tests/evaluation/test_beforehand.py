"""Answers that were computed beforehand are shown for the weights that made them, and for no others."""

import json

import pytest
from fakes import FakeEngine
from media import chirps, encode

from afcore.errors import BadRequest
from afcore.evaluation import beforehand
from afcore.retrieval.bank import Bank


@pytest.fixture
def engine(tmp_path):
    for seed, label in enumerate(("dog barking", "odd thing")):
        (tmp_path / "sounds" / label).mkdir(parents=True)
        (tmp_path / "sounds" / label / "a.wav").write_bytes(encode(chirps(1.0, 16_000, seed), 16_000))
    return FakeEngine(Bank.from_folder(tmp_path / "sounds"))


def test_what_was_made_is_read_for_these_weights_only(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(beforehand, "weights_of", lambda name: "abc")
    assert beforehand.read(tmp_path) == {}
    assert beforehand.make(engine, engine.bank, tmp_path) == 2
    found = beforehand.read(tmp_path)
    assert set(found) == {example.sha256 for example in engine.bank.examples()}
    assert all(one.tags[0] == ("Dog", pytest.approx(0.91)) for one in found.values())
    assert beforehand.read(tmp_path, weights="other") == {}
    engine.name = "another"
    with pytest.raises(BadRequest):
        beforehand.make(engine, engine.bank, tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"weights": "abc", "answers": {"x": {"caption": 1}}})])
def test_a_damaged_file_is_as_none(tmp_path, text):
    (tmp_path / beforehand.FILE).write_text(text)
    assert beforehand.read(tmp_path, weights="abc") == {}
