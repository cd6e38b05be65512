"""A folder labelled without the app: as the app does, resumable, with a row for every file; and the same on Ray."""

import importlib.util
import json
import os
import socket
import threading
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pandas
import pyarrow
import pytest
from ray_workers import make_engine_that_dies_once
from tiny import RATE, tiny_engine, tone

from afcore import hashing, paths
from afcore.app.teach_exports import labelled
from afcore.audio.recording import from_samples
from afcore.cli import main
from afcore.engine import ray_cluster
from afcore.errors import BadRequest, MissingPart
from afcore.published import weights
from afcore.teach import batch, ray_batch
from afcore.teach.batch import How, label_folder
from afcore.teach.ingest import add_files
from afcore.teach.loop import Loop
from afcore.teach.schema import Settings
from afcore.teach.store import Store
from afcore.teach.transfer import export_project

HOW = How(Settings("lm-shots", 2))


def wave(hz, seconds=2.0):
    return from_samples(tone(hz, seconds), RATE, "x").data


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return tiny_engine(tmp_path_factory.mktemp("tiny"), bank=False)


@pytest.fixture
def engine(shared, monkeypatch):
    """Counts what it hears."""
    heard, hear = [], shared.hear_many

    def counted(clips, *more):
        heard.extend(clip.name for clip in clips)
        return hear(clips, *more)

    monkeypatch.setattr(shared, "hear_many", counted)
    monkeypatch.setattr(shared, "names", heard, raising=False)
    return shared


@pytest.fixture
def project(tmp_path):
    project = Store(tmp_path / "projects").create("tones", ["low", "high"], "Mara", Settings("lm-shots", 2))
    for label, hertz in {"low": (120, 160), "high": (1300, 1400)}.items():
        add_files(project, [(f"{hz}.wav", wave(hz)) for hz in hertz], "Mara", label)
    return project


@pytest.fixture
def folder(tmp_path):
    """Two sounds, a copy of one, two files that are no sound, and a hidden one, which is left alone."""
    folder = tmp_path / "clips"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "a.wav").write_bytes(wave(130))
    (folder / "deep" / "b.wav").write_bytes(wave(1350))
    (folder / "deep" / "er" / "copy of a.WAV").write_bytes(wave(130))
    (folder / "deep" / "broken.wav").write_bytes(b"%PDF-1.4\n")
    (folder / "notes.txt").write_text("x")
    (folder / ".hidden.wav").write_bytes(wave(500))
    return folder


NAMES = ["a.wav", "deep/b.wav", "deep/broken.wav", "deep/er/copy of a.WAV", "notes.txt"]


def test_every_sound_gets_a_row_and_the_label_of_the_app(engine, project, folder, tmp_path):
    out = tmp_path / "labels.csv"
    rows = label_folder(project, folder, out, lambda: engine, HOW)
    assert [row.file for row in rows] == NAMES
    assert "broken.wav" in rows[2].error and rows[2].error.endswith(".") and rows[2].label is None
    assert rows[3].probabilities == rows[0].probabilities and engine.names.count("a.wav") == 1
    (clip_id,) = add_files(project, [("a.wav", wave(130))], "Mara").clips
    app = Loop(project, engine).predict(project.item(clip_id))
    assert rows[0].probabilities == pytest.approx(app.probabilities, abs=1e-6) and rows[0].label == app.label
    table = pandas.read_csv(out)
    assert table["file"].tolist() == NAMES and table["label"].tolist()[:2] == [row.label for row in rows[:2]]
    assert table["end"].tolist()[0] == 2 and table["by"].tolist()[0] == "lm-shots, k=2"


def test_a_second_run_does_only_what_is_missing(engine, project, folder, tmp_path):
    out = tmp_path / "labels.jsonl"
    first = label_folder(project, folder, out, lambda: engine, HOW)
    engine.names.clear()
    (folder / "new.wav").write_bytes(wave(700))
    (folder / "a.wav").rename(folder / "renamed.wav")
    again = label_folder(project, folder, out, lambda: engine, HOW)
    assert engine.names == ["new.wav"]
    assert {row.file: row.probabilities for row in again if row.sha256 == first[0].sha256} == {
        "renamed.wav": first[0].probabilities,
        "deep/er/copy of a.WAV": first[0].probabilities,
    }
    assert [json.loads(line)["file"] for line in out.read_text().splitlines()] == [row.file for row in again]

    def none():
        raise AssertionError("nothing is to be done")

    assert label_folder(project, folder, out, none, HOW) == again
    engine.names.clear()
    add_files(project, [("900.wav", wave(900))], "Mara", "high")
    label_folder(project, folder, out, lambda: engine, HOW)
    assert {"b.wav", "new.wav"} <= {Path(name).name for name in engine.names}, "the examples are others now"


