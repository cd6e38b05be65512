"""A CLAP of transformers from a folder: tiny, random, saved on the spot."""

import json

import numpy as np
import pytest
import torch
from media import chirps
from small_claps import save_clap
from transformers import ClapFeatureExtractor, ClapModel

from afcore.audio.recording import from_samples, normalise
from afcore.checkpoints import CheckpointError
from afcore.clap.folder import FolderClap
from afcore.errors import MissingPart

RATE = 48_000  # Hz


def clip(seconds, seed=0, loud=1.0):
    return from_samples(loud * chirps(seconds, RATE, seed=seed), RATE, "a.wav").clip()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_clap(tmp_path_factory.mktemp("clap"))


def test_vectors_are_those_of_transformers(folder):
    clap = FolderClap(folder)
    sound = clip(2.0)
    model, extractor = ClapModel.from_pretrained(folder).eval(), ClapFeatureExtractor.from_pretrained(folder)
    with torch.inference_mode():
        made = extractor(normalise(sound.samples), sampling_rate=RATE, return_tensors="pt")
        found = model.get_audio_features(**made)
        audio = getattr(found, "pooler_output", found)[0].numpy()
        asked = clap.tokenizer(["a dog barks"], return_tensors="pt")
        found = model.get_text_features(**asked)
        text = getattr(found, "pooler_output", found)[0].numpy()
    np.testing.assert_allclose(clap.audio(sound), audio / np.linalg.norm(audio), atol=1e-5)
    np.testing.assert_allclose(clap.text(["a dog barks", "x"])[0], text / np.linalg.norm(text), atol=1e-5)
    assert clap.width == 16 and clap.text([]).shape == (0, 16) and not clap.reads_features()


def test_the_first_ten_seconds_are_heard_and_loudness_is_not(folder):
    clap, long = FolderClap(folder), clip(14.0)
    first = from_samples(long.samples[: 10 * RATE], RATE, "b.wav").clip()
    np.testing.assert_array_equal(clap.audio(long), clap.audio(long))
    np.testing.assert_allclose(clap.audio(long), clap.audio(first), atol=1e-5)
    np.testing.assert_allclose(clap.audio(clip(2.0, loud=0.05)), clap.audio(clip(2.0)), atol=1e-3)


def test_what_is_no_clap_is_said(folder, tmp_path):
    with pytest.raises(MissingPart, match=r"config\.json is missing"):
        FolderClap(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(MissingPart, match="safetensors alone"):
        FolderClap(other)
    (other / "model.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(CheckpointError, match="no CLAP but “bert”"):
        FolderClap(other)
    (other / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(CheckpointError, match="cannot be read"):
        FolderClap(other)
