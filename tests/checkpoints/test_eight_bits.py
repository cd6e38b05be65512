"""Linear layers in 8 bits: what they give beside the unrounded ones, for use alone."""

import copy

import pytest
import torch
from small_models import DECODERS, build, inputs
from torch import nn
from torch.nn import functional as F

from afcore.checkpoints import eight_bits
from afcore.checkpoints.eight_bits import FEW, PIECE, EightBitEmbedding, EightBitLinear, is_rounded, round_
from afcore.model.cache import FlamingoCache


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, FEW - 1, FEW, FEW + 1, 2 * FEW, 100])
@pytest.mark.parametrize("width", [24, PIECE + 8])
def test_a_layer_gives_what_the_unrounded_gives(rows, dtype, width):
    """Within 2 % of the outputs' spread, in the same shape and format, on both sides of every switch."""
    torch.manual_seed(rows)
    layer = nn.Linear(96, width).to(dtype)
    ours = EightBitLinear(layer.weight, layer.bias)
    assert ours.weight.dtype == torch.int8 and ours.scale.dtype == dtype
    with torch.no_grad():
        for shape in ((rows, 96), (1, rows, 96), (rows, 1, 96)):
            x = torch.randn(shape).to(dtype)
            wanted, found = layer(x), ours(x)
            assert found.shape == wanted.shape and found.dtype == wanted.dtype
            assert (found - wanted).abs().max() < 0.06 * wanted.std()
            assert (found - wanted).float().std() < 0.02 * wanted.float().std()


def test_both_products_are_of_the_same_weights():
    """What few rows and many rows give is apart by the rounding of bfloat16 alone."""
    torch.manual_seed(0)
    ours = EightBitLinear(torch.randn(64, 96, dtype=torch.bfloat16))
    x = torch.randn(FEW + 1, 96, dtype=torch.bfloat16)
    exact = F.linear(x.double(), ours.weight.double() * ours.scale.double()[:, None])
    for found in (ours(x), torch.cat([ours(row[None]) for row in x])):
        assert (found - exact).abs().max() < 0.02 * exact.std()


@pytest.mark.parametrize("kind", DECODERS)
def test_a_rounded_model_is_nearly_the_unrounded(kind):
    """Any decoder: the same shapes, logits within 5 % of their spread, a prompt at once as token by token."""
    model = build(kind)
    rounded, batch = round_(copy.deepcopy(model)), inputs(model)
    assert is_rounded(rounded) and not is_rounded(model)
    with torch.no_grad():
        wanted, found = model(**batch).logits, rounded(**batch).logits
        assert found.shape == wanted.shape
        assert (found - wanted).abs().max() < 0.05 * wanted.abs().max()
        cache, ids = FlamingoCache(model.config.text_config), batch.pop("input_ids")
        del batch["attention_mask"]
        steps = [rounded(ids[:, :1], **batch, cache=cache).logits]
        steps += [rounded(ids[:, i : i + 1], cache=cache, use_cache=True).logits for i in range(1, ids.shape[1])]
    assert torch.allclose(torch.cat(steps, 1), found, atol=1e-3)


def test_an_output_head_and_its_table_are_rounded_as_one():
    model = build("llama")
    table = model.get_input_embeddings().weight.clone()
    round_(model)
    embedding = model.language_model.get_input_embeddings()
    assert isinstance(embedding, EightBitEmbedding) and embedding.head is model.get_output_embeddings()
    ids = torch.arange(12).view(3, 4)
    assert (embedding(ids) - table[ids]).abs().max() <= table.abs().max() / 127
    assert not any(name.endswith(("lm_head.weight", "embed_tokens.weight")) for name, _ in model.named_parameters())


def test_rounded_weights_cannot_be_saved_or_trained(tmp_path):
    model = round_(build("llama"))
    with pytest.raises(TypeError, match="for use alone"):
        model.save_pretrained(tmp_path / "model")
    with pytest.raises(TypeError, match="for use alone"):
        model.state_dict()
    trained = {name for name, parameter in model.named_parameters() if parameter.ndim > 1}
    assert not any(part in name for name in trained for part in ("q_proj", "down_proj", "lm_head"))


def test_what_runs_once_a_sound_stays():
    model = round_(build("llama"))
    kept = [name for name, module in model.language_model.named_modules() if type(module) is nn.Linear]
    assert kept and all(name.rpartition(".")[2] in eight_bits.ONCE for name in kept)