def test_new_weights_label_everything_afresh(engine, project, folder, tmp_path, monkeypatch):
    mini = tmp_path / "mini"
    mini.mkdir()
    monkeypatch.setattr(paths, "MINI", mini)
    for file, content in (("flamingo.safetensors", b"old"), ("flamingo.safetensors", b"new"), ("config.json", b"{}")):
        (mini / file).write_bytes(content)
        engine.names.clear()
        label_folder(project, folder, tmp_path / "l.csv", lambda: engine, HOW)
        assert {"a.wav", "deep/b.wav"} <= set(engine.names), file
    engine.names.clear()
    (mini / "README.md").write_text("about it")
    (mini / "failures.json").write_text("[]")
    label_folder(project, folder, tmp_path / "l.csv", lambda: engine, HOW)
    assert engine.names == []


def test_a_copy_of_large_weights_counts_as_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "sha256_of_known", partial(hashing.sha256_of_known, whole=1000))
    monkeypatch.setattr(hashing, "PIECE", 10)
    names = []
    for number, content in enumerate((b"abc" * 1000, b"abc" * 1000, b"abd" * 1000, b"abc" * 1001)):
        monkeypatch.setattr(paths, "MINI", tmp_path / str(number))
        paths.MINI.mkdir()
        (paths.MINI / "model.safetensors").write_bytes(content)
        os.utime(paths.MINI / "model.safetensors", (number, number))
        names.append(weights.weights_of("mini"))
    assert names[0] == names[1] and len(set(names)) == 3


def test_what_was_done_before_a_kill_is_kept(engine, project, folder, tmp_path, monkeypatch):
    out = tmp_path / "labels.csv"
    hear = engine.hear_many

    def dies(clips, *more):
        if any(clip.name == "deep/b.wav" for clip in clips):
            raise KeyboardInterrupt
        return hear(clips, *more)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(engine, "hear_many", dies)
        label_folder(project, folder, out, lambda: engine, HOW)
    assert not out.exists()
    notes = tmp_path / "labels.csv.progress.jsonl"
    notes.write_text(notes.read_text() + '{"basis": "x", "sha2')  # a line that a kill cut off
    engine.names.clear()
    rows = label_folder(project, folder, out, lambda: engine, HOW)
    assert engine.names == ["deep/b.wav"] and len(rows) == 5
    engine.names.clear()
    assert label_folder(project, folder, out, lambda: engine, HOW) == rows and engine.names == []


def test_two_runs_at_once_do_not_mix(engine, project, folder, tmp_path):
    out = tmp_path / "labels.csv"
    with (
        batch.Done(tmp_path / "labels.csv.progress.jsonl", "x").opened(),
        pytest.raises(BadRequest, match="Another run"),
    ):
        label_folder(project, folder, out, lambda: engine, HOW)
    assert not out.exists()


def test_long_files_in_segments(engine, project, tmp_path):
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "long.wav").write_bytes(wave(130, 9.0))
    rows = label_folder(project, tmp_path / "clips", tmp_path / "x.csv", lambda: engine, How(HOW.settings, 4.0))
    assert [(row.start, row.end) for row in rows] == [(0, 4), (4, 8), (8, 9)] and len({row.file for row in rows}) == 1


def test_notices_and_silence_are_in_every_row(engine, project, tmp_path):
    clips = tmp_path / "odd"
    (clips / "site A").mkdir(parents=True)
    (clips / "silence.wav").write_bytes(from_samples(np.zeros(RATE, np.float32), RATE).data)
    (clips / "site A" / "one side.wav").write_bytes(
        from_samples(np.stack([np.zeros(RATE), tone(300, 1)], axis=1), RATE).data
    )
    (clips / "site A" / "link").symlink_to(clips / "nowhere")
    rows = label_folder(project, clips, clips / "labels.csv", lambda: engine, HOW)
    assert [row.file for row in rows] == ["silence.wav", "site A/link", "site A/one side.wav"]
    silent, link, one_side = rows
    assert silent.silent and silent.label is None and silent.probability is None and not silent.error
    assert "link to nothing" in link.error
    assert [notice["code"] for notice in one_side.notices] == ["mix", "low_rate"] and one_side.label
    text = (clips / "labels.csv").read_bytes()
    assert text.startswith(b"\xef\xbb\xbffile,") and b"(nothing to hear)" in text and b"mix: The first" in text
    assert label_folder(project, clips, clips / "labels.csv", lambda: engine, HOW) == rows


