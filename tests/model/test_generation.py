"""Answers: streams, beams, candidates, stops, scores, and what is reused between prompts."""

import functools
import math
import threading
from dataclasses import replace
from itertools import islice

import pytest
import torch
from small_models import AUDIO, EOC, build, build_mini, inputs
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from afcore.errors import BadRequest
from afcore.model.generation import (
    PLAUSIBLE,
    PRESETS,
    GenerationSettings,
    answers,
    candidates,
    drawn,
    score_continuations,
    stream,
)
from afcore.model.prompt_cache import PromptCache


@pytest.fixture(scope="module")
def tokenizer():
    """Ids 3 to 88 are bytes, so that text needs several tokens per character beyond ASCII."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    multi = [pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(c)[0][0] for c in " é€"]
    wanted = list(dict.fromkeys("".join(multi) + "".join(a for a in alphabet if a.isascii())))[:86]
    vocab = {
        "<s>": 0,
        "<pad>": 1,
        "</s>": 2,
        **{c: i + 3 for i, c in enumerate(wanted)},
        "x1": 89,
        "<audio>": AUDIO,
        "<|endofchunk|>": EOC,
        "<SEP>": 92,
        "x2": 93,
        "x3": 94,
        "x4": 95,
    }
    core = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens=["<audio>", "<|endofchunk|>", "<SEP>"],
    )


@pytest.fixture(params=["opt", "llama", "mini"])
def model(request):
    return build_mini() if request.param == "mini" else build(request.param)


def one(model, **changes):
    batch = inputs(model, **changes)
    del batch["attention_mask"]
    return batch


def greedy(model, batch, tokenizer, new=12):
    """Token by token without any cache: what everything else must agree with."""
    ids, start = batch["input_ids"], batch["input_ids"].shape[1]
    with torch.inference_mode():
        for _ in range(new):
            logits = model(**{**batch, "input_ids": ids}, use_cache=False).logits
            token = logits[:, -1].argmax(-1)
            if token.item() in (EOC, 2):
                break
            ids = torch.cat([ids, token[:, None]], 1)
    return tokenizer.decode(ids[0, start:], skip_special_tokens=True, clean_up_tokenization_spaces=False)


def force(model, tokens, monkeypatch):
    """Makes the model say `tokens`, whatever it hears, from its next call to `generate` on."""
    said = iter(tokens)
    original = type(model).forward

    @functools.wraps(original)
    def forward(self, *args, **kwargs):
        out = original(self, *args, **kwargs)
        out.logits[:, -1] = -100.0
        out.logits[:, -1, next(said)] = 0.0
        return out

    monkeypatch.setattr(type(model), "forward", forward)


def test_stream_is_greedy(model, tokenizer):
    batch = one(model)
    pieces = list(stream(model, tokenizer, batch, GenerationSettings(max_new_tokens=12)))
    assert "".join(pieces) == greedy(model, batch, tokenizer)


def test_stream_comes_in_pieces_of_whole_characters(tokenizer, monkeypatch):
    model = build()
    text = "a é€b"
    tokens = tokenizer(text, add_special_tokens=False).input_ids
    assert len(tokens) > len(text)
    force(model, [*tokens, EOC, 5, 5], monkeypatch)
    assert list(stream(model, tokenizer, one(model), GenerationSettings())) == list(text)


@pytest.mark.parametrize("end", [EOC, 2])
def test_end_tokens_end_an_answer(end, tokenizer, monkeypatch):
    model = build()
    force(model, [40, 41, end, 42], monkeypatch)
    expected = tokenizer.decode([40, 41])
    assert "".join(stream(model, tokenizer, one(model), GenerationSettings())) == expected


def test_stop(tokenizer, monkeypatch):
    """Stop takes effect at the next token; closing the stream ends the work behind it."""
    model, stop = build(), threading.Event()
    force(model, [40] * 64, monkeypatch)
    pieces = []
    for piece in stream(model, tokenizer, one(model), GenerationSettings(max_new_tokens=60), stop):
        pieces.append(piece)
        stop.set()
    assert len(pieces) < 60
    before = threading.active_count()
    answer = stream(model, tokenizer, one(model), GenerationSettings(max_new_tokens=20))
    assert len(list(islice(answer, 2))) == 2
    answer.close()
    assert threading.active_count() == before


def test_stopped_before_the_first_token(tokenizer):
    stop = threading.Event()
    stop.set()
    model = build()
    assert len("".join(stream(model, tokenizer, one(model), GenerationSettings(), stop))) <= 1
    candidates(model, tokenizer, one(model), GenerationSettings(num_beams=3), 2, stop)


def test_errors_reach_the_reader(tokenizer):
    model = build("opt")
    with pytest.raises(BadRequest, match=r"130 tokens.*128"):
        list(stream(model, tokenizer, one(model, length=130), GenerationSettings()))
    model = build(max_positions=32)
    with pytest.raises(BadRequest, match="48 audio positions"):
        list(stream(model, tokenizer, one(model), GenerationSettings()))


def test_a_prompt_near_the_limit_gets_a_shorter_answer(tokenizer, monkeypatch):
    model = build("opt")
    force(model, [40] * 10, monkeypatch)
    assert len("".join(stream(model, tokenizer, one(model, length=125), GenerationSettings()))) == 3


def test_beams_agree_with_transformers_own_reading(model, tokenizer):
    """One reading of the prompt repeated for the beams, against `generate` reading it once per beam
    and against no cache at all."""
    batch = one(model)
    found = "".join(stream(model, tokenizer, batch, GenerationSettings(max_new_tokens=10, num_beams=3)))
    for use_cache in (True, False):
        out = model.generate(
            **batch,
            num_beams=3,
            max_new_tokens=10,
            do_sample=False,
            use_cache=use_cache,
            eos_token_id=[2, EOC],
            pad_token_id=1,
        )
        text = [token for token in out[0, 21:].tolist() if token not in (1, 2, EOC)]
        assert found == tokenizer.decode(text, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def test_candidates(model, tokenizer):
    batch, settings = one(model), GenerationSettings(max_new_tokens=8, temperature=1.5, top_k=30, top_p=0.95, seed=3)
    state = torch.get_rng_state()
    first = candidates(model, tokenizer, batch, settings, 5)
    assert torch.equal(state, torch.get_rng_state())
    assert len(first) == 5 and len(set(first)) > 1
    assert candidates(model, tokenizer, batch, settings, 5) == first
    assert len(candidates(model, tokenizer, batch, GenerationSettings(num_beams=4, max_new_tokens=5), 3)) == 3
    with pytest.raises(BadRequest, match="temperature"):
        candidates(model, tokenizer, batch, GenerationSettings(), 3)


def test_sampling_is_cut(tokenizer):
    """top_k 1 and a tiny top_p leave only the most likely token; nothing is cut by default."""
    model, batch = build(), None
    batch = one(model)
    best = greedy(model, batch, tokenizer, 8)
    for cut in ({"top_k": 1}, {"top_p": 1e-6}):
        settings = GenerationSettings(max_new_tokens=8, temperature=1.0, seed=1, **cut)
        assert "".join(stream(model, tokenizer, batch, settings)) == best
    hot = GenerationSettings(max_new_tokens=1, temperature=1e4, seed=1)
    said = candidates(model, tokenizer, batch, hot, 600)
    assert len(set(said)) > 70  # a silent top-k of 50, transformers' default, would not reach that


def test_scores(model):
    """One reading of the prompt and a batch, against one whole pass per continuation."""
    batch, continuations = one(model), [[40], [41, 42, 43], [44, 45], [41, 42], [46] * 7] * 4
    scores, counts = score_continuations(model, batch, continuations)
    assert counts.tolist() == [len(c) for c in continuations]
    with torch.inference_mode():
        for score, continuation in zip(scores, continuations, strict=True):
            ids = torch.cat([batch["input_ids"], torch.tensor([continuation])], 1)
            likely = model(**{**batch, "input_ids": ids}, use_cache=False).logits.log_softmax(-1)[0, 20:-1]
            expected = likely.gather(1, torch.tensor(continuation)[:, None]).sum()
            torch.testing.assert_close(score, expected, atol=1e-4, rtol=0)


def test_nothing_to_score():
    model = build()
    for nothing in ([], [[40], []]):
        with pytest.raises(BadRequest):
            score_continuations(model, one(model), nothing)


def test_chat_reads_only_what_is_new(model, tokenizer, monkeypatch):
    """Turn after turn: answers as without reuse, and no token is read twice."""
    lengths = []
    original = type(model)._decoder_inputs

    def spy(self, *args, **kwargs):
        found = original(self, *args, **kwargs)
        lengths.append(found["input_ids"].shape[1])
        return found

    monkeypatch.setattr(type(model), "_decoder_inputs", spy)
    batch, cache, settings = one(model), PromptCache(), GenerationSettings(max_new_tokens=6)
    ids = batch["input_ids"]
    for turn in range(3):
        fresh = "".join(stream(model, tokenizer, {**batch, "input_ids": ids}, settings))
        lengths.clear()
        assert "".join(stream(model, tokenizer, {**batch, "input_ids": ids}, settings, prompt_cache=cache)) == fresh
        assert lengths[0] == (21 if turn == 0 else 9), lengths
        with torch.inference_mode():
            out = model.generate(
                **{**batch, "input_ids": ids}, max_new_tokens=6, do_sample=False, eos_token_id=[2, EOC], pad_token_id=1
            )
        assert out.shape[1] == ids.shape[1] + 6
        ids = torch.cat([out, torch.randint(3, 80, (1, 8), generator=torch.Generator().manual_seed(turn))], 1)
    # Other answers to the same prompt, and scores, need one more token each.
    lengths.clear()
    candidates(
        model,
        tokenizer,
        {**batch, "input_ids": ids},
        GenerationSettings(num_beams=2, max_new_tokens=1),
        2,
        prompt_cache=cache,
    )
    assert lengths == [8, 1]
    lengths.clear()
    score_continuations(model, {**batch, "input_ids": ids}, [[40], [41]], cache)
    assert lengths == [1]


def test_reuse_forgets_other_audio_and_other_models(tokenizer):
    model, cache, settings = build(), PromptCache(), GenerationSettings(max_new_tokens=8)
    batch = one(model)
    other = {**batch, "audio_embeds": batch["audio_embeds"].flip(-1) * 3}
    short = {**batch, "input_ids": batch["input_ids"][:, :-5]}
    early = {**batch, "input_ids": batch["input_ids"].clone()}
    early["input_ids"][0, 5] = 50  # the known beginning ends before the second <audio>
    for some in (batch, early, other, batch, short, batch, {"input_ids": batch["input_ids"]}):
        fresh = "".join(stream(model, tokenizer, some, settings))
        assert "".join(stream(model, tokenizer, some, settings, prompt_cache=cache)) == fresh
    second = build(seed=9)
    assert "".join(stream(second, tokenizer, batch, settings, prompt_cache=cache)) == "".join(
        stream(second, tokenizer, batch, settings)
    )


def test_what_one_model_read_is_nothing_to_another(tokenizer):
    """The same prompt and sound: only the model differs."""
    first, second, cache, settings = build(), build(seed=9), PromptCache(), GenerationSettings(max_new_tokens=8)
    batch = one(first)
    for model, other in ((first, second), (second, first), (first, second)):
        fresh = "".join(stream(model, tokenizer, batch, settings))
        assert "".join(stream(model, tokenizer, batch, settings, prompt_cache=cache)) == fresh
        assert cache.past(model, batch).get_seq_length() == batch["input_ids"].shape[1] - 1
        assert cache.past(other, batch).get_seq_length() == 0


def test_presets():
    assert (PRESETS["benchmark"].num_beams, PRESETS["benchmark"].temperature) == (3, 0)
    assert (PRESETS["foundation"].top_k, PRESETS["foundation"].top_p) == (30, 0.95)
    assert (PRESETS["chat"].top_k, PRESETS["chat"].top_p) == (50, 0.95)


def guided_greedy(model, batch, tokenizer, strength, new=12):
    """Guidance token by token, without any cache."""
    ids, start = batch["input_ids"], batch["input_ids"].shape[1]
    with torch.inference_mode():
        for _ in range(new):
            with_sound, without = (
                torch.log_softmax(model(**{**batch, "input_ids": ids, **changed}, use_cache=False).logits[0, -1], -1)
                for changed in ({}, {"audio_mask": batch["audio_mask"] * 0})
            )
            scores = without + strength * (with_sound - without)
            scores[with_sound < with_sound.max() + math.log(PLAUSIBLE)] = -math.inf
            token = scores.argmax()
            if token.item() in (EOC, 2):
                break
            ids = torch.cat([ids, token[None, None]], 1)
    return tokenizer.decode(ids[0, start:], skip_special_tokens=True, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("strength", [1.0, 1.7, 4.0])
def test_guidance_moves_answers_away_from_what_is_said_without_the_sound(tokenizer, strength):
    model = build("llama")  # which keeps padded windows, so that a deaf reader can be asked without a cache
    batch, settings = one(model), GenerationSettings(max_new_tokens=12, guidance=strength)
    expected = guided_greedy(model, batch, tokenizer, strength)
    assert (expected == greedy(model, batch, tokenizer)) == (strength == 1)
    cache = PromptCache()
    assert "".join(stream(model, tokenizer, batch, settings, prompt_cache=cache)) == expected
    assert "".join(stream(model, tokenizer, batch, settings, prompt_cache=cache)) == expected, "read from what is kept"
    assert answers(model, tokenizer, [batch, batch], settings) == [expected, expected]
    model.config.guidance = strength
    assert "".join(stream(model, tokenizer, batch, replace(settings, guidance=None))) == expected


def test_draws_are_those_of_each_prompt_alone(model, tokenizer):
    """Read together and repeated, each prompt is answered from its own text and sound."""
    batch = one(model)
    short = {**batch, "input_ids": batch["input_ids"][:, :-1]}
    cold = GenerationSettings(max_new_tokens=6, temperature=1e-4, guidance=1.0)  # nothing is left to chance
    both = drawn(model, tokenizer, [batch, short], cold, 3)
    alone = [greedy(model, asked, tokenizer, 6) for asked in (batch, short)]
    said = [
        [tokenizer.decode([t for t in row if t not in (EOC, 2)], clean_up_tokenization_spaces=False) for row in rows]
        for rows in both
    ]
    assert said == [[alone[0]] * 3, [alone[1]] * 3]
    warm = replace(cold, temperature=2.0, seed=4)
    assert drawn(model, tokenizer, [batch], warm, 4) == drawn(model, tokenizer, [batch], warm, 4)
    assert len(set(drawn(model, tokenizer, [batch], warm, 4)[0])) > 1
    for wrong in (GenerationSettings(), replace(cold, guidance=2.0), replace(cold, num_beams=2)):
        with pytest.raises(BadRequest, match="temperature above 0"):
            drawn(model, tokenizer, [batch], wrong, 2)


def test_guided_draws_are_repeatable_and_differ(model, tokenizer):
    settings = GenerationSettings(max_new_tokens=8, temperature=2.0, top_k=20, top_p=0.95, seed=3, guidance=1.5)
    said = candidates(model, tokenizer, one(model), settings, 4)
    assert said == candidates(model, tokenizer, one(model), settings, 4) and len(set(said)) > 1


def test_beams_and_prompts_without_sounds_are_not_guided(model, tokenizer):
    beams = GenerationSettings(max_new_tokens=6, num_beams=2)
    plain = "".join(stream(model, tokenizer, one(model), beams))
    assert "".join(stream(model, tokenizer, one(model), replace(beams, guidance=3.0))) == plain
    text = {"input_ids": one(model)["input_ids"]}
    greedily = GenerationSettings(max_new_tokens=6)
    plain = "".join(stream(model, tokenizer, text, greedily))
    assert "".join(stream(model, tokenizer, text, replace(greedily, guidance=3.0))) == plain
