"""Mini's encoder: a sound is heard alike with and without padding and in any company, by weights in 8-bit rows."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from afcore.checkpoints.rows import packed
from afcore.encoders.mini import EMBEDDING, RATE, SHORTEST, TAGS, MiniEncoder, MiniEncoderNet

LABELS = [f"class {i}" for i in range(TAGS)]


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    net = MiniEncoderNet(1.0)
    for module in net.modules():  # so that what comes out has a size that differences show in
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return MiniEncoder(net, LABELS)


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal(round(seconds * RATE)).astype(np.float32)
    return x / np.abs(x).max()


@pytest.mark.parametrize("seconds", [1.0, 1.003, 2.37, 6.99])
def test_padding_is_not_heard(encoder, seconds):
    x = noise(seconds)
    windows, valid = np.zeros((1, encoder.plan.window), np.float32), np.array([len(x)])
    windows[0, : len(x)] = x
    alone = encoder.hear(torch.from_numpy(x)[None])
    assert torch.allclose(encoder.embed_windows(windows, valid), alone, atol=1e-4)
    windows[0, len(x) :] = 1.0  # whatever stands beyond what is valid
    assert torch.allclose(encoder.embed_windows(windows, valid), alone, atol=1e-4)
    assert torch.allclose(encoder.embed(x), alone, atol=1e-4)


def test_less_than_a_second_is_heard_with_silence_up_to_one(encoder):
    x = noise(0.2)
    filled = np.pad(x, (0, SHORTEST - len(x)))
    assert torch.allclose(encoder.embed(x), encoder.hear(torch.from_numpy(filled)[None]), atol=1e-4)
    assert torch.isfinite(encoder.embed(np.zeros(10, np.float32))).all()


def test_company_changes_nothing(encoder):
    clips = [noise(s, k) / (k + 1) for k, s in enumerate((7.0, 0.5, 3.1, 7.0, 3.1, 0.5))]
    windows, valid = np.zeros((6, encoder.plan.window), np.float32), np.array([len(x) for x in clips])
    for row, x in zip(windows, clips, strict=True):
        row[: len(x)] = x
    together = encoder.embed_windows(windows, valid)
    for i, x in enumerate(clips):
        assert torch.allclose(together[i], encoder.embed(x)[0], atol=1e-4)
    assert not torch.allclose(together[0], together[3], atol=1e-2)


def test_clips_of_unequal_length_are_heard_together_as_alone(encoder, monkeypatch):
    """Each within a ten-thousandth of what it is alone, in as few passes as there is room for."""
    clips = [noise(s, k) / (k + 1) for k, s in enumerate((1.31, 0.2, 2.2, 9.5, 1.003, 2.17, 1.0, 6.99, 1.9))]
    alone = [encoder.embed(x) for x in clips]
    passes, net = [], encoder.net.forward
    monkeypatch.setattr(encoder.net, "forward", lambda mel, *more: passes.append(len(mel)) or net(mel, *more))
    together = encoder.embed_many(clips)
    assert passes == [1, 1, 1, 1, 3, 4], "nine clips, one of them of three windows, at most 8 s at once"
    for own, other in zip(alone, together, strict=True):
        assert own.shape == other.shape
        assert torch.allclose(own, other, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(together[0][0], together[8][0], atol=1e-2)


def test_a_long_clip_has_a_window_every_hop(encoder):
    x = noise(9.5)
    features = encoder.embed(x)
    assert features.shape == (3, EMBEDDING + TAGS)
    last = x[2 * encoder.plan.hop :]
    assert torch.allclose(features[2], encoder.hear(torch.from_numpy(last)[None])[0], atol=1e-4)
    assert torch.equal(encoder.embedding_of(features), features[:, :EMBEDDING])
    tags = encoder.tags(features)
    assert torch.allclose(tags, features[:, EMBEDDING:].sigmoid().mean(0)) and tags.shape == (TAGS,)


def test_what_is_loaded_is_what_was_stored(encoder, tmp_path):
    torch.manual_seed(1)
    scale, shift = torch.rand(EMBEDDING) + 0.5, torch.randn(EMBEDDING)
    stored = packed(encoder.net.state_dict()) | {"output_scale": scale, "output_shift": shift}
    save_file({k: v.contiguous() for k, v in stored.items()}, tmp_path / "encoder.safetensors")
    (tmp_path / "encoder.json").write_text(json.dumps({"grow": 1.0}))
    (tmp_path / "audioset.json").write_text(json.dumps(LABELS))
    loaded, x = MiniEncoder.load(tmp_path), noise(2.0)
    got, was = loaded.embed(x)[0], encoder.embed(x)[0]
    moved = was[:EMBEDDING] * scale + shift
    assert torch.nn.functional.cosine_similarity(got[:EMBEDDING], moved, 0) > 0.99
    assert np.corrcoef(got[EMBEDDING:], was[EMBEDDING:])[0, 1] > 0.99
    assert loaded.labels == LABELS and loaded.name.startswith("mini-") and loaded.width == 911
