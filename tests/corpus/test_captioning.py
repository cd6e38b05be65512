"""Captions of a folder: drawn once, kept where they fit, taken up again after a kill."""

import importlib.util
import json
import os
import socket
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from media import encode
from tiny import RATE, TONES, tiny_engine, tone

from afcore.cli.main import main
from afcore.corpus.captioning import NOTED, caption_folder
from afcore.corpus.drawn_captions import Drawing
from afcore.corpus.ray_captioning import Work, Worker
from afcore.errors import BadRequest, MissingPart
from afcore.model.generation import GenerationSettings
from afcore.published.weights import weights_of

DRAWN = Drawing(3, GenerationSettings(max_new_tokens=4, temperature=1.0, seed=0))


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "sounds"
    (root / "more").mkdir(parents=True)
    for name, hz in (("a.wav", TONES["hum"]), ("more/b.wav", TONES["beep"])):
        (root / name).write_bytes(encode(tone(hz), RATE))
    (root / "paper.wav").write_bytes(b"%PDF-1.4\n")
    (root / "silent.wav").write_bytes(encode(np.zeros(RATE, np.float32), RATE))
    return root


class Loads:
    """Loads the tiny engine; ``times`` counts how often."""

    def __init__(self, folder):
        self.folder, self.times = folder, 0

    def __call__(self, *_):
        self.times += 1
        return tiny_engine(self.folder)


def test_the_nearest_of_several_captions_is_kept_if_it_is_near_enough(folder, tmp_path):
    rows = {row["file"]: row for row in caption_folder(folder, tmp_path / "c.jsonl", Loads(tmp_path), DRAWN, -1)}
    assert set(rows) == {"a.wav", "more/b.wav", "paper.wav", "silent.wav"}
    best = rows["a.wav"]["candidates"]
    assert rows["a.wav"]["caption"] == best[0]["caption"] and 1 <= len(best) <= 3
    assert [one["similarity"] for one in best] == sorted((one["similarity"] for one in best), reverse=True)
    assert "error" in rows["paper.wav"] and "error" in rows["silent.wav"]
    written = [json.loads(line) for line in (tmp_path / "c.jsonl").read_text().splitlines()]
    assert written == sorted(rows.values(), key=lambda row: row["file"])


def test_another_limit_draws_nothing_anew(folder, tmp_path):
    load, out = Loads(tmp_path), tmp_path / "c.jsonl"
    first = caption_folder(folder, out, load, DRAWN, -1)
    again = caption_folder(folder, out, load, DRAWN, 1)
    assert load.times == 1 and [row.get("candidates") for row in again] == [row.get("candidates") for row in first]
    assert not any(row.get("caption") for row in again)
    caption_folder(folder, out, load, Drawing(2, DRAWN.decoding), -1)
    assert load.times == 2, "another number is drawn anew"


def test_a_run_that_was_killed_goes_on_with_the_same_captions(folder, tmp_path):
    load, out = Loads(tmp_path), tmp_path / "c.jsonl"
    whole = caption_folder(folder, out, load, DRAWN, -1)
    notes = tmp_path / f"c.jsonl{NOTED}"
    lines = notes.read_text().splitlines(keepends=True)
    notes.write_text(lines[0] + lines[1][:30])
    assert caption_folder(folder, out, load, DRAWN, -1) == whole and load.times == 2


def test_what_cannot_be_done_is_said_beforehand(folder, tmp_path):
    with pytest.raises(BadRequest, match=r"ends with \.jsonl"):
        caption_folder(folder, tmp_path / "c.csv", Loads(tmp_path), DRAWN, 0)
    with pytest.raises(BadRequest, match="no folder"):
        caption_folder(tmp_path / "gone", tmp_path / "c.jsonl", Loads(tmp_path), DRAWN, 0)
    with pytest.raises(BadRequest, match="temperature"):
        Drawing(3, GenerationSettings())


def test_the_command_line(folder, tmp_path, capsys):
    arguments = ["caption-folder", str(folder), "--out", str(tmp_path / "c.jsonl"), "--json"]
    code = main([*arguments, "--candidates", "2", "--min-clap", "-1", "--max-tokens", "3"], Loads(tmp_path))
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 1 and len(rows) == 4 and "4 files have a caption" in err and "paper.wav: " in err
    assert len(rows[0]["candidates"]) <= 2 and rows[0]["weights"]


@pytest.fixture
def work(folder, tmp_path):
    """What a worker of this machine can do."""
    return Work(partial(tiny_engine, tmp_path), DRAWN, "mini", weights_of("mini"), folder)


def test_a_worker_draws_what_this_machine_draws(work, folder, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    here = caption_folder(folder, tmp_path / "c.jsonl", Loads(tmp_path), DRAWN, -1)
    asked = [row for row in here if "sha256" in row]
    files = [{"sha256": r["sha256"], "name": r["file"], "path": str(folder / r["file"])} for r in asked]
    records = [json.loads(row["record"]) for row in Worker(work)(pyarrow.Table.from_pylist(files)).to_pylist()]
    assert len(records) == 2 and [r["candidates"] for r in records] == [r["candidates"] for r in asked]


@pytest.mark.parametrize(
    ("lacking", "sentence"),
    [
        ({"weights": "0123456789ab"}, "has other weights of mini than this one"),
        ({"folder": Path("/away")}, "does not see the folder /away"),
    ],
)
def test_a_worker_that_cannot_give_the_same_refuses(lacking, sentence, work):
    with pytest.raises(MissingPart, match=f"^The machine {socket.gethostname()} of the Ray cluster {sentence}"):
        Worker(replace(work, **lacking))


def test_without_ray_it_says_what_to_install_and_writes_what_is_known(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    out = tmp_path / "c.jsonl"
    with pytest.raises(MissingPart, match=r"requirements-ray.lock"):
        caption_folder(folder, out, Loads(tmp_path), DRAWN, -1, ray="local")
    assert out.read_text() == ""


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: requirements-ray.lock")
def test_ray_draws_the_same(folder, tmp_path, monkeypatch):
    tests = Path(__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tests), str(tests.parent), os.environ.get("PYTHONPATH", "")]))
    here = caption_folder(folder, tmp_path / "here.jsonl", Loads(tmp_path), DRAWN, -1)
    seen = []
    make = partial(tiny_engine, tmp_path)
    spread = caption_folder(
        folder, tmp_path / "ray.jsonl", make, DRAWN, -1, progress=lambda *n: seen.append(n), ray="local"
    )
    assert spread == here and seen[-1] == (len(here), len(here))
    never = Loads(tmp_path)
    assert caption_folder(folder, tmp_path / "ray.jsonl", never, DRAWN, -1) == here and never.times == 0
