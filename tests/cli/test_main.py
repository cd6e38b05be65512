"""The command line on the tiny engine: what is printed, where, and the exit codes."""

import json
from pathlib import Path

import numpy as np
import pytest
from media import chirps, encode
from tiny import RATE, tiny_engine, tone

from afcore import paths
from afcore.audio.recording import from_samples
from afcore.cli import main
from afcore.engine.engine import Engine
from afcore.model.generation import GenerationSettings


class Loads:
    """Stands in for `load_engine`: every model is the tiny one; ``names`` has those asked for."""

    def __init__(self, folder):
        self.folder, self.names = folder, []

    def __call__(self, name, device, progress):
        self.names.append(name)
        return tiny_engine(self.folder)


@pytest.fixture
def loads(tmp_path):
    return Loads(tmp_path)


@pytest.fixture
def sounds(tmp_path):
    """Two sounds, and a PDF between them that says it is one."""
    files = [tmp_path / name for name in ("first.wav", "paper.wav", "second.wav")]
    for file, hz in zip(files, (430, None, 1250), strict=True):
        file.write_bytes(from_samples(tone(hz), RATE, "x").data if hz else b"%PDF-1.4\n")
    return [str(file) for file in files]


def run(capsys, loads, *arguments):
    """Exit code, JSON objects printed, stderr."""
    code = main.main([*arguments, "--json"], loads)
    out, err = capsys.readouterr()
    return code, [json.loads(line) for line in out.splitlines()], err


def test_ask(capsys, loads, sounds):
    code, (data,), err = run(capsys, loads, "ask", sounds[0], "What is it?", "--shots", "4", "--max-tokens", "5")
    assert code == 0 and err == ""
    assert {"answer", "shots", "windows", "prompt", "timings", "model"} <= set(data)
    assert [shot["label"] for shot in data["shots"]][-1] == "horn"  # the nearest stands last
    assert [shot["similarity"] for shot in data["shots"]] == sorted(shot["similarity"] for shot in data["shots"])
    assert data["prompt"].count("<audio>") == 5 and "what is it?" in data["prompt"]
    assert {"decode_audio", "encode", "retrieve", "first_token", "generate"} == set(data["timings"])
    assert data["windows"] == [{"start": 0.0, "end": 2.0}] and data["model"] == "tiny"


def test_a_question_without_a_file_is_asked_in_text_alone(capsys, loads):
    code, (data,), _ = run(capsys, loads, "ask", "Who are you?", "--max-tokens", "3")
    assert code == 0 and data["file"] is None and "<audio>" not in data["prompt"] and "Who are you?" in data["prompt"]
    assert [notice["code"] for notice in data["notices"]] == ["no sound"]
    assert main.main(["ask", "Who are you?", "--shots", "2"], loads) == 2
    assert "neither examples" in capsys.readouterr().err


def test_another_clap_is_asked_of_the_loader_and_the_answer_names_it(capsys, sounds, tmp_path):
    asked = []

    def load(name, device, progress, **more):
        asked.append(more)
        return tiny_engine(tmp_path)

    code, (data,), _ = run(capsys, load, "neighbours", sounds[0], "-k", "1", "--retrieval", "laion")
    assert code == 0 and data["retrieval"] == tiny_engine(tmp_path).clap_name
    run(capsys, load, "search", "a horn", "--retrieval", "mini")
    run(capsys, load, "search", "a horn")
    assert asked == [{"retrieval": "laion"}, {"retrieval": "mini"}, {}]


def test_presets_and_what_is_asked_for_besides(capsys, loads, sounds, monkeypatch):
    seen, ask = [], Engine.ask
    monkeypatch.setattr(
        Engine, "ask", lambda *a, settings, **k: seen.append(settings) or ask(*a, settings=settings, **k)
    )
    for more in (["--preset", "benchmark"], ["--preset", "chat", "--top-k", "7", "--seed", "1"], ["--beams", "2"]):
        assert main.main(["ask", sounds[0], "What?", "--max-tokens", "2", *more], loads) == 0
    assert seen == [
        GenerationSettings(2, num_beams=3),
        GenerationSettings(2, 1.0, 7, 0.95, 1, 1),
        GenerationSettings(2, num_beams=2),
    ]


def test_candidates(capsys, loads, sounds):
    command = ["ask", sounds[0], "What?", "--max-tokens", "4", "--candidates", "4"]
    code, (data,), _ = run(capsys, loads, *command, "--preset", "chat", "--seed", "0")
    similarities = [candidate["similarity"] for candidate in data["candidates"]]
    assert code == 0 and 1 < len(similarities) <= 4 and similarities == sorted(similarities, reverse=True)
    assert data["answer"] == data["candidates"][0]["answer"]
    for more, words in (([], "temperature"), (["--preset", "chat", "--beams", "3"], "beam")):
        code, found, err = run(capsys, loads, *command, *more)
        assert code == 2 and found == [] and words in err