def test_one_rule_for_channels_holds_for_examples_and_files(engine, project, tmp_path):
    """The same tone on the second channel alone: by a rule that hears it, it is the nearest example's sound."""
    clips, how = tmp_path / "sides", How(Settings("clap-nn", channels=2))
    clips.mkdir()

    def second(hz):
        return from_samples(np.stack([tone(700, 1), tone(hz, 1)], axis=1), RATE).data

    for label, hz in (("low", 140), ("high", 1350)):
        add_files(project, [(f"{hz} right.wav", second(hz))], "Mara", label)
        (clips / f"{label}.wav").write_bytes(second(hz + 1))
    (clips / "mono.wav").write_bytes(wave(150))
    rows = label_folder(project, clips, tmp_path / "x.csv", lambda: engine, how)
    assert [(row.file, row.label) for row in rows if not row.error] == [("high.wav", "high"), ("low.wav", "low")]
    assert "no channel 2" in rows[2].error and [n["code"] for n in rows[0].notices] == ["channel", "low_rate"]
    project.set_settings(replace(project.settings, channels=2), "Mara")
    [item] = [clip for clip in project.items() if clip.name == "140 right.wav"]
    prediction = Loop(project, engine).predict(item, "clap-nn")
    assert prediction.label == "high", "its own sound is no example for it"
    with pytest.raises(BadRequest, match="auto, one, mix"):
        project.set_settings(replace(project.settings, channels="left"), "Mara")


def test_what_is_silent_by_one_rule_may_be_heard_by_another(engine, project):
    apart = from_samples(np.stack([tone(140, 1), np.zeros(RATE)], axis=1), RATE).data
    project.set_settings(replace(project.settings, channels=2), "Mara")
    [clip_id] = add_files(project, [("left.wav", apart)], "Mara").clips
    Loop(project, engine).embed()
    assert "nothing to hear" in project.item(clip_id).fault and project.item(clip_id).silent
    [row] = [row for row in labelled(project, guesses=True) if row.file == "left.wav"]
    assert row.silent and row.label_text == "(nothing to hear)" and not row.error
    project.set_settings(replace(project.settings, channels="auto"), "Mara")
    Loop(project, engine).embed()
    item = project.item(clip_id)
    assert item.fault is None and not item.silent and [n.code for n in item.notices] == ["low_rate"]


def test_silence_gets_a_label_where_that_is_asked_for(engine, project, tmp_path):
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "still.wav").write_bytes(from_samples(np.zeros(RATE, np.float32), RATE).data)
    how = How(HOW.settings, even_silence=True)
    [row] = label_folder(project, tmp_path / "odd", tmp_path / "x.csv", lambda: engine, how)
    assert row.label in ("low", "high") and not row.silent and row.notices[0]["code"] == "silent"


