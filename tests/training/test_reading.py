"""Names that are read off the words of the tags: where the heads of the first blocks shall look."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_models import AUDIO, Letters, build

from afcore.checkpoints.mini import called
from afcore.corpus.held_out import says_left_out
from afcore.encoders.mini import EMBEDDING, TAGS
from afcore.errors import BadRequest
from afcore.knowledge.table import by_name
from afcore.training.mini.reading import Reading


class Signs(Letters):
    """As many tokens as the small models have, and theirs for `<audio>`."""

    def __len__(self):
        return 96

    def __call__(self, text, **how):
        parts = [super(Signs, self).__call__(part).input_ids for part in text.split("<audio>")]
        return SimpleNamespace(input_ids=[i for n, part in enumerate(parts) for i in [*[AUDIO] * (n > 0), *part]])


@pytest.fixture()
def model():
    sizes = {"tag_tokens": 2, "tag_words": 3, "mask_padded_windows": True}
    return build(
        "llama", feature_width=EMBEDDING + TAGS, front_end="tags", tag_count=TAGS, max_positions=9 * 16 * 10, **sizes
    )


def features_of(clips):
    def features(sample, rng):
        return [clips.of(sound.clip).astype(np.float32) for sound in sample.sounds]

    return features


@pytest.fixture()
def loss(model, maker, clips):
    made = Reading(model.config, samples=4)
    made.prepare(model, Signs(), SimpleNamespace(maker=maker, features=features_of(clips)))
    return made


def test_samples_are_about_one_sound_and_mostly_changed(loss):
    drawn = [loss.draw(np.random.default_rng(n)) for n in range(200)]
    assert all(len(sample.sounds) == 1 and not says_left_out(sample.text) for sample in drawn)
    assert 0.35 < np.mean([bool(sample.sounds[0].changes) for sample in drawn]) < 0.8
    assert loss.draw(np.random.default_rng(3)) == loss.draw(np.random.default_rng(3))


def test_each_audio_token_is_known_by_the_word_that_it_stands_for(loss, model):
    bark, rain = (by_name()[name].index for name in ("Bark", "Rain"))
    features = torch.full((1, 16, EMBEDDING + TAGS), -9.0)
    features[0, 0, EMBEDDING + bark], features[0, 0, EMBEDDING + rain] = 3.0, 2.0
    mask = torch.zeros(1, 16, dtype=torch.bool)
    mask[0, 0] = True
    tokens = loss.tokens({"audio_embeds": features, "audio_mask": mask})[0].tolist()
    assert len(tokens) == model.config.tokens_per_window == 10 and tokens[:4] == [-1] * 4
    for start, index in ((4, bark), (7, rain)):
        spelled = Signs()(" " + called()[index]).input_ids[:3]
        assert tokens[start : start + 3] == [*spelled, *[-1] * (3 - len(spelled))]


def test_heads_come_to_look_at_the_words_that_are_said(loss, model, monkeypatch):
    monkeypatch.setattr("afcore.training.mini.reading.LOOKING", 1.0)
    optimiser, looked = torch.optim.Adam(model.parameters(), 0.01), []
    for step in range(60):
        optimiser.zero_grad()
        loss(model, np.random.default_rng(step % 4)).backward()
        optimiser.step()
        looked.append(loss.seen()["looked"])
    assert np.mean(looked[:3]) < 0.4 and np.mean(looked[-3:]) > 2 * np.mean(looked[:3]), looked
    assert loss.seen() == {} and loss.look(model) == {}
    assert loss.trains("front_end.word_proj.weight") and not loss.trains("language_model.model.norm.weight")


def test_it_wants_words_and_clips_that_are_spoken_about(model):
    with pytest.raises(BadRequest, match="words of its tags"):
        Reading(build("llama").config)
    with pytest.raises(BadRequest, match="spoken about"):
        Reading(model.config).prepare(model, Signs(), SimpleNamespace())
