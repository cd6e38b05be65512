"""Mini CLAP's vectors: their parts, and how much each counts between sounds and between text and sound."""

import numpy as np
import pytest
import torch

from afcore.clap.mini import TEXT, WORDS, MiniClap, MiniClapNet
from afcore.encoders.mini import EMBEDDING, TAGS


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = MiniClapNet()
    net.keep_names(torch.nn.functional.normalize(torch.randn(TAGS, TEXT) + 0.5, dim=-1))
    return net


def clip(tag: int) -> torch.Tensor:
    """A window in which one class alone is heard."""
    features = torch.full((1, EMBEDDING + TAGS), -20.0)
    features[0, :EMBEDDING] = torch.randn(EMBEDDING, generator=torch.Generator().manual_seed(tag))
    features[0, EMBEDDING + tag] = 20.0
    return features


@pytest.mark.parametrize("weight, words", [(0.8, 0.4), (0.35, 0.7), (1.0, 0.2), (0.5, 0.0)])
def test_both_kinds_of_vector_have_length_one_and_parts_that_count_as_asked(net, weight, words):
    clap = MiniClap(net, weight, words)
    audio, text = clap.shares()
    assert (
        sum(x * x for x in audio) == pytest.approx(1) and sum(x * x for x in text) == pytest.approx(1) and text[0] == 0
    )
    semantic, named = text[1] * audio[1], text[2] * audio[2]
    assert named / (semantic + named) == pytest.approx(words), "between text and sound"
    assert audio[2] ** 2 == pytest.approx(WORDS if words else 0), "between sounds the names hardly count"
    vector = clap.audio_from_features(clip(3))
    assert vector.shape == (clap.width,) and np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_a_class_that_is_heard_is_found_by_its_name_though_nothing_was_trained(net):
    clap = MiniClap(net, 0.8, 1.0)
    sounds = np.stack([clap.audio_from_features(clip(tag)) for tag in range(20)])
    clap.sentences = lambda texts: net.names[[int(text) for text in texts]] + net.names_mean
    assert ((clap.text([str(tag) for tag in range(20)]) @ sounds.T).argmax(1) == np.arange(20)).all()


def test_names_stay_with_the_weights(net):
    again = MiniClapNet()
    again.load_state_dict(net.state_dict())
    assert torch.equal(again.names, net.names) and again.names.norm(dim=-1).allclose(torch.ones(TAGS))