def test_another_padding_labels_everything_afresh(engine, project, folder, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(type(engine), "use_padding", lambda self, way: asked.append(way))
    plain, padded = (How(project.settings, padding=padding) for padding in (None, "benchmark"))
    for how in (plain, padded, padded):
        label_folder(project, folder, tmp_path / "l.csv", lambda: engine, how)
    assert asked == ["benchmark"], "the second run with it had nothing to do"
    assert batch.basis_of(project, plain, "tiny") != batch.basis_of(project, padded, "tiny")


def test_a_model_without_paddings_says_so(engine, project, folder, tmp_path):
    with pytest.raises(BadRequest, match="only the published models pad"):
        label_folder(project, folder, tmp_path / "l.csv", lambda: engine, How(project.settings, padding="benchmark"))


def test_unsure_clips_are_none_of_these(engine, project, folder, tmp_path):
    how = How(Settings("clap-nn", reject_below=1.0))
    rows = label_folder(project, folder, tmp_path / "x.csv", lambda: engine, how)
    assert (
        [row.label for row in rows if not row.error] == [None] * 3
        and "notes.txt" in rows[4].error
        and rows[0].probability < 1
    )
    assert pandas.read_csv(tmp_path / "x.csv")["label"].tolist()[0] == "(none of these)"


@pytest.mark.parametrize("named", ["tones", "id", "folder", "zip"])
def test_the_command(named, engine, project, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AFCORE_PROJECTS", str(tmp_path / "projects"))
    export_project(project, tmp_path / "tones.zip")
    which = {"tones": "tones", "id": project.id, "folder": str(project.folder), "zip": str(tmp_path / "tones.zip")}[
        named
    ]
    asked = [
        "label",
        which,
        str(folder),
        "--out",
        str(tmp_path / "l.csv"),
        "--shots",
        "1",
        "--json",
        "--channels",
        "one",
    ]
    code = main.main(asked, lambda name, device: engine)
    out, err = capsys.readouterr()
    printed = [json.loads(line) for line in out.splitlines()]
    assert code == 1 and [row["file"] for row in printed] == NAMES and printed[0]["by"] == "lm-shots, k=1"
    assert "broken.wav" in err and "3 of 5 files" in err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["unknown", "clips", "--out", "l.csv"], "no project “unknown”"),
        (["tones", "nowhere", "--out", "l.csv"], "no folder"),
        (["tones", "clips", "--out", "l.xls"], ".csv or .jsonl"),
        (["tones", "clips", "--out", "nowhere/l.csv"], "nowhere"),
        (["tones", "clips", "--out", "l.csv", "--method", "clap-nn", "--shots", "3"], "--shots"),
        (["tones", "clips", "--out", "l.csv", "--shots", "-1"], "1 to"),
    ],
)
def test_requests_that_cannot_be_met(arguments, sentence, project, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AFCORE_PROJECTS", str(tmp_path / "projects"))
    monkeypatch.chdir(tmp_path)
    assert main.main(["label", *arguments]) == 2
    assert sentence in capsys.readouterr().err and not list(tmp_path.glob("l.*"))


def test_without_ray_it_says_what_to_install(engine, project, folder, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(MissingPart, match=r"requirements-ray.lock"):
        label_folder(project, folder, tmp_path / "l.csv", lambda: engine, HOW, ray="local")


def test_parquet_brings_rows_back_and_a_cut_off_file_is_passed_over(tmp_path):
    import pyarrow.parquet as parquet

    from afcore.teach.exports import LabelledSpan

    sure = LabelledSpan("a", 0, 1, "low", 0.75, "x", sha256="1", probabilities={"low": 0.75, "high": 0.25})
    rows = [sure, LabelledSpan("a", 1, 2, None, 0.5, sha256="1")]
    parquet.write_table(ray_batch.to_table(rows, "now"), tmp_path / "1.parquet")
    parquet.write_table(ray_batch.to_table(rows, "now"), tmp_path / "again.parquet")
    bad = [LabelledSpan("b", 0, 0, None, error="no.", sha256="2")]
    parquet.write_table(ray_batch.to_table(bad, "before"), tmp_path / "2.parquet")
    (tmp_path / "3.parquet").write_bytes((tmp_path / "1.parquet").read_bytes()[:-20])
    assert ray_batch.read_parts(tmp_path, "now") == {"1": rows}
    assert list(ray_batch.read_parts(tmp_path, "before")) == ["2"]


@pytest.fixture
def work(engine, project, folder):
    """What a worker of this machine can do."""
    snapshot = ray_batch.Snapshot(batch.prepared(project, engine, HOW.settings), engine.features_name)
    return ray_batch.Work(lambda: engine, snapshot, HOW, "basis", "mini", weights.weights_of("mini"), (folder,))


def test_a_worker_labels_as_this_machine_does(work, engine, project, folder, tmp_path):
    here = label_folder(project, folder, tmp_path / "l.csv", lambda: engine, HOW)
    files = [{"sha256": row.sha256, "name": row.file, "path": str(folder / row.file)} for row in here]
    files.append({"sha256": "0", "name": "gone.wav", "path": str(folder / "gone.wav")})
    rows = ray_batch.Worker(work)(pyarrow.Table.from_pylist(files)).to_pylist()
    assert [(row["file"], row["label"]) for row in rows] == [(row.file, row.label) for row in here]
    assert json.loads(rows[0]["probabilities"]) == pytest.approx(here[0].probabilities, abs=1e-6)


@pytest.mark.parametrize(
    ("lacking", "sentence"),
    [
        (lambda work, away: replace(work, weights="0123456789ab"), "has other weights of mini than this one"),
        (lambda work, away: replace(work, model="audio-flamingo-chat"), "has no weights of audio-flamingo-chat"),
        (lambda work, away: replace(work, folders=(*work.folders, away)), "does not see the folder .*away"),
        (lambda work, away: work.examples.__dict__.update(embedded_by=("x", "y")) or work, "another encoder or CLAP"),
    ],
)
def test_a_worker_that_cannot_give_the_same_refuses(lacking, sentence, work, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "DATA", tmp_path)
    with pytest.raises(MissingPart, match=f"^The machine {socket.gethostname()} of the Ray cluster .*{sentence}.*\\.$"):
        ray_batch.Worker(lacking(work, tmp_path / "away"))


@pytest.fixture
def importable(monkeypatch):
    """Workers find what the tests import."""
    tests = Path(__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tests), str(tests.parent), os.environ.get("PYTHONPATH", "")]))


