"""Banks of one's own on Retrieve, and the Fine-tune page."""

import io
import sys
import time
import zipfile

import numpy as np
import pytest
from fakes import FakeClap, direction
from media import chirps, encode
from pages_support import RATE, button, example, good, page, session, shot_boxes, texts, upload
from tiny import made_model

from afcore.app.banks import SHIPPED
from afcore.app.finetunes import FineTunes
from afcore.app.session import BrowserSession
from afcore.app.session_file import pack, unpack
from afcore.engine import own_models
from afcore.retrieval import own_banks
from afcore.retrieval.own_banks import Listed, Listing
from afcore.training.finetune.compare import Question, report, row
from afcore.training.finetune.data import Item
from pages import common


def zipped() -> bytes:
    """Six sounds of two labels and three sources each, and one that holds nothing."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for number, label in enumerate(["gate"] * 3 + ["engine"] * 3):
            file.writestr(f"{label}/{'abc'[number % 3]}.wav", encode(chirps(1.0, RATE, seed=50 + number), RATE))
        file.writestr("gate/still.wav", encode(0 * chirps(1.0, RATE), RATE))
    return out.getvalue()


def test_a_bank_of_ones_own(app, engine, monkeypatch):
    """Made from a zip, what is left out is named, examples come from it, it is measured, and deleted."""
    monkeypatch.setattr(FakeClap, "audio", lambda clap, clip: direction(clip.key))  # no sound is like another
    good(page(app, "retrieve"))
    app.session_state["own-banks"] = True  # AppTest cannot open the box
    good(app.run())
    [uploader] = [w for w in app.file_uploader if w.label == "A zip of sounds"]
    uploader.upload("mine.zip", zipped(), "application/zip")
    app.run()
    [name] = [w for w in app.text_input if w.label == "Its name"]
    good(name.set_value("My gates").run())
    good(button(app, "Make the bank").click().run())
    job = session(app).jobs["make-bank"]
    assert job.wait(60) and job.error is None
    good(app.run())
    assert "6 sounds of 6 sources with 2 labels" in texts(app)
    assert any("1 left out" in warning.value for warning in app.warning)
    assert session(app).banks == (SHIPPED,)
    good(button(app, "Take examples from it").click().run())
    [box] = [w for w in app.multiselect if w.label == "Example banks"]
    assert box.value == [SHIPPED, "My gates"] == list(session(app).banks)
    good(box.set_value(["My gates"]).run())
    good(page(app, "listen"))
    example(app)
    good(page(app, "retrieve"))
    assert {box.label for box in shot_boxes(app)} <= {"gate", "engine"} and shot_boxes(app)
    app.session_state["own-banks"] = True
    good(app.run())
    good(button(app, "Does it help?").click().run())
    job = session(app).jobs["bank-help"]
    assert job.wait(60) and job.error is None and job.result.sounds == 6
    good(app.run())
    assert "Does “My gates” help?" in texts(app)
    good(button(app, "Delete it").click().run())
    assert session(app).banks == (SHIPPED,) and {box.label for box in shot_boxes(app)} <= {"dog", "rain", "bell"}


def bank_of(label: str, channels: str | int) -> None:
    """A bank of one's own with that name and label, made of sounds with two channels."""
    sides = np.stack([chirps(1.0, RATE, seed=len(label)), chirps(1.0, RATE, seed=60 + len(label))])
    sound = Listed("a.wav", lambda: encode(sides, RATE), label)
    own_banks.build(Listing([sound]), own_banks.home() / label, channels=channels).close()


