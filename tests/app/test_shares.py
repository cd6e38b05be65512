"""Shared results: kept as they were, gone after a month or when deleted; and the report of each."""

import base64
import json
import re

import numpy as np
import pytest
from fakes import FakeEngine
from media import chirps, encode

from afcore.app import report, shares
from afcore.app.certainty import Doubt
from afcore.app.session import BrowserSession, Turn
from afcore.app.shares import MONTH, Share, Shares
from afcore.audio.recording import open_recording
from afcore.errors import BadRequest
from afcore.jobs import Job
from afcore.retrieval.bank import Bank
from afcore.teach.proof import Method, Proof, Score


@pytest.fixture
def engine(tmp_path):
    return FakeEngine(Bank(tmp_path / "bank", create=True))


@pytest.fixture
def session():
    session = BrowserSession()
    session.open(open_recording(encode(chirps(40.0, 8_000), 8_000), "<b>my</b> sound.wav"), "upload", 5.0)
    return session


def _clip(session, engine):
    heard = engine.hear(session.clip)
    scores = engine.score(heard, ["dog", "cat"])
    return shares.of_clip(session, engine, heard, "A dog & a bell.", Doubt("likely"), scores)


def test_a_clip_comes_back_as_it_was_and_only_the_heard_part_is_kept(session, engine, tmp_path):
    kept = Shares(tmp_path / "shares")
    share, wav = _clip(session, engine)
    name = kept.keep(share, wav)
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", name)
    found = kept.find(name)
    assert found.answers == share.answers and found.windows == share.windows and found.facts == share.facts
    assert found.answers[0].note == "Likely." and {label for label, _ in found.answers[1].labels} == {"dog", "cat"}
    assert "<audio>" in found.answers[0].prompt and found.weights.startswith("mini")
    assert open_recording(kept.wav(found), "x").duration == pytest.approx(33.25, abs=0.01)


def test_it_is_gone_after_a_month_and_when_it_is_deleted(session, engine, tmp_path):
    now = [0.0]
    kept = Shares(tmp_path / "shares", now=lambda: now[0])
    share, wav = _clip(session, engine)
    first = kept.keep(share, wav)
    now[0] = MONTH / 2
    second, third = kept.keep(share, wav), kept.keep(share, wav)
    now[0] = MONTH + 1
    assert kept.find(first) is None and kept.find(second) is not None
    kept.delete(second)
    assert kept.find(second) is None and kept.wav(kept.find(third))  # the sound is that of the third, too
    kept.delete(third)
    assert [file for file in (tmp_path / "shares").rglob("*") if file.is_file()] == []


@pytest.mark.parametrize("name", ["", "a", "../../etc/passwd", "A" * 22])
def test_an_id_that_is_none_finds_nothing(tmp_path, name):
    kept = Shares(tmp_path / "shares")
    assert kept.find(name) is None
    kept.delete(name)


def test_a_file_that_somebody_has_changed_is_no_share(session, engine, tmp_path):
    kept = Shares(tmp_path / "shares")
    name = kept.keep(*_clip(session, engine))
    file = tmp_path / "shares" / f"{name}.json"
    content = json.loads(file.read_text())
    for change in ({"sound": "../../x"}, {"answers": [{"question": 1}]}, {"kind": "other"}, {"version": 2}):
        file.write_text(json.dumps(content | change))
        assert kept.find(name) is None


def test_a_chat_has_the_prompts_of_its_turns(session, engine):
    heard = engine.hear(session.clip)
    with pytest.raises(BadRequest):
        shares.of_chat(session, engine, heard)
    session.turns.append(Turn("What is it?", 5.0, saved_answer="A dog."))
    session.turns.append(Turn("Where?", 5.0, saved_answer="In a yard.", saved_stopped=True))
    session.turns.append(Turn("And before?", 0.0, saved_answer="A bell."))
    session.turns.append(Turn("Now?", 5.0, job=Job(lambda job: None)))  # has not begun
    share, wav = shares.of_chat(session, engine, heard)
    assert wav and [one.answer for one in share.answers] == ["A dog.", "In a yard.", "A bell.", ""]
    assert [one.note for one in share.answers] == ["", "Stopped before its end.", "", "Still on its way."]
    assert "A dog." in share.answers[1].prompt and share.answers[1].note
    assert share.answers[2].prompt == ""  # about a part that is not heard now


def test_reports_have_pictures_inside_ask_nobody_and_take_texts_as_texts(session, engine):
    text = report.to_html(*_clip(session, engine))
    assert "<b>my</b>" not in text and "&lt;b&gt;my&lt;/b&gt;" in text and "A dog &amp; a bell." in text
    assert '<meta name="viewport" content="width=device-width' in text and "height: auto" in text  # on a phone
    assert "data:image/png;base64," in text and text.count("<svg") == 3  # waveform, labels, tags
    assert not re.search(r'(src|href)="(?!data:)', text) and "http" not in text and "<script" not in text


def test_a_proof_is_shared_and_reported(engine):
    score = Score(Method("lm-shots", 4, "4 examples"), 9, 0.9, (0.7, 0.98), 0.9, {"a": 1.0}, np.eye(2))
    proof = Proof(("a", "b"), (score,), 10, 10, 8, "Ten clips.", score.method, "It is best.")
    share = shares.of_proof("pumps", proof, engine)
    text = report.to_html(share)
    assert "4 examples" in text and "90 %" in text and "It is best." in text and "Suggested: 4 examples." in text
    assert share.scores[0].low == 0.7 and isinstance(share, Share)


def test_a_thumbnail_is_one_picture_and_takes_a_name_as_text():
    recording = open_recording(encode(chirps(2.0, 8_000), 8_000), 'a "b" <c>.wav')
    picture = report.thumbnail(recording.envelope, recording.name)
    assert picture.count("<img") == 1 and "<c>" not in picture and 'a "b"' not in picture
    assert "<svg" not in picture, "Streamlit takes it out of a page"
    drawn = base64.b64decode(re.search(r"base64,([^\"]+)", picture)[1]).decode()
    assert "polygon" in drawn and 'xmlns="http://www.w3.org/2000/svg"' in drawn, "an img draws no SVG without it"
