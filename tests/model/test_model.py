"""The model around small decoders: caches, padding, masks, front end, saving."""

import pytest
import torch
from small_models import AUDIO, DECODERS, build, build_mini, inputs
from torch.utils._python_dispatch import TorchDispatchMode

from afcore.errors import BadRequest
from afcore.model import AudioFlamingo
from afcore.model.cache import FlamingoCache


def close(a, b, tolerance=2e-5):
    torch.testing.assert_close(a, b, atol=tolerance, rtol=0)


@torch.inference_mode()
def cached_logits(model, batch, steps):
    """Logits of a prompt fed in pieces of `steps` tokens through one cache."""
    cache, out, start = FlamingoCache(model.config.text_config), [], 0
    audio = {key: batch[key] for key in ("audio_embeds", "audio_mask")}
    for step in steps:
        piece = batch["input_ids"][:, start : start + step]
        out.append(
            model(
                piece,
                attention_mask=batch["attention_mask"][:, : start + step],
                cache=cache,
                use_cache=True,
                **audio,
            ).logits
        )
        start, audio = start + step, {}
    return torch.cat(out, 1)


SHOTS = {
    "zero-shot": ((3,),),
    "shots": ((3, 16, 1, 2),),
    "batch": ((2, 1), (16, 7), (1, 3)),
    "unequal": ((2, 1, 4), (16,), (0, 3)),
}


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("windows", SHOTS.values(), ids=SHOTS)
@pytest.mark.parametrize("pad", [None, "left", "right"])
def test_cached_is_uncached(decoder, windows, pad):
    model = build(decoder)
    batch = inputs(model, windows, pad=pad)
    with torch.inference_mode():
        whole = model(**batch, use_cache=False).logits
    real = batch["attention_mask"].bool()
    for steps in ([1] * 21, [10] + [1] * 11, [4, 9, 8]):
        close(cached_logits(model, batch, steps)[real], whole[real])


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("pad", ["left", "right"])
def test_padding_changes_nothing(decoder, pad):
    model = build(decoder)
    batch = inputs(model, ((2, 1), (16, 7)), pad=pad)
    where = batch["attention_mask"][1].bool()
    alone = {
        "input_ids": batch["input_ids"][1:, where],
        "audio_embeds": batch["audio_embeds"][1:],
        "audio_mask": batch["audio_mask"][1:],
    }
    with torch.inference_mode():
        close(model(**batch).logits[1, where], model(**alone).logits[0])


def test_who_may_look_where():
    """Logits change with an audio exactly from its `<audio>` token on; the first is heard from the start."""
    model = build()
    batch = inputs(model, ((3, 16, 1),))
    with torch.inference_mode():
        logits = model(**batch).logits
        tokens = (batch["input_ids"][0] == AUDIO).nonzero().flatten().tolist()
        for audio, first in enumerate([0, *tokens[1:]]):
            # Through the memory, since the audio transformer mixes windows of all audios.
            cache = FlamingoCache(model.config.text_config)
            cache.audio = model.remember_audio(batch["audio_embeds"], batch["audio_mask"])
            for _, values in cache.audio.keys_values.values():
                values[:, :, cache.audio.audio_index == audio] += 1
            changed = model(batch["input_ids"], cache=cache, use_cache=True).logits
            differs = (changed - logits).abs().amax(-1)[0] > 1e-4
            assert differs.tolist() == [t >= first for t in range(21)]


def test_padded_windows_are_never_looked_at():
    model = build(mask_padded_windows=True)
    batch = inputs(model, ((3, 5), (16, 2)))
    with torch.inference_mode():
        logits = model(**batch).logits
        batch["audio_embeds"][batch["audio_mask"] == 0] = 50.0
        close(model(**batch).logits, logits)


def test_a_sample_of_silence_alone_is_finite():
    """All windows padded: the cross-attention adds nothing, and no other row notices."""
    model = build()
    batch = inputs(model, ((0, 0), (4, 2)))
    with torch.inference_mode():
        logits = model(**batch).logits
        alone = model(**{key: value[1:] for key, value in batch.items()}).logits
    assert logits.isfinite().all()
    close(logits[1:], alone)


def test_windows_left_out_change_nothing():
    """`mask_padded_windows`: absent windows may be left out; the others' tokens come out the same."""
    model = build_mini()
    batch = inputs(model, ((3, 5),))
    with torch.inference_mode():
        few, mask, index = model.encode_audio(batch["audio_embeds"], batch["audio_mask"])
        other = inputs(model, ((16, 16),), seed=2)["audio_embeds"]
        both = torch.cat([batch["audio_embeds"], other])
        every, all_mask, all_index = model.encode_audio(both, torch.cat([batch["audio_mask"], torch.ones(1, 32)]))
    assert few.shape[1] == 8 * 5 and every.shape[1] == 32 * 5 and mask.all()
    close(few[0], every[0, all_mask[0]])
    assert index.tolist() == all_index[all_mask[0]].tolist()


