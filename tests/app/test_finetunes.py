"""Fine-tuning as a process: what it tells is taken in, stopped it can go on, and models are listed and deleted."""

import io
import json
import sys
import zipfile
from pathlib import Path

import pytest
from tiny import made_model

from afcore import paths
from afcore.app import finetunes
from afcore.app.finetunes import FineTunes
from afcore.engine import own_models
from afcore.errors import BadRequest
from afcore.training.finetune import data
from afcore.training.finetune.run import training_folder

COMMAND = """
import json, sys, time
from pathlib import Path
print(json.dumps({"look": {"left_out": {"a": "A is bad."}}, "sentences": ["4 questions."]}))
if "broken" in sys.argv:
    sys.exit("The sound a is broken.")
if "--look" not in sys.argv:
    for step in range(1, 4 if "quick" in sys.argv else 1000):
        print(json.dumps({"step": step, "of": 3, "loss": 1 / step, "seconds_left": 1}), flush=True)
        print(json.dumps({"stage": "Training", "share": 0.5}), flush=True)
        time.sleep(0.02)
    print(json.dumps({"report": {"minutes": 1}, "folder": "x"}))
"""


@pytest.fixture
def tunes(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "DATA", tmp_path / "data")
    script = tmp_path / "command.py"
    script.write_text(COMMAND)
    return FineTunes([sys.executable, str(script)])


def test_what_the_command_tells(tunes):
    job = tunes.look("data.csv", "mini")
    assert job.wait(60) and job.error is None and job.key == ""
    assert tunes.seen.sentences == ["4 questions."] and tunes.seen.left_out == {"a": "A is bad."}
    job = tunes.begin("quick", "data.csv", "mini", "lora", 2.0)
    assert job.wait(60) and job.result == {"minutes": 1}
    assert tunes.seen.loss == [(1, 1.0), (2, 0.5), (3, 1 / 3)] and job.stage == "Training"
    job = tunes.begin("other", "broken", "mini", "lora", 2.0)
    assert job.wait(60) and job.error == "The sound a is broken."


def test_stopped_and_taken_up(tunes):
    job = tunes.begin("mine", "data.csv", "mini", "full", 4.0)
    while not tunes.seen.loss:
        job.wait(0.05)
    with pytest.raises(BadRequest, match="Another fine-tuning"):
        tunes.look("data.csv", "mini")
    job.stop()
    assert job.wait(60) and job.stopped
    folder = training_folder(own_models.home() / "mine")
    (folder / "plan.json").write_text("{}")  # as the command leaves it
    assert finetunes.stopped() == ["mine"]
    again = tunes.resume("mine")
    again.stop()
    assert again.wait(60) and again.key == "mine"
    assert json.loads((folder / "request.json").read_text())[1:6] == ["data.csv", "--from", "mini", "--out", "mine"]
    tunes.discard("mine")
    assert finetunes.stopped() == []
    with pytest.raises(BadRequest, match="not known"):
        tunes.resume("mine")


def test_the_data_of_a_training_are_deleted_once_it_is_over(tunes):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("questions.csv", "file,question,answer\na.wav,What?,a dog\n")
        file.writestr("a.wav", b"RIFF")
    given = Path(finetunes.unpacked(out.getvalue()))
    assert given.exists() and finetunes.has_data()
    job = tunes.begin("mine", str(given), "mini", "full", 4.0)
    with pytest.raises(BadRequest, match="stop it first"):
        tunes.delete_data()
    job.stop()
    assert job.wait(60) and given.exists()
    tunes.delete_data()
    assert not given.exists() and not finetunes.has_data()


def test_models_are_listed_handed_on_and_deleted(tunes, tmp_path):
    made_model(tmp_path / "parts", {"minutes": 3})
    damaged = own_models.home() / "damaged"
    damaged.mkdir()
    (damaged / "engine.json").write_text("{")
    assert [(name, facts.based_on, facts.notes) for name, facts in finetunes.models()] == [
        ("mine", "mini", {"minutes": 3})
    ]
    with zipfile.ZipFile(io.BytesIO(finetunes.as_zip("mine"))) as file:
        assert file.read("mine/model.safetensors") == b"weights"
    for name in ("mine", "mini", "audio-flamingo-x", "../x", ""):
        with pytest.raises(BadRequest):
            finetunes.check_name(name)
    with pytest.raises(BadRequest, match="answers just now"):
        finetunes.delete("mine", in_use=["mine"])
    finetunes.delete("mine", in_use=["mini"])
    assert own_models.names() == ["damaged"]


def test_a_zip_reaches_no_file_beside_it(tunes, tmp_path):
    (tmp_path / "secret.wav").write_bytes(b"secret")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        rows = [
            "file,question,answer",
            "a/dog-1.wav,What?,a dog",
            f"{tmp_path}/secret.wav,What?,x",
            "../secret.wav,What?,x",
        ]
        file.writestr("top/data.csv", "\n".join(rows))
        file.writestr("top/a/dog-1.wav", b"sound")
        file.writestr("../secret.wav", b"x")
    table = Path(finetunes.unpacked(out.getvalue()))
    items, left_out = data.read(table)
    assert not left_out and [item.shown for item in items] == ["dog-1.wav", "secret.wav", "secret.wav"]
    assert items[0].file.read_bytes() == b"sound" and items[0].source == "a/dog"
    assert not any(item.file.exists() for item in items[1:])
    with pytest.raises(BadRequest, match="holds 0"):
        empty = io.BytesIO()
        with zipfile.ZipFile(empty, "w") as file:
            file.writestr("a.wav", b"x")
        finetunes.unpacked(empty.getvalue())
