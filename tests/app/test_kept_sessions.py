"""Sessions that outlive a reload: a copy of its own for each who opens the address, gone after a day or when told."""

import os

import pytest
from fakes import FakeEngine
from media import chirps, encode

from afcore.app.kept_sessions import DAY, KeptSessions
from afcore.app.session import BrowserSession, Turn
from afcore.audio.recording import open_recording
from afcore.retrieval.bank import Bank
from afcore.retrieval.nearest import Shot


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    for seed, label in enumerate(("bell", "rain")):
        (folder / label).mkdir()
        (folder / label / "a.wav").write_bytes(encode(chirps(1.0, 16_000, seed), 16_000))
    bank = Bank.from_folder(folder)
    FakeEngine(bank)
    return bank


def _session(seed: int = 9) -> BrowserSession:
    session = BrowserSession()
    session.open(open_recording(encode(chirps(1.0, 16_000, seed), 16_000), f"{seed}.wav"), "upload")
    return session


def test_who_opens_the_address_gets_a_copy_that_changes_nothing_of_the_first(tmp_path, bank):
    kept = KeptSessions(tmp_path / "sessions")
    first = _session()
    first.turns.append(Turn("What is it?", 0.0, saved_answer="a bell"))
    name = kept.keep(first)
    assert len(name) == 22 and kept.keep(first) == name
    again = BrowserSession()
    assert kept.resume(again, name, bank)
    assert again.recording.sha256 == first.recording.sha256 and again.turns[0].answer == "a bell"
    again.turns.append(Turn("And now?", 0.0, saved_answer="rain"))
    assert kept.keep(again) != name
    assert len(kept.find(name).turns) == 1 and len(first.turns) == 1


def test_nothing_is_found_under_another_name_or_after_a_day_and_sounds_go_with_their_sessions(tmp_path, bank):
    clock = [1e9]
    kept = KeptSessions(tmp_path / "sessions", now=lambda: clock[0])
    old, new = kept.keep(_session(1)), kept.keep(_session(2))
    for name in ("", "../" + old, old[:-1], "x" * 22):
        assert kept.find(name) is None
    os.utime(tmp_path / "sessions" / f"{old}.json", (1e9 - DAY - 1,) * 2)
    os.utime(tmp_path / "sessions" / f"{new}.json", (1e9, 1e9))
    assert kept.find(old) is None and kept.find(new) is not None
    kept.sweep(at_once=True)
    assert [file.stem for file in (tmp_path / "sessions").glob("*.json")] == [new]
    assert len(list((tmp_path / "sessions" / "audio").glob("*/*"))) == 1


def test_a_session_that_is_forgotten_leaves_nothing_on_the_disk(tmp_path):
    kept = KeptSessions(tmp_path / "sessions")
    session = _session()
    kept.keep(session)
    kept.forget(session)
    assert session.recording is None and session.kept_as == ""
    assert [file for file in (tmp_path / "sessions").rglob("*") if file.is_file()] == []


def test_what_is_no_session_any_more_is_not_found(tmp_path):
    kept = KeptSessions(tmp_path / "sessions")
    name = kept.keep(_session())
    (tmp_path / "sessions" / f"{name}.json").write_text("{}")
    assert kept.find(name) is None


def test_pins_stay_with_their_sound_and_are_taken_along_only_when_asked(bank):
    engine, session = FakeEngine(bank), _session(1)
    first = session.choose(engine, engine.hear(session.clip))
    session.pin(first[0], True)
    pinned, name = first[0].id, session.recording.name
    session.open(open_recording(encode(chirps(1.0, 16_000, 2), 16_000), "sneeze.wav"), "upload")
    assert session.choices == [] and session.pins_of == name
    heard = engine.hear(session.clip)
    assert not any(choice.pinned for choice in session.choose(engine, heard))
    session.take_pins()
    now = session.choose(engine, heard)
    assert [choice.id for choice in now if choice.pinned] == [pinned] and session.pins_of == ""
    assert isinstance(now[0].shot, Shot)