def test_front_end_tokens():
    """Tokens of a window stand side by side, and the strongest tag comes first."""
    model = build_mini()
    features = torch.full((1, 2, 32), -20.0)
    features[..., :12] = torch.randn(12)
    features[0, 0, 12 + 7], features[0, 1, 12 + 4] = 20.0, 20.0
    with torch.inference_mode():
        tokens = model.front_end(features) - model.front_end.type_embedding.repeat(2, 1)
        text = model.front_end.tag_text
        close(tokens[0, 0], tokens[0, 5])
        for window, tag in enumerate((7, 4)):
            close(tokens[0, 5 * window + 1], model.front_end.mean_proj(text[tag]), 1e-3)
            close(tokens[0, 5 * window + 2], model.front_end.tag_proj(text[tag]), 1e-3)


def test_names_are_given_on_word_by_word():
    """After a window's other tokens stand the words of its tags' names, each with the word before it."""
    model = build_mini(tag_words=2)
    features = torch.full((1, 2, 32), -20.0)
    features[0, 0, 12 + 7], features[0, 1, 12 + 4] = 20.0, 20.0
    front = model.front_end
    with torch.inference_mode():
        tokens = front(features)
        assert tokens.shape[1] == 2 * model.config.tokens_per_window == 2 * 11
        for start, tag in ((5, 7), (11 + 5, 4)):
            first, second = front.word_text[tag]
            close(tokens[0, start] - front.word_embedding[0, 0], front.word_proj(first), 1e-3)
            spoken = front.word_proj(second) + front.before_proj(first)
            close(tokens[0, start + 1] - front.word_embedding[0, 1], spoken, 1e-3)
    table = model.get_input_embeddings().weight
    assert front.word_text.std() == pytest.approx(1, abs=0.1)
    front.set_tag_text(model.get_input_embeddings(), [[3]] * 20, [[i, 41] for i in range(20)])
    far = torch.cdist(front.word_text[:, 1], front.word_text[:, 1])
    assert far.max() == 0 and (front.word_text[0, 0] - front.word_text[1, 0]).abs().max() > 0 and len(table) > 41


@pytest.mark.parametrize("decoder", DECODERS)
def test_saving(decoder, tmp_path):
    model = build(decoder)
    batch = inputs(model)
    model.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.bin"))
    again = AudioFlamingo.from_pretrained(tmp_path)
    with torch.inference_mode():
        close(again(**batch).logits, model(**batch).logits, 0)
    half = AudioFlamingo.from_pretrained(tmp_path, dtype=torch.bfloat16)
    with torch.inference_mode():
        logits = half(**batch).logits
    assert logits.dtype == torch.bfloat16
    close(logits.float().softmax(-1), model(**batch).logits.softmax(-1), 0.1)


def test_around_a_loaded_language_model():
    """A decoder that is already there is taken as it is; with closed gates the whole equals it."""
    from transformers import AutoModelForCausalLM

    config = build().config
    torch.manual_seed(5)
    language_model = AutoModelForCausalLM.from_config(config.text_config).eval()
    ids = torch.randint(3, 80, (2, 9))
    with torch.inference_mode():
        alone = language_model(ids).logits
        model = AudioFlamingo(config, language_model).eval()
        batch = inputs(model, ((2,), (3,)), length=9)
        close(model(ids, audio_embeds=batch["audio_embeds"], audio_mask=batch["audio_mask"]).logits, alone)
        close(model(ids).logits, alone)


def test_training_pass():
    """Gradients reach everything that hears and stop at the first cross-attention layer; embeddings may
    be given; the head can be left to the caller."""
    model = build_mini().train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(model.is_audio_parameter(name))
    batch = inputs(model, ((2, 1), (5, 16)), pad="right")
    embeds = model.get_input_embeddings()(batch["input_ids"])
    hidden = model.hidden_states(**batch, inputs_embeds=embeds).last_hidden_state
    logits = model.get_output_embeddings()(hidden)
    out = model(**batch, labels=batch["input_ids"])
    close(logits, out.logits)
    assert out.cache is None
    out.loss.backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert without == []


def test_too_much_audio():
    model = build(max_positions=32)
    with pytest.raises(BadRequest, match="48 audio positions"):
        model(**inputs(model, ((1, 1, 1),)))


def test_audio_twice_is_refused():
    model = build()
    batch = inputs(model)
    cache = model(**batch, use_cache=True).cache
    with pytest.raises(ValueError, match="already holds audio"):
        model(**batch, cache=cache)


class Looks(TorchDispatchMode):
    """Counts how often the program waits for a number: on a GPU each is a wait for the device."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        names = "item", "_local_scalar_dense", "nonzero"
        self.count += any(func is getattr(torch.ops.aten, name).default for name in names)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("silenced", [False, True])
def test_a_token_with_audio_waits_for_the_device_no_more_than_one_without(silenced):
    model = build_mini()
    batch = inputs(model, [[2, 3], [4, 1]])
    cache = FlamingoCache(model.config.text_config)
    token = torch.full((len(batch["input_ids"]), 1), 7)
    looks = []
    with torch.inference_mode():
        cache.audio = model.remember_audio(batch["audio_embeds"], batch["audio_mask"])
        if silenced:
            cache.audio = cache.audio.silenced()
        with Looks() as prompt:
            model(batch["input_ids"], cache=cache)
        for past in (cache, FlamingoCache(model.config.text_config)):
            model(token, cache=past)
            with Looks() as one:
                model(token, cache=past)
            looks.append(one.count)
    assert prompt.count > 0 and looks[0] == looks[1]
