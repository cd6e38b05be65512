"""The shelf: sounds by content, what is said of each, found by words and by what these are kinds of."""

import csv
import io

import numpy as np
import pytest
from fakes import FakeEngine
from media import chirps, encode

from afcore.app import shelf as shelves
from afcore.app.shelf import Shelf
from afcore.audio.recording import open_recording
from afcore.jobs import Job
from afcore.retrieval.bank import Bank


@pytest.fixture
def engine(tmp_path):
    return FakeEngine(Bank(tmp_path / "bank", create=True))


def _shelf(*names: str) -> Shelf:
    shelf = Shelf()
    for seed, name in enumerate(names):
        shelf.add(open_recording(encode(chirps(0.5, 16_000, seed), 16_000), name))
    return shelf


def _described(shelf: Shelf, engine) -> Shelf:
    job = Job(lambda job: shelf.describe(job, engine)).start()
    assert job.wait(60) and job.error is None
    return shelf


def test_each_sound_is_there_once_and_the_oldest_go(monkeypatch):
    shelf = _shelf("a.wav", "b.wav", "c.wav")
    shelf.add(next(iter(shelf.sounds.values())).recording)
    assert [one.recording.name for one in shelf.sounds.values()] == ["b.wav", "c.wav", "a.wav"]
    monkeypatch.setattr(shelves, "MOST", 2)
    shelf.add(open_recording(encode(chirps(0.5, 16_000, 9), 16_000), "d.wav"))
    assert [one.recording.name for one in shelf.sounds.values()] == ["a.wav", "d.wav"]


def test_sounds_are_described_and_found_by_words_and_kinds(engine):
    shelf = _described(_shelf("a.wav", "b.wav"), engine)
    assert shelf.open_questions(engine) == [] and all(one.caption for one in shelf.sounds.values())
    assert len(shelf.containing("animal")) == 2 and len(shelf.containing("barks b.wav")) == 1
    assert shelf.containing("violin") == [] and shelf.containing("", music=True) == []


def test_what_is_music_says_its_instruments(engine):
    shelf = _described(_shelf("a.wav"), engine)
    [one] = shelf.sounds.values()
    one.tags = (("Acoustic guitar", 0.7), ("Speech", 0.4), ("Jazz", 0.2))
    assert one.musical == ("Acoustic guitar", "Jazz") and shelf.containing("", music=True) == [one]


def test_the_table_is_csv_that_no_spreadsheet_computes(engine):
    shelf = _described(_shelf('=cmd("x").wav'), engine)
    [row] = csv.DictReader(io.StringIO(shelves.to_csv(list(shelf.sounds.values()))))
    assert row["file"].startswith("'=") and row["caption"] and "Dog 0.91" in row["tags"]


def test_the_same_question_goes_to_both(engine):
    shelf = _shelf("a.wav", "b.wav")
    job = Job(lambda job: shelves.compare(job, engine, list(shelf.sounds.values()), "What is it?")).start()
    assert job.wait(60) and [said.text for said in job.result] == ["I hear a dog that barks twice."] * 2
    assert [said.prompt for said in job.result] == [prompt.text for prompt, _ in engine.prompts[-2:]]


def test_silence_is_asked_nothing_and_notices_are_in_the_table(engine):
    shelf = _shelf("a.wav")
    shelf.add(open_recording(encode(np.zeros(8000), 16_000), "still.wav"))
    job = Job(lambda job: shelves.compare(job, engine, list(shelf.sounds.values()), "What is it?")).start()
    assert job.wait(60) and [said.text for said in job.result] == [
        "I hear a dog that barks twice.",
        "There is nothing to hear.",
    ]
    assert job.result[0].prompt and not job.result[1].prompt
    rows = list(csv.DictReader(io.StringIO(shelves.to_csv(list(shelf.sounds.values())))))
    assert [row["notices"] for row in rows] == ["", "silent: The sound is silent"]