def test_several_files_load_the_model_once_and_a_bad_one_stops_nothing(capsys, loads, sounds):
    code, found, err = run(capsys, loads, "caption", *sounds, "--max-tokens", "3")
    assert code == 1 and loads.names == ["mini"]
    assert [data["file"] for data in found] == sounds and ["error" in data for data in found] == [False, True, False]
    assert "paper.wav" in found[1]["error"]
    assert err.count("\n") == 1 and "paper.wav" in err and err.endswith(".\n")


def test_unusual_sounds_are_answered_with_a_notice_and_unreadable_ones_refused_in_a_sentence(capsys, loads, tmp_path):
    unusual = {
        "short.wav": (encode(chirps(0.01, 16_000), 16_000), "10 ms"),
        "channels.wav": (encode(np.tile(chirps(1.0, 16_000), (8, 1)), 16_000), "8 channels"),
        "low.wav": (encode(chirps(1.0, 4_000), 4_000), "4 kHz"),
        "high.wav": (encode(chirps(0.5, 192_000), 192_000), "192 kHz"),
        "silence.wav": (encode(np.zeros(16_000), 16_000), "silent"),
        "hours.flac": (encode(np.zeros(7200 * 1_000), 1_000, "flac", "flac"), "of 2:00:00 is heard"),
    }
    unreadable = {
        "empty.wav": b"",
        "corrupt.mp3": bytes(range(256)) * 40,
        "nan.wav": encode(np.full(4_000, np.nan), 16_000),
        "paper.wav": b"%PDF-1.7\n1 0 obj\n<< >>\nendobj\n%%EOF\n",
    }
    files = {name: data for name, (data, _) in unusual.items()} | unreadable
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    code, found, err = run(capsys, loads, "caption", *(str(tmp_path / name) for name in files), "--max-tokens", "3")
    assert code == 1 and [Path(data["file"]).name for data in found] == list(files)
    refused = [Path(data["file"]).name for data in found if "error" in data]
    assert refused == list(unreadable)
    found = [data for data in found if "error" not in data]
    for data, (_, words) in zip(found, unusual.values(), strict=True):
        assert words in " ".join(notice["sentence"] for notice in data["notices"])
    assert [name in line for name, line in zip(unreadable, err.splitlines(), strict=True)] == [True] * 4


def test_classify(capsys, loads, sounds):
    code, (data,), _ = run(capsys, loads, "classify", sounds[0], "--labels", "horn, dog bark,hum", "--shots", "2")
    assert code == 0 and set(data["probabilities"]) == {"horn", "dog bark", "hum"}
    assert sum(data["probabilities"].values()) == pytest.approx(1)
    assert data["label"] == max(data["probabilities"], key=data["probabilities"].get) and len(data["shots"]) == 2
    assert [judge["judge"] for judge in data["judges"]] == ["language"] and data["agree"] is True


def test_classify_from_a_folder(capsys, loads, sounds, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "DATA", tmp_path / "data")
    for label, hz in {"big_pump": 350, "small pump": 1300}.items():
        (tmp_path / "mine" / label).mkdir(parents=True)
        (tmp_path / "mine" / label / "1.wav").write_bytes(from_samples(tone(hz), RATE, "x").data)
    code, (data,), _ = run(capsys, loads, "classify", sounds[0], "--bank", str(tmp_path / "mine"), "--shots", "1")
    assert code == 0 and list(data["probabilities"]) == ["big pump", "small pump"]
    assert [shot["label"] for shot in data["shots"]] == ["big pump"]
    assert main.main(["classify", sounds[0], "--bank", str(tmp_path / "nothing")], loads) == 2
    assert "no folder" in capsys.readouterr().err


def test_search_finds_what_fits_a_description(capsys, loads, sounds):
    code, (data,), _ = run(capsys, loads, "search", "a dog barks", "-k", "3")
    assert code == 0 and data["text"] == "a dog barks" and len(data["found"]) == 3
    similar = [shot["similarity"] for shot in data["found"]]
    assert similar == sorted(similar, reverse=True)
    assert main.main(["search", "a dog barks", "-k", "2"], loads) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    code, _, said = run(capsys, loads, "search", " ")
    assert code == 2 and "Traceback" not in said


def test_neighbours(capsys, loads, sounds):
    code, (data,), _ = run(capsys, loads, "neighbours", sounds[2], "-k", "3")
    assert code == 0 and next(shot["label"] for shot in data["shots"]) == "beep" and len(data["shots"]) == 3
    assert main.main(["neighbours", sounds[2], "-k", "2"], loads) == 0
    assert capsys.readouterr().out.splitlines()[0].split()[1] == "beep"


def test_for_people(capsys, loads, sounds):
    assert main.main(["classify", sounds[0], sounds[2], "--labels", "horn,hum"], loads) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{sounds[0]}: \n") and out.count("%") == 4
    assert "4 kHz" in err


