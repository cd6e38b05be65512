"""ClapCap against numbers made with the published code, through its published layout."""

import json

import numpy as np
import pytest
import torch
from golden_cases import CLAPCAP, check_windows, clapcap_seed, fill_module, needs_gpu

from afcore.audio.windows import PUBLISHED, pad_audios
from afcore.checkpoints import CheckpointError
from afcore.encoders.clapcap import ClapCap


@pytest.fixture(scope="module")
def published():
    arrays = fill_module().state_dict(CLAPCAP / "clapcap.keys.json", clapcap_seed())
    return {key: torch.from_numpy(value) for key, value in arrays.items()}


@pytest.fixture(scope="module")
def encoder(published):
    return ClapCap.from_published(published)


def test_published_numbers(encoder):
    check_windows(encoder)


@needs_gpu
def test_published_numbers_on_a_gpu(published):
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # convolutions round to 10 bits otherwise
        check_windows(ClapCap.from_published(published).to("cuda"))


def test_silence_has_one_embedding(encoder):
    """An all-zero window: alone, among others, in a clip, and in the places that padding fills."""
    noise = np.random.RandomState(0).uniform(-1, 1, PUBLISHED.window).astype(np.float32)
    with torch.inference_mode():
        batch = encoder(torch.from_numpy(np.stack([noise, np.zeros_like(noise)])))
    torch.testing.assert_close(batch[1], encoder.silence, atol=1e-5, rtol=0)
    assert (batch[0] - encoder.silence).abs().max() > 0.1
    features, mask = pad_audios([encoder.embed(noise[: PUBLISHED.rate])], encoder.silence, count=4)
    assert mask.sum() == 1 and torch.equal(features[1:], encoder.silence.expand(63, 1024))
    assert torch.equal(encoder.embed(np.zeros(3 * PUBLISHED.rate)), encoder.silence[None])


def test_embeds_a_clip(encoder, monkeypatch):
    """Windows as planned, in order and several at once; those of silence have one embedding, computed once."""
    seen = []

    def forward(self, windows):
        seen.append(len(windows))
        return windows[:, :1024].clone() + 5

    monkeypatch.setattr(ClapCap, "forward", forward)
    encoder.__dict__.pop("silence", None)
    samples = np.random.RandomState(0).uniform(-1, 1, 40 * PUBLISHED.rate).astype(np.float32)
    samples[: 9 * PUBLISHED.rate] = 0
    out, again = encoder.embed(samples), encoder.embed(samples)
    for audios in (1, 4, 8):
        pad_audios([out], encoder.silence, count=audios)
    encoder.__dict__.pop("silence")
    windows, _ = PUBLISHED.cut(samples)
    assert out.shape == (16, 1024) and not windows[:2].any() and windows[2].any()
    assert torch.equal(out, torch.from_numpy(windows[:, :1024]) + 5) and torch.equal(out, again)
    assert seen == [1, 7, 7, 7, 7]


def test_stays_frozen(encoder):
    assert not encoder.train().htsat.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_layouts(published, encoder, tmp_path):
    """What is not `clap.` is ignored, what the encoder computes may be there; anything else is named."""
    keys = json.loads((CLAPCAP / "clapcap.keys.json").read_text())
    extra = {key: torch.zeros(entry["shape"]) for key, entry in keys.items() if key not in published}
    assert any("relative_position_index" in key for key in extra)
    torch.save({"epoch": 3, "model": {**published, **extra, "caption_decoder.x": torch.zeros(1)}}, tmp_path / "c.pth")
    loaded = ClapCap.load(tmp_path / "c.pth").state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in encoder.state_dict().items())
    key = "clap.base.htsat.layers.2.blocks.3.attn.qkv.weight"
    with pytest.raises(CheckpointError, match=r"layers.2.blocks.3.attention.self.query.weight"):
        ClapCap.from_published({k: v for k, v in published.items() if k != key})
    with pytest.raises(CheckpointError, match=r"clap.base.htsat.layers.9.surprise"):
        ClapCap.from_published({**published, "clap.base.htsat.layers.9.surprise": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"norm.weight has shape \(7,\)"):
        ClapCap.from_published({**published, "clap.base.htsat.norm.weight": torch.zeros(7)})


def test_other_files(tmp_path):
    torch.save({"state": {}}, tmp_path / "other.pth")
    (tmp_path / "text.pth").write_text("not weights")
    for name, sentence in (("other.pth", "no “model”"), ("text.pth", "broken"), ("absent.pth", "no file absent.pth")):
        with pytest.raises(CheckpointError, match=sentence):
            ClapCap.load(tmp_path / name)
