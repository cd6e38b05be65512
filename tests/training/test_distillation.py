"""The encoder's training: splits by recording, mixtures by step, exact resume, folding, what ships."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from afcore.checkpoints.rows import packed, unpacked
from afcore.corpus.decoded import splits_of
from afcore.corpus.splits import dropped
from afcore.corpus.teacher import compare
from afcore.encoders.mini import EMBEDDING, TAGS, LogMel, MiniEncoderNet
from afcore.training.mini import distillation, mixtures
from afcore.training.mini.mixtures import Mixtures

RATE = 32_000


def test_what_a_stricter_split_holds_is_dropped_across_sets():
    rng = np.random.default_rng(0)
    one, other = (rng.random(512) < 0.5 for _ in range(2))

    def row(package, path, bits, **more):
        known = {"package": package, "path": path, "seconds": 1.0, "active": 1.0, "peak": 9}
        return known | {"fingerprint": np.packbits(bits).tobytes().hex() + ":900"} | more

    rows = [
        row("scratch", "a.ogg", one),
        row("ss14", "b.ogg", one),  # sounds like the test package's
        row("ss14", "c.ogg", other),
        row("scratch", "d.ogg", rng.random(512) < 0.5, source="https://freesound.org/s/17/"),
        row(
            "ss14", "e.ogg", rng.random(512) < 0.5, source="https://freesound.org/people/x/sounds/17/"
        ),  # the same recording
        row("ss14", "f.ogg", rng.random(512) < 0.5) | {"active": 0.0},
    ]
    assert splits_of(rows) == ["test", "dropped", "train", "test", "dropped", "dropped"]
    assert dropped(["x", "y"], [3, 3], ["train", "validation"]) == [True, False]


@pytest.fixture
def run_folder(tmp_path, monkeypatch):
    """A run of a few steps on a few tones."""
    monkeypatch.setattr(mixtures, "BATCHES", ((1.0, 3), (1.6, 2)))
    monkeypatch.setattr(mixtures, "NOISES", 1)
    monkeypatch.setattr(mixtures, "ROOMS", 2)
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    rng = np.random.default_rng(0)
    tones = [np.sin(2 * np.pi * f * np.arange(int(s * RATE)) / RATE) for f, s in ((300, 0.4), (900, 3.0), (2500, 9.0))]
    pieces = [(x * 9000 + 300 * rng.standard_normal(len(x))).astype(np.int16) for x in tones]
    np.concatenate(pieces).tofile(sounds / "audio.i16")
    lengths = np.array([len(x) for x in pieces])
    folder = tmp_path / "run"
    folder.mkdir()
    np.savez(
        folder / "items.npz",
        folders=json.dumps([str(sounds)]),
        folder=np.zeros(3, int),
        offset=np.cumsum(lengths) - lengths,
        length=lengths,
        weight=np.array([1.0, 2.0, 1.0]),
    )
    held = np.random.default_rng(1).standard_normal((2, 911)).astype(np.float32)
    np.savez(
        folder / "held.npz",
        audio=np.concatenate(pieces[1:]),
        start=np.array([0, RATE]),
        length=np.array([RATE, 2 * RATE]),
        teacher=held,
    )
    counts = {"A": 3, "settle": 2, "L": 2, "hold": 2, "decay": 2, "validate": 100}
    plan = {"seed": 3, "grow": 1.0, "hidden": 520, **counts, "rates": dict.fromkeys("ALB", 1e-3)}
    (folder / "plan.json").write_text(json.dumps(plan))
    return folder


@pytest.fixture
def teacher(monkeypatch):
    """Random weights in the teacher's place."""
    torch.manual_seed(5)
    mel, net = LogMel(), MiniEncoderNet(1.0).eval().requires_grad_(False)
    monkeypatch.setattr(distillation, "folded_teacher", lambda _: (mel, net.to(memory_format=torch.channels_last)))


def test_a_batch_follows_from_seed_stage_and_step_alone(run_folder):
    one, again = (Mixtures(run_folder / "items.npz", 3) for _ in range(2))
    later = one.batch(1, 7)
    again.batch(0, 1)
    assert torch.equal(later, again.batch(1, 7))
    assert not torch.equal(later[:2, :, :, :90], one.batch(1, 8)[:2, :, :, :90])
    assert not torch.equal(later[:2, :, :, :90], one.batch(0, 7)[:2, :, :, :90])
    assert {one.batch(0, k).shape for k in range(20)} == {(3, 1, 128, 100), (2, 1, 128, 160)}


def test_a_stopped_run_goes_on_exactly(run_folder, teacher, tmp_path):
    through, stopped = run_folder, tmp_path / "stopped"
    shutil.copytree(run_folder, stopped)
    run = distillation.Run(through, None)
    run.go()
    for _ in range(20):  # stopped after every single step
        run = distillation.Run(stopped, None)
        if run.stage == "B" and run.step == run.steps():
            break
        fit = run.fit
        run.fit = lambda mel, fit=fit, run=run: (fit(mel), setattr(run, "stopping", True))[0]
        run.go()
    a, b = (torch.load(folder / "last.pt", weights_only=True) for folder in (through, stopped))
    assert (a["stage"], a["step"]) == (b["stage"], b["step"]) == ("B", 4)
    for part in ("net", "average"):
        assert all(torch.equal(a[part][key], b[part][key]) for key in a[part])
    first, late = (torch.load(through / f"after-{stage}.pt", weights_only=True)["average"] for stage in "AL")
    assert (through / "before-decay.pt").exists()
    kept = [key for key in first if torch.equal(first[key], late[key]) and torch.equal(first[key], a["average"][key])]
    parameters = [key for key in first if "running" not in key and "num_batches" not in key]
    assert set(kept) & set(parameters) == {
        key for key in parameters if key.startswith("features.") and int(key.split(".")[1]) < distillation.LATE
    }
    assert all(torch.equal(x, y) for x, y in zip(a["scale"]["blocks"], b["scale"]["blocks"], strict=True))


