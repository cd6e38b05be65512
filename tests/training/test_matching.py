"""Matching words with sounds before the language model learns to say so."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import EMBEDDING, TAGS, tiny_model, tiny_tokenizer

from afcore.corpus.clips import ClipInfo, ClipSet, write_clips
from afcore.errors import BadRequest
from afcore.training.mini import matching
from afcore.training.mini.facts import Facts
from afcore.training.mini.matching import Matching, Pairs, hidden_at, wordings
from afcore.training.recipe.config import Disturbance

LABELS = ("dog barking", "car horn", "rain", "church bell")


@pytest.fixture
def clips(tmp_path):
    """Eight clips of each label, in training and in validation, that sound like their label; and noise."""
    rng, infos, features = np.random.default_rng(0), [], []
    voice = {label: rng.normal(size=EMBEDDING + TAGS) for label in LABELS}
    for split in ("train", "validation"):
        for label in LABELS:
            for n in range(8):
                infos.append(ClipInfo(label, label, "something else", [label], [], f"{split}{n}", f"{label}{n}", split))
                features.append((voice[label] + 0.1 * rng.normal(size=(1, EMBEDDING + TAGS))).astype(np.float32))
    infos.append(ClipInfo(None, "", None, [], [], "noise", "noise", "train", extra={"noise": "noise"}))
    features.append(np.zeros((1, EMBEDDING + TAGS), np.float32))
    write_clips(tmp_path, infos, features)
    return ClipSet(tmp_path)


def training(clips):
    return np.array([i for i in range(len(clips)) if clips[i].split == "train"])


def test_the_states_are_those_the_first_block_reads_at_the_names():
    tokenizer = tiny_tokenizer()
    model = tiny_model(tokenizer)
    texts = ["is there a dog barking?", "can you hear rain, or a dog?"]
    spans = [[(11, 22)], [(13, 17), (24, 27)]]
    found = hidden_at(model, tokenizer, texts, spans)
    assert [tuple(f.shape) for f in found] == [(1, 2, 48), (2, 2, 48)]
    for text, places, states in zip(texts, spans, found, strict=True):
        ids = tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids
        layers = model.language_model(ids, output_hidden_states=True).hidden_states
        for (_, end), state in zip(
            places, states, strict=True
        ):  # a byte is a token: the last of the name stands at end − 1
            assert torch.allclose(state, layers[1][0, end - 1 : end + 1], atol=1e-5)


def test_every_event_is_named_in_every_kind_of_prompt():
    texts, spans, named = wordings(
        list(LABELS), Facts(np.random.default_rng(0), list(LABELS)), np.random.default_rng(1)
    )
    count = dict.fromkeys(range(len(LABELS)), 0)
    for text, places, events in zip(texts, spans, named, strict=True):
        assert len(places) == len(events)
        for (start, end), e in zip(places, events, strict=True):
            count[e] += 1
            assert LABELS[e].split()[0] in text[start:end]
    assert set(count.values()) == {matching.WORDINGS}
    assert any("OPTIONS:\n - " in text for text in texts) and any("user: Which" in text for text in texts)


def test_an_event_weighs_as_much_present_as_absent_and_is_never_in_what_lacks_it(clips):
    facts = Facts(np.random.default_rng(0), list(LABELS))
    pairs = Pairs(clips, training(clips), list(LABELS), facts)
    rng = np.random.default_rng(2)
    for _ in range(20):
        chosen, event, clip, truth, weight = pairs.draw(rng, 3)
        assert weight.sum() == pytest.approx(1) and weight[truth > 0].sum() == pytest.approx(0.5)
        for e, c, true in zip(event, clip, truth, strict=True):
            assert (clips[int(chosen[c])].label == LABELS[e]) == bool(true)
        assert any(clips[int(i)].extra.get("noise") for i in chosen), "noise lacks everything"
        assert all(clips[int(i)].split == "train" for i in chosen)


def test_a_short_training_tells_present_from_absent_by_the_sound_alone(clips):
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    model = tiny_model(tokenizer)
    matching = Matching(model.config, events=8)
    disturb = Disturbance(dropout=0.1, without_tags=0.15)
    source = SimpleNamespace(clips=clips, ids=training(clips), disturb=disturb)
    with pytest.raises(BadRequest, match="below number 1 left as they are"):
        matching.prepare(model, tokenizer, source)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(matching.trains(name))
    matching.prepare(model, tokenizer, source)
    before = matching.look(model)
    trained = {name: p for name, p in model.named_parameters() if matching.trains(name)}
    assert all(".1.gated_cross_attn_layer." in n or n.startswith(("audio_transformer.", "front_end.")) for n in trained)
    parameters = [*trained.values(), *matching.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=5e-3)
    for step in range(250):
        optimiser.zero_grad()
        matching(model, np.random.default_rng(step)).backward()
        optimiser.step()
    after = matching.look(model)
    assert after["match"] > 0.9 > before["match"], json.dumps([before, after])
    assert after["match_other_audio"] < 0.7, "another clip's audio tells nothing"