with_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: requirements-ray.lock"
)


@with_ray
@pytest.mark.parametrize(
    "address", ["127.0.0.1:9", "nowhere.invalid:6379", "foo", "127.0.0.1:x", "ray://127.0.0.1:9", "web", "mute"]
)
def test_an_address_without_a_ray_cluster_is_one_sentence_at_once(
    address, project, folder, tmp_path, monkeypatch, capsys
):
    def never(*_):
        raise AssertionError("no model is loaded before the cluster is found")

    monkeypatch.setenv("AFCORE_PROJECTS", str(tmp_path / "projects"))
    monkeypatch.setattr(ray_cluster, "SECONDS", 0.5)
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:  # "mute": connects and says nothing
        if address == "web":
            threading.Thread(target=server.serve_forever, daemon=True).start()
        asked = f"127.0.0.1:{server.server_port}" if address in ("web", "mute") else address
        code = main.main(["label", "tones", str(folder), "--out", str(tmp_path / "l.csv"), "--ray", asked], never)
        if address == "web":
            server.shutdown()
    [sentence] = capsys.readouterr().err.splitlines()
    assert (
        code == main.MISSING and asked in sentence and "Ray cluster" in sentence and not (tmp_path / "l.csv").exists()
    )


@with_ray
@pytest.mark.parametrize(
    ("raised", "sentence"),
    [
        (
            "Traceback:\n  File x\nafcore.errors.MissingPart: The machine a has no weights.",
            "The machine a has no weights.",
        ),
        ("Traceback:\nModuleNotFoundError: No module named 'afcore'", "cannot import afcore: every machine"),
        ("Traceback:\nOSError: [Errno 28] No space left", r"broke off \(OSError: .* space left\); the same command"),
    ],
)
def test_what_a_worker_raised_is_one_sentence(raised, sentence):
    from ray.exceptions import RayError

    with pytest.raises(MissingPart, match=sentence), ray_cluster.sentences():
        raise RayError(raised)


@with_ray
def test_ray_refuses_workers_with_other_weights(importable, project, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "MINI", tmp_path / "mini")  # in this process alone
    paths.MINI.mkdir()
    (paths.MINI / "flamingo.safetensors").write_bytes(b"new")
    make = partial(make_engine_that_dies_once, str(tmp_path), os.getpid())
    with pytest.raises(
        MissingPart, match=r"^The machine .* has other weights of mini than this one: bring .* up to date.$"
    ):
        label_folder(project, folder, tmp_path / "ray.csv", make, HOW, ray="local")
    assert not (tmp_path / "ray.csv").exists()


@with_ray
def test_ray_gives_the_same_and_loses_nothing_when_a_worker_is_killed(
    importable, engine, project, tmp_path, monkeypatch
):
    clips = tmp_path / "clips"
    clips.mkdir()
    for hz in range(100, 1500, 200):
        (clips / f"{hz}.wav").write_bytes(wave(hz))
    (clips / "broken.wav").write_bytes(b"%PDF-1.4\n")
    local = label_folder(project, clips, tmp_path / "local.csv", lambda: engine, HOW)
    monkeypatch.setattr(ray_batch, "BLOCK", 4)
    make = partial(make_engine_that_dies_once, str(tmp_path), os.getpid())
    spread = label_folder(project, clips, tmp_path / "ray.csv", make, HOW, ray="local")
    assert (tmp_path / "killed").exists(), "a worker was killed on the way"
    assert [(r.file, r.label, bool(r.error)) for r in spread] == [(r.file, r.label, bool(r.error)) for r in local]
    for ours, theirs in zip(local, spread, strict=False):
        assert theirs.probabilities == pytest.approx(ours.probabilities, abs=1e-4)
    assert list((tmp_path / "ray.parquet").rglob("*.parquet"))