def test_the_rate_rises_holds_and_falls(run_folder, teacher):
    run = distillation.Run(run_folder, None)
    run.plan |= {"hold": 100, "decay": 100}
    run.stage = "B"
    rates = []
    for run.step in range(201):
        rates.append(run.rate())
    assert rates[0] < rates[59] == rates[100] == pytest.approx(1e-3)
    assert rates[100:] == sorted(rates[100:], reverse=True) and rates[200] == pytest.approx(3e-6)


def test_folded_norms_change_nothing():
    torch.manual_seed(0)
    net = distillation.student(1.0)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_()
    mel = torch.randn(2, 1, 128, 130)
    x = mel
    for layer in net.eval().features[0].conv, net.features[0].norm, net.features[0].act:
        x = layer(x)
    shipped = distillation.folded(net, 1.0)
    with torch.inference_mode():
        assert torch.allclose(net.features[0](mel), x, atol=1e-5)
        assert torch.allclose(shipped(mel), net(mel), rtol=1e-3, atol=1e-3)
    assert shipped(mel).shape == (2, EMBEDDING + TAGS)
    again = MiniEncoderNet(1.0)
    again.load_state_dict(unpacked(packed(shipped.state_dict())))


def test_what_ships_is_unfolded_into_the_network_that_is_fitted():
    torch.manual_seed(0)
    shipped, net, mel = MiniEncoderNet(1.0).eval(), distillation.student(1.0), torch.randn(2, 1, 128, 130)
    distillation.unfold(shipped, net)
    with torch.inference_mode():
        said = shipped(mel)
        assert torch.allclose(net.eval()(mel), said, rtol=1e-3, atol=1e-4)
        assert torch.allclose(distillation.folded(net, 1.0)(mel), said, rtol=1e-3, atol=1e-4)


def test_norms_learn_their_statistics_only_while_they_settle(run_folder, teacher):
    run = distillation.Run(run_folder, None)
    norm = next(m for m in run.net.modules() if isinstance(m, torch.nn.BatchNorm2d))
    batches, seen = Mixtures(run_folder / "items.npz", 3), []
    for step in range(3):
        run.fit(batches.batch(0, step))
        seen.append(norm.running_mean.clone())
    assert not torch.equal(seen[0], seen[1]) and torch.equal(seen[1], seen[2])


def test_a_run_begins_with_what_ships_once_norms_have_settled_and_only_without_a_state(
    run_folder, teacher, tmp_path, monkeypatch
):
    shipped = MiniEncoderNet(1.0, 520).eval()
    monkeypatch.setattr(distillation.MiniEncoder, "load", lambda folder: SimpleNamespace(net=shipped))
    run = distillation.Run(run_folder, None, tmp_path)
    assert (run.stage, run.step, run.settling()) == ("A", 2, False)
    mel = torch.randn(1, 1, 128, 100)
    with torch.inference_mode():
        assert torch.allclose(distillation.folded(run.average, 1.0)(mel), shipped(mel), rtol=1e-3, atol=1e-4)
    run.step = 3
    run.save()
    assert distillation.Run(run_folder, None, tmp_path).step == 3


def test_the_teacher_in_mini_s_classes_says_the_same(monkeypatch):
    from afcore.corpus import teacher as module

    torch.manual_seed(0)
    original = module.Teacher().eval()
    for norm in original.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
    monkeypatch.setattr(module, "load_teacher", lambda _: (module.TeacherMel(), original))
    mel, net = distillation.folded_teacher("anywhere")
    samples = torch.randn(2, 2 * RATE) * 0.1
    with torch.inference_mode():
        assert torch.allclose(mel(samples), module.TeacherMel()(samples), atol=1e-4)
        logits, embedding = original(mel(samples))
        assert torch.allclose(net(mel(samples)), torch.cat([embedding, logits], 1), rtol=1e-3, atol=1e-3)


def test_comparison_with_the_teacher():
    rng = np.random.default_rng(0)
    wanted = rng.standard_normal((50, 911)).astype(np.float32)
    same = compare(wanted * [[2.0]], wanted)
    assert all(v.shape == (50,) and np.allclose(v, 1) for v in same.values())
    other = compare(rng.standard_normal((50, 911)).astype(np.float32), wanted)
    assert other["best"].mean() < 0.1 and abs(other["logits"].mean()) < 0.1 and abs(other["cosine"].mean()) < 0.1
    moved = wanted.copy()  # its best is now the student's second
    moved[:, EMBEDDING + 5] = 99
    found = compare(moved, wanted)
    assert found["best"].mean() < 0.1 and found["three"].mean() == 1
