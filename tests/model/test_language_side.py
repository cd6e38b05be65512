"""Making the language side: low-rank updates, labels held out, and what samples ask."""

import numpy as np
import pytest
import torch
from tiny import tiny_model, tiny_tokenizer

from afcore import prompts
from afcore.corpus.clips import ClipInfo, ClipSet, write_clips
from afcore.corpus.held_out import EARLIER_HELD_OUT, HELD_OUT, LAST_HELD_OUT, is_held_out
from afcore.model import lora
from afcore.training.mini.samples import NOTHING, UNKNOWN, SampleMaker

LABELS = {"dog barking": "animals", "car horn": "vehicles", "rain": "nature"}


def clip(label, number=0, **more):
    known = {
        "caption": label or "",
        "category": "something else",
        "events": [label] if label else [],
        "maybe": [],
        "package": f"p{number}",
        "group": f"{label}{number}",
        "split": "train",
        "extra": {"fine": LABELS.get(label)},
    }
    return ClipInfo(label, **known | more)


@pytest.fixture
def maker(tmp_path):
    infos = [clip(label, n) for label in LABELS for n in range(4)]
    infos += [clip("sword clash", n) for n in range(3)]
    write_clips(tmp_path, infos, [np.zeros((1, 4), np.float32)] * len(infos))
    clips = ClipSet(tmp_path)
    ids = np.array([i for i in range(len(clips)) if not is_held_out(clips[i])])
    near = np.array([[j for j in range(len(clips)) if j != i] for i in range(len(clips))])
    return SampleMaker(clips, ids, near)


def test_updates_read_back_give_the_trained_model():
    """Added into the weights (for use) and put into new adapters (to train on)."""
    ids = torch.arange(3, 23)[None]
    trained = tiny_model(tiny_tokenizer())
    before = trained(ids).logits
    lora.add_adapters_(trained, 4, first_layer=1)
    for name, parameter in trained.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.5)
    trained.eval()
    stored, wanted = lora.updates(trained), trained(ids).logits
    assert len(stored) == 2 * 2 * len(lora.PROJECTIONS), "A and B for two of three layers"
    assert (wanted - before).abs().max() > 0.2
    used = tiny_model(tiny_tokenizer())
    lora.load_(used, stored)
    assert torch.allclose(used(ids).logits, wanted, atol=1e-2), "half precision"
    going_on = tiny_model(tiny_tokenizer())
    lora.add_adapters_(going_on, 4, first_layer=1)
    lora.load_(going_on, stored)
    assert torch.allclose(going_on.eval()(ids).logits, wanted, atol=1e-2)
    assert lora.updates(used) == {}


def test_an_update_without_a_place_is_an_error():
    with pytest.raises(KeyError):
        lora.load_(
            tiny_model(tiny_tokenizer()), {"lora.7.q_proj.A": torch.zeros(2, 48), "lora.7.q_proj.B": torch.zeros(48, 2)}
        )


def test_what_names_a_held_out_sound_is_held_out():
    assert len(set(EARLIER_HELD_OUT)) >= 20 and "gunshot" in EARLIER_HELD_OUT
    assert all(is_held_out(clip(label)) for label in EARLIER_HELD_OUT)
    assert set(HELD_OUT) == set(EARLIER_HELD_OUT) & set(LAST_HELD_OUT) and len(HELD_OUT) > 10
    assert is_held_out(clip(None, caption="rain and gunfire")) and is_held_out(
        clip("rain", events=["rain", "machine gun"])
    )
    assert not any(is_held_out(clip(label)) for label in LABELS)


def test_samples_never_say_a_held_out_label(maker):
    drawn = [maker.draw(form, np.random.default_rng(n)) for n in range(200) for form in ("", "shots", "dialogues")]
    said = [sample.text for sample in drawn]
    assert not any("sword" in text for text in said)
    assert any("dog barking" in text for text in said)


def test_questions_about_what_is_not_there_are_refused(maker):
    """An animal is named where there is one, and the question refused where there is none."""
    found = {}
    for _ in range(400):
        for i in maker.ids:
            question, answer, _, _ = maker.about(int(i))
            if "animal" in question:
                found.setdefault(maker.clips[int(i)].label, set()).add(answer)
    assert found["dog barking"] == {"dog barking"}
    assert found["rain"] == found["car horn"] == {"i cannot hear an animal."}


def test_all_ways_of_asking_occur(maker):
    answers = {maker.ask(0)[1] for _ in range(600)}
    assert {"dog barking", UNKNOWN, "yes", "no"} <= answers
    finished = maker.finish(prompts.single(prompts.CAPTION, prompts.CAPTIONING), NOTHING, [0])
    assert finished.answers == [f"{NOTHING}<|endofchunk|><|im_end|>"] and finished.pieces[-1][1]
