"""Weights in 4 bits: what the layers give beside the same weights in float32, and a decoder of them read both ways."""

import copy

import pytest
import torch
from small_models import AUDIO, build, inputs
from torch import nn

from afcore.checkpoints.gguf_blocks import HEAD, LINEAR
from afcore.checkpoints.mini import put_
from afcore.model import four_bits
from afcore.model.cache import FlamingoCache
from afcore.model.flamingo import decoder_layers
from afcore.model.four_bits import FEW, GROUP, PIECE, PackedEmbedding, PackedLinear, half_block, is_packed

pytestmark = pytest.mark.skipif(not half_block(), reason="PyTorch has no quick product with 4-bit weights here")

SIZES = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "intermediate_size": 128,
    "vocab_size": 131,
    "tie_word_embeddings": True,
}


def blocks(rows, width):
    """Codes, scales and minima as a file has them, and the weights that they are."""
    codes = torch.randint(0, 16, (rows, width), dtype=torch.uint8)
    scale = (0.5 + torch.rand(rows, width // GROUP)) / 8 / width**0.5
    least = -scale * (7 + torch.rand_like(scale))
    scale, least = scale.half().float(), least.half().float()
    weight = codes.unflatten(1, (-1, GROUP)) * scale[..., None] + least[..., None]
    return (codes, scale, least), weight.flatten(1)


def rank_two(rows, width):
    return torch.randn(2, width) / width**0.5, torch.randn(rows, 2) / 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("count", [1, FEW, FEW + 1, 50])
@pytest.mark.parametrize("rows", [64, PIECE + 64])
def test_a_layer_gives_what_its_weights_give(rows, count, dtype):
    """Within the rounding of bfloat16, few and many rows, with a low-rank update and without."""
    torch.manual_seed(count)
    parts, weight = blocks(rows, 96)
    layer = PackedLinear(*four_bits.one_plane(*parts), rows, rows=four_bits.table_rows(*parts))
    x = torch.randn(2, count, 96)[:, ::2] if count > 1 else torch.randn(1, 1, 96)
    for update in (None, rank_two(rows, 96)):
        if update:
            layer.add_low_rank(*update)
            weight = weight + update[1] @ update[0]
        found, wanted = layer(x.to(dtype)), x @ weight.T
        assert found.shape == wanted.shape and found.dtype == dtype
        assert (found - wanted).std() < 0.006 * wanted.std()


@pytest.mark.parametrize("count", [1, FEW + 1])
def test_two_planes_are_eight_bits(count):
    torch.manual_seed(0)
    weight = torch.randn(PIECE + 67, 96)
    codes, scale = four_bits.grouped(weight)
    layer = PackedLinear(*four_bits.two_planes(codes, scale), len(weight), 2)
    x = torch.randn(count, 96)
    assert (layer(x) - x @ weight.T).std() < 0.01 * (x @ weight.T).std()
    ids = torch.tensor([[0, 5, 64], [90, 131, len(weight) - 1]])
    assert (PackedEmbedding(layer, torch.float32)(ids) - weight[ids]).abs().max() < 0.01 * weight.abs().max()


def test_widened_rows_are_those_of_the_product():
    parts, weight = blocks(128, 64)
    packed, scales = four_bits.one_plane(*parts)
    ways = [PackedLinear(packed, scales, 128, rows=rows) for rows in (None, four_bits.table_rows(*parts))]
    first, second = (way.widened(0, torch.float32) for way in ways)
    assert (first - weight).abs().max() < 0.01 * weight.abs().max()
    assert (second - weight).abs().max() < 1e-6


@pytest.fixture
def both():
    """A small model in float32 whose weights are 4-bit integers with updates beside, and the same packed."""
    model = build("llama", text_config=SIZES | {"pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 2},
                  cross_attn_dim_head=32)  # fmt: skip
    stored, low_rank = {}, {}
    for number, layer in enumerate(decoder_layers(model.language_model)):
        for parent in layer.decoder_layer.modules():
            for name, linear in parent.named_children():
                if name not in LINEAR.values():
                    continue
                parts, weight = blocks(*linear.weight.shape)
                stored[f"{number}.{name}.packed"], stored[f"{number}.{name}.scales"] = four_bits.one_plane(*parts)
                stored[f"{number}.{name}.rows"] = four_bits.table_rows(*parts)
                if number > 1 and name not in ("k_proj", "up_proj"):
                    a, b = rank_two(*linear.weight.shape)
                    low_rank |= {f"lora.{number}.{name}.A": a, f"lora.{number}.{name}.B": b}
                    weight = weight + b @ a
                linear.weight.data = weight
    table = model.get_input_embeddings().weight
    stored[f"{HEAD}.packed"], stored[f"{HEAD}.scales"] = four_bits.two_planes(*four_bits.grouped(table[:128]))
    return model, put_(copy.deepcopy(model), stored, low_rank)


def near(found, wanted, share=0.03):
    assert found.shape == wanted.shape
    return (found - wanted).std() < share * wanted.std()


def test_a_packed_model_is_nearly_the_one_in_float32(both):
    """A padded batch by its modules; without padding by the quick step: at once, in two parts, token by token."""
    model, packed = both
    assert is_packed(packed) and not is_packed(model)
    batch = inputs(model)
    ids = batch.pop("input_ids")
    padding = batch.pop("attention_mask")
    with torch.inference_mode():
        padded = model(ids, attention_mask=padding, **batch).logits
        assert near(packed(ids, attention_mask=padding, **batch).logits[padding.bool()], padded[padding.bool()])
        wanted = model(ids, **batch).logits
        assert near(packed(ids, **batch).logits, wanted)
        for cuts in ([ids.shape[1]], [3, ids.shape[1] - 3], [1] * ids.shape[1]):
            cache = FlamingoCache(model.config.text_config)
            cache.audio = packed.remember_audio(**batch)
            parts = [packed(part, cache=cache, use_cache=True).logits for part in ids.split(cuts, 1)]
            assert near(torch.cat(parts, 1), wanted)
            assert cache.get_seq_length() == ids.shape[1]


def test_the_quick_step_and_the_modules_share_a_cache(both):
    """Each goes on from what the other read."""
    model, packed = both
    ids = torch.tensor([[2, AUDIO, 7, 8, 9, 10, 11, 12]])
    audio = {k: v[:1, : model.config.max_windows_per_audio] for k, v in inputs(model).items() if k.startswith("audio")}
    quick = packed.quick_step
    with torch.inference_mode():
        wanted = model(ids, **audio).logits[:, -1]
        for order in ((quick, None), (None, quick)):
            cache = FlamingoCache(model.config.text_config)
            cache.audio = packed.remember_audio(**audio)
            for step, part in zip(order, ids.split(4, 1), strict=True):
                packed.quick_step = step
                last = packed(part, cache=cache, use_cache=True, logits_to_keep=1).logits
            assert near(last[:, -1], wanted)


def test_packed_weights_cannot_be_saved(both, tmp_path):
    with pytest.raises(TypeError, match="for use alone"):
        both[1].save_pretrained(tmp_path / "model")
    assert not any(type(module) is nn.Linear for module in decoder_layers(both[1].language_model)[2].modules())