def test_from_a_later_second(capsys, loads, tmp_path):
    file = tmp_path / "long.wav"
    file.write_bytes(from_samples(tone(300, 12.0), RATE, "x").data)
    _, (data,), _ = run(capsys, loads, "caption", str(file), "--start", "4", "--max-tokens", "2")
    assert data["windows"] == [{"start": 4.0, "end": 11.0}, {"start": 5.75, "end": 12.0}]
    code, found, err = run(capsys, loads, "caption", str(file), "--start", "40")
    assert code == 1 and "40 s" in found[0]["error"] and "40 s" in err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["classify"], "--labels"),
        (["classify", "--labels", "a,A"], "the same"),
        (["classify", "--labels", ","], "label"),
        (["caption", "--shots", "9"], "at most 8"),
    ],
)
def test_requests_that_cannot_be_met(capsys, loads, sounds, arguments, sentence):
    assert main.main([arguments[0], sounds[0], *arguments[1:]], loads) == 2
    out, err = capsys.readouterr()
    assert out == "" and sentence in err and err.count("\n") <= 2


def test_unknown_things(capsys):
    assert main.main(["get", "nothing"]) == 2
    assert "mini" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--shots", "-1", "0 or more"),
        ("--start", "nan", "0 or more"),
        ("--start", "inf", "0 or more"),
        ("--temperature", "-0.5", "0 or more"),
        ("--top-p", "1.5", "0 to 1"),
        ("--beams", "0", "1 or more"),
        ("--max-tokens", "0", "1 or more"),
        ("--candidates", "three", "invalid int"),
        ("--device", "tpu", "cpu, cuda, mps or xpu"),
    ],
)
def test_numbers_out_of_range_are_refused_before_a_model_is_loaded(capsys, loads, option, value, words):
    with pytest.raises(SystemExit) as error:
        main.main(["caption", "x.wav", f"{option}={value}"], loads)
    assert error.value.code == 2 and words in capsys.readouterr().err and loads.names == []


def test_json_is_utf8_whatever_a_file_is_called(loads, tmp_path):
    import io
    import os
    import sys

    names = ["grün 🐕.wav".encode(), b"caf\xe9.wav", b"two\nlines.wav"]
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes(from_samples(tone(430), RATE, "x").data)
    files = [str(tmp_path / os.fsdecode(name)) for name in names]
    out = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding="latin-1"))
        code = main.main(["caption", *files, "--max-tokens", "2", "--json"], loads)
        rows = [json.loads(line) for line in out.getvalue().decode("utf-8").splitlines()]
    assert code == 0
    assert [Path(row["file"]).name for row in rows] == ["grün 🐕.wav", "caf\\xe9.wav", "two\\nlines.wav"]


def test_silence_is_nothing_to_hear_and_never_a_label(capsys, loads, tmp_path):
    file = tmp_path / "silence.wav"
    file.write_bytes(encode(np.zeros(16_000), 16_000))
    for command in (["classify", str(file), "--labels", "dog,cat"], ["ask", str(file), "What is it?"]):
        code, (row,), _ = run(capsys, loads, *command)
        assert code == 0 and row["label"] is None and row["answer"] == "There is nothing to hear."
        assert "probabilities" not in row and [notice["code"] for notice in row["notices"]] == ["silent"]
    code, (row,), _ = run(capsys, loads, "classify", str(file), "--labels", "dog,cat", "--even-silence")
    assert set(row["probabilities"]) == {"dog", "cat"}


def test_labels_are_quoted_as_in_csv(capsys, loads, sounds):
    code, (row,), _ = run(capsys, loads, "classify", sounds[0], "--labels", 'dog, "bell, small", "a: ""b"""')
    assert code == 0 and list(row["probabilities"]) == ["dog", "bell, small", 'a: "b"']


def test_a_channel_and_a_track_can_be_named(capsys, loads, tmp_path):
    file = tmp_path / "two.wav"
    file.write_bytes(encode(np.stack([np.zeros(16_000), chirps(1.0, 16_000)]), 16_000))
    found = {}
    for rule in ("auto", "one", "2"):
        _, (row,), _ = run(capsys, loads, "caption", str(file), "--max-tokens", "2", "--channels", rule)
        found[rule] = [notice["code"] for notice in row["notices"]]
    assert found == {"auto": ["mix"], "one": ["silent"], "2": ["channel"]}
    code, (row,), _ = run(capsys, loads, "caption", str(file), "--track", "2")
    assert code == 1 and "no sound track 2" in row["error"]


def test_timeline_says_what_is_heard_when_and_where_something_is(capsys, loads, sounds):
    code, (first, refused, second), err = run(capsys, loads, "timeline", *sounds, "--find", "a horn")
    assert code == 1 and "paper.wav" in err and "paper.wav" in refused["error"]
    for data in (first, second):
        assert data["summary"] and data["duration"] == pytest.approx(2.0)
        assert [(window["start"], window["end"]) for window in data["windows"]] == [(0.0, 2.0)]
        assert data["find"] == "a horn" and [place["start"] for place in data["found"]] == [0.0]
        assert "fits" not in data["found"][0]  # measured for mini only
    assert main.main(["timeline", sounds[0], "--find", " "], loads) == 1
    assert "what to look for" in capsys.readouterr().err
