"""Other audio models: tiny random Qwen2-Audio and Audio Flamingo 3, through their own processors and templates."""

import threading

import numpy as np
import pytest
import torch
from media import encode
from tiny import TinyClap, TinyEncoder, tiny_bank, tone, tone_clip
from tiny_peers import MAKERS, RATE, write

from afcore import prompts
from afcore.engine.engine import Engine
from afcore.engine.loading import load_engine
from afcore.errors import BadRequest, MissingPart
from afcore.model.generation import GenerationSettings
from afcore.published.peers import HearingClap, PeerText, Samples, turns_of

FEW = GenerationSettings(max_new_tokens=5)


@pytest.fixture(params=MAKERS)
def peer(request, tmp_path):
    """An engine of each kind, over tones."""
    model, processor = MAKERS[request.param]()
    text = PeerText(model, processor)
    return Engine(
        f"hf:tiny/{request.param}",
        text,
        Samples(text.rate),
        HearingClap(TinyEncoder(), TinyClap()),
        tiny_bank(tmp_path),
    )


def test_a_peer_answers_hears_and_stops(peer):
    heard = peer.hear(tone_clip(440))
    answer = peer.ask(heard, "What is this?", settings=FEW)
    assert answer.text == peer.ask(heard, "What is this?", settings=FEW).text and answer.model == peer.name
    first, second = (peer.language.inputs(answer.prompt, [peer.hear(tone_clip(hz)).features]) for hz in (440, 1300))
    assert not torch.equal(first["input_features"], second["input_features"]), "it hears what it is given"
    stop = threading.Event()
    stop.set()
    assert len("".join(peer.stream(heard, answer.prompt, FEW, stop))) <= 1
    assert (
        len(peer.candidates(heard, answer.prompt, 2, GenerationSettings(max_new_tokens=3, temperature=1.0, seed=1)))
        <= 2
    )


def test_a_question_without_a_sound_is_answered_too(peer):
    prompt = peer.build_prompt(None, "And now?", history=[("Hello", "Hi.")])
    told = peer.language.messages(prompt)
    assert [one["content"][-1]["text"] for one in told] == ["Hello", "Hi.", "And now?"]
    assert "input_features" not in peer.language.inputs(prompt, [])
    assert isinstance("".join(peer.stream(None, prompt, FEW)), str) and peer.text_notice == ""


def test_beams_give_an_answer_too(peer):
    heard = peer.hear(tone_clip(440))
    found = peer.ask(heard, "What is this?", settings=GenerationSettings(max_new_tokens=4, num_beams=2))
    assert isinstance(found.text, str) and found.timings["generate"] > 0


def test_labels_score_as_the_model_itself_says(peer):
    heard = peer.hear(tone_clip(440))
    prompt = peer.build_prompt(heard, prompts.CLASSIFY, labels=["hum", "beep"])
    scores, counts = peer.language.score(prompt, peer.sounds(heard, prompt), ["hum", "beep"])
    assert counts.tolist() == [3, 4] and (scores < 0).all()
    inputs = peer.language.inputs(prompt, peer.sounds(heard, prompt))
    next_token = peer.language.model(**inputs).logits[0, -1].log_softmax(-1)
    one, _ = peer.language.score(prompt, peer.sounds(heard, prompt), ["h"])
    assert one[0] == pytest.approx(next_token[peer.language.tokenizer("h").input_ids[0]].item(), abs=1e-4)
    assert sum(peer.classify(heard, ["hum", "beep"]).values()) == pytest.approx(1)


def test_examples_are_turns_of_their_own_where_a_model_takes_several_sounds(peer):
    heard = peer.hear(tone_clip(440))
    if peer.max_shots == 0:
        shot = peer.neighbours(heard, 1)
        with pytest.raises(BadRequest, match="at most 0 examples"):
            peer.ask(heard, "What is this?", shot)
        return
    shots = peer.neighbours(heard, 2)
    prompt = peer.build_prompt(heard, prompts.CLASSIFY, shots, labels=["hum", "beep"])
    told = peer.language.messages(prompt)
    assert [message["role"] for message in told] == ["user", "assistant", "user", "assistant", "user"]
    assert all(message["content"][0]["type"] == "audio" for message in told[::2])
    assert told[1]["content"][0]["text"] == shots[0].example.label
    assert told[0]["content"][1]["text"] == "classify this sound." and "OPTIONS:" in told[-1]["content"][1]["text"]
    assert len(peer.language.inputs(prompt, peer.sounds(heard, prompt))["input_features"]) == 3


def test_a_dialogue_has_one_sound_and_its_turns():
    prompt = prompts.chat([("What is it?", "A dog.")], "How often?", kind="peer")
    told = [(turn.question, turn.answer, turn.sound) for turn in turns_of(prompt)]
    assert told == [("What is it?", "A dog.", True), ("How often?", None, False)]
    [alone] = turns_of(prompts.single("what barks?", "audio question answering", kind="peer"))
    assert (alone.question, alone.answer, alone.sound) == ("what barks?", None, True)


def test_samples_are_handed_on_as_they_are():
    wave = tone(440, 2.5, RATE)
    found = Samples(RATE).embed(wave)
    assert found.shape == (3, RATE) and np.array_equal(found.reshape(-1)[: len(wave)].numpy(), wave)


def test_a_folder_is_loaded_by_name_with_mini_for_its_neighbours(tmp_path):
    engine = load_engine(f"hf:{write(tmp_path / 'qwen')}", "cpu", dtype=torch.float32)
    heard = engine.hear_file(encode(tone(440, 1.0, RATE), RATE), "a.wav")
    shots = engine.neighbours(heard, 2)
    assert len(shots) == 2 and engine.clap_name.startswith("mini")
    answer = engine.ask(heard, "What is this?", shots, settings=FEW)
    assert answer.prompt.text.count("<audio>") == 3


def test_what_is_no_model_or_not_here_is_said(tmp_path):
    with pytest.raises(BadRequest, match="hf:OWNER/NAME"):
        load_engine("hf:just a name")
    with pytest.raises(MissingPart, match="get hf:nobody/nothing"):
        load_engine("hf:nobody/nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingPart, match="cannot be loaded"):
        load_engine(f"hf:{tmp_path / 'empty'}")