def test_a_sound_is_heard_by_the_channel_rule_of_the_chosen_bank(app, engine):
    """Query and examples follow one rule, which is said and not to be chosen otherwise; without the bank the person's
    own choice is back."""
    bank_of("gate", "mix")
    bank_of("horn", "one")
    one, other = chirps(1.0, RATE, seed=1), chirps(1.0, RATE, seed=2)
    good(upload(app, encode(np.stack([one, (one + other) / 2]), RATE)))
    good(app.selectbox(key=session(app).key("channels")).set_value("one").run())

    def heard() -> np.ndarray:
        return session(app).jobs["hear"].result.clip.samples

    def notices() -> str:
        return " ".join(info.value for info in app.info)

    def choose(*names: str) -> None:
        [box] = [w for w in app.multiselect if w.label == "Example banks"]
        good(box.set_value(list(names)).run())

    mix = (3 * one + other) / 4
    assert abs(heard() - one).max() < 1e-6 and "example banks" not in notices()
    choose(SHIPPED, "gate")
    assert abs(heard() - mix).max() < 1e-6
    assert "as those of the chosen example banks are, by the rule “mix”" in notices()
    box = app.selectbox(key=session(app).key("channels"))
    assert box.disabled and box.value == "mix"
    for name in ("retrieve", "chat"):
        good(page(app, name))
        assert "by the rule “mix”" in notices() and abs(heard() - mix).max() < 1e-6
    choose("gate", "horn")
    assert any("hear different channels" in warning.value for warning in app.warning)
    assert session(app).banks == (SHIPPED, "gate")
    assert unpacked(pack(session(app))).recording.heard.rule == "one", "the person's, for wherever the file is opened"
    choose("horn")
    assert abs(heard() - one).max() < 1e-6 and "by the rule “one”" in notices()
    good(page(app, "listen"))
    good(upload(app, encode(np.stack([0 * one, other]), RATE)))
    assert session(app).clip.silent and "by the rule “one”" in notices()
    choose(SHIPPED)
    assert abs(heard() - other / 2).max() < 1e-6 and "example banks" not in notices()


def unpacked(data: bytes) -> BrowserSession:
    """A session opened of a file."""
    opened = BrowserSession()
    unpack(opened, data, common.bank())
    return opened


def test_a_channel_that_the_bank_hears_and_the_sound_lacks_is_told(app, engine):
    bank_of("siren", 2)
    good(upload(app, encode(chirps(1.0, RATE), RATE)))
    [box] = [w for w in app.multiselect if w.label == "Example banks"]
    good(box.set_value(["siren"]).run())
    assert any("hear channel 2, which it does not have" in info.value for info in app.info)
    assert not any(box.label == "Which channel is heard?" for box in app.selectbox)


@pytest.fixture
def mine(engine, tmp_path):
    """A model of one's own, with what it scored."""
    questions = [Question(Item(tmp_path / f"{n}.wav", (("What?", "a gate"),), f"{n}"), 0) for n in range(4)]
    notes = {
        **report(questions, ["a dog"] * 4, ["a gate"] * 4),
        "elsewhere": [row("bank: the right label of 10", [1, 1, 0], [1, 0, 0], "abc")],
        "loss": [[1, 2.0], [2, 1.0]],
        "data": ["4 questions."],
    }
    yield made_model(tmp_path / "parts", notes)


def test_the_fine_tune_page(app, mine, tmp_path, monkeypatch):
    script = tmp_path / "command.py"
    script.write_text("import json; print(json.dumps({'look': {'left_out': {}}, 'sentences': ['7 questions.']}))")
    monkeypatch.setattr(FineTunes.__init__, "__defaults__", ((sys.executable, str(script)),))
    good(page(app, "finetune"))
    assert "the same words (4): 0 % (0 to 0), then 100 % (100 to 100)" in texts(app)
    assert "bank: the right label of 10" in texts(app)
    assert not app.file_uploader[1:]  # a project of Teach is the first choice
    app.session_state["tune-kind"] = "A zip with questions"
    good(app.run())
    [uploader] = [w for w in app.file_uploader if w.label == "A zip of sounds with their questions"]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("data.csv", "file,question,answer\na.wav,What?,a gate\n")
    uploader.upload("data.zip", out.getvalue(), "application/zip")
    good(app.run())
    good(button(app, "Look at the data").click().run())
    for _ in range(100):
        if "7 questions." in texts(app):
            break
        time.sleep(0.2)
        good(app.run())
    assert "7 questions." in texts(app)
    good(button(app, "Delete it").click().run())
    assert own_models.names() == [] and "Your models" not in texts(app)


def test_a_page_lists_the_banks_once(app, engine, monkeypatch):
    bank_of("hiss", "mix")
    names, listed = own_banks.names, []

    def counted() -> list[str]:
        listed.append(1)
        return names()

    good(app.run())
    session(app).banks = (SHIPPED, "hiss")
    example(app)
    monkeypatch.setattr(own_banks, "names", counted)
    good(app.run())
    assert session(app).banks == (SHIPPED, "hiss") and session(app).bank_channels == "mix"
    assert len(listed) == 1
    own_banks.remove("hiss")
