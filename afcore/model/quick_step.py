"""The next token of a Llama decoder in 4 bits (`afcore.model.four_bits`), without transformers' modules between: those
take longer for one token than the products do.

Query, key and value are one product, gate and up another. What is added up is float32 throughout; weights, keys and
values are as the modules have them, so both ways give the same up to rounding, and either may go on from the other's
cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from afcore.model.cross_attention import AudioContext, GatedCrossAttention
from afcore.model.four_bits import FEW, PackedEmbedding, PackedLinear

if TYPE_CHECKING:
    from afcore.model.cache import FlamingoCache
    from afcore.model.flamingo import AudioFlamingo

EXACT = 16
"""Likeliest tokens whose logits are computed from the head's rows in float32."""


class _Product:
    """Layers of one input as one product, with their low-rank updates; the layers then share its weights."""

    def __init__(self, *layers: PackedLinear):
        self.packed = torch.cat([layer.packed for layer in layers])
        self.scales = torch.cat([layer.scales for layer in layers], 1)
        start = 0
        for layer in layers:
            layer.packed = self.packed[start : start + layer.out_features]
            start += layer.out_features
        updated = [layer.low is not None for layer in layers]
        self.low = self.high = None
        if any(updated):
            pairs = [
                (layer.low, layer.high)
                if layer.low is not None and layer.high is not None
                else (torch.zeros(0, layer.in_features), torch.zeros(layer.out_features, 0))
                for layer in layers
            ]
            self.low = torch.cat([low for low, _ in pairs])
            self.high = torch.block_diag(*(high for _, high in pairs))

    def __call__(self, x: Tensor) -> Tensor:
        """x (B, in) float32 or bfloat16 → (B, out) float32."""
        out: Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(x.to(torch.bfloat16), self.packed, 32, self.scales)
        if self.low is None or self.high is None:
            return out.float()
        return torch.addmm(out.float(), F.linear(x.float(), self.low), self.high.T)


@dataclass
class _Layer:
    block: GatedCrossAttention | None
    attn_gate: Tensor | None
    ff_gate: Tensor | None
    index: int
    before_attention: Tensor
    query_key_value: _Product
    output: _Product
    before_forward: Tensor
    gate_up: _Product
    down: _Product


class QuickStep:
    """One token for each of a few rows that have read equally much, nothing padded."""

    def __init__(self, model: AudioFlamingo):
        """Raises TypeError for a model whose decoder is no Llama in 4 bits."""
        from transformers import LlamaForCausalLM

        language_model = model.language_model
        if not isinstance(language_model, LlamaForCausalLM):
            raise TypeError("This step is a Llama's.")
        config = language_model.config
        self.eps, self.width = config.rms_norm_eps, config.hidden_size
        self.heads, self.shared = config.num_attention_heads, config.num_key_value_heads
        self.size = getattr(config, "head_dim", None) or self.width // self.heads
        self.layers = [self._layer(layer) for layer in language_model.model.layers]
        self.norm = language_model.model.norm.weight.detach().float()
        self.head = language_model.get_output_embeddings()
        self.table = language_model.get_input_embeddings()
        if not isinstance(self.head, PackedLinear) or not isinstance(self.table, PackedEmbedding):
            raise TypeError("This step needs a head in two planes of 4 bits.")
        rotary = language_model.model.rotary_emb
        self._turns = (rotary.inv_freq.detach().float(), float(rotary.attention_scaling))
        self._rotation = torch.zeros(2, 0, self.size)

    @staticmethod
    def _layer(layer: Any) -> _Layer:
        inner, block = layer.decoder_layer, layer.gated_cross_attn_layer
        attention, forward = inner.self_attn, inner.mlp
        return _Layer(
            block,
            None if block is None else block.attn_gate.detach().float().tanh(),
            None if block is None else block.ff_gate.detach().float().tanh(),
            layer.index,
            inner.input_layernorm.weight.detach().float(),
            _Product(attention.q_proj, attention.k_proj, attention.v_proj),
            _Product(attention.o_proj),
            inner.post_attention_layernorm.weight.detach().float(),
            _Product(forward.gate_proj, forward.up_proj),
            _Product(forward.down_proj),
        )

    def takes(self, ids: Tensor, attention_mask: Tensor | None, cache: FlamingoCache | None) -> bool:
        """Whether these are single tokens of few rows without padding, after something that was read."""
        if cache is None or ids.shape[1] != 1 or len(ids) > FEW or not cache.get_seq_length():
            return False
        return attention_mask is None or bool(attention_mask.all())

    @torch.no_grad()
    def __call__(self, ids: Tensor, context: AudioContext | None, cache: FlamingoCache) -> Tensor:
        """ids (B, 1) → logits of the next token (B, 1, V) float32; the cache has read them then."""
        batch = len(ids)
        cos, sin = self._at(cache.get_seq_length())
        x = self.table.rows(ids[:, 0])
        shape = (self.width,)
        both, split = self.heads + self.shared, self.heads * self.size
        for number, layer in enumerate(self.layers):
            if context is not None and layer.block is not None:
                x = self._hear(x, layer, context)
            out = layer.query_key_value(F.rms_norm(x, shape, layer.before_attention, self.eps))
            turned = out[:, : both * self.size].view(batch, both, self.size)
            turned = torch.addcmul(turned * cos, turned.roll(self.size // 2, -1), sin)
            keys, values = cache.layers[number].update(
                turned[:, self.heads :, None].to(cache_dtype := self.table.dtype),
                out[:, both * self.size :].view(batch, self.shared, 1, self.size).to(cache_dtype),
            )
            # The heads that share a key go as rows of one query, so that each key is read once.
            query = turned[:, : self.heads].reshape(batch, self.shared, -1, self.size).to(cache_dtype)
            heard = F.scaled_dot_product_attention(query, keys, values)
            x = x + layer.output(heard.reshape(batch, split))
            gate, up = layer.gate_up(F.rms_norm(x, shape, layer.before_forward, self.eps)).chunk(2, -1)
            x = x + layer.down(F.silu(gate).mul_(up))
        return self._logits(F.rms_norm(x, shape, self.norm, self.eps))[:, None]

    def _hear(self, x: Tensor, layer: _Layer, context: AudioContext) -> Tensor:
        """The block before a layer, x (B, H)."""
        block, attn = layer.block, layer.block.attn if layer.block is not None else None
        assert block is not None and attn is not None and layer.attn_gate is not None and layer.ff_gate is not None
        keys, values = context.keys_values[layer.index]
        normed = F.layer_norm(x, (self.width,), attn.norm.weight.float(), attn.norm.bias.float(), attn.norm.eps)
        query = attn.to_q(normed).view(len(x), attn.heads, 1, -1).to(keys.dtype)
        taken = F.scaled_dot_product_attention(query, keys, values, attn_mask=context.mask, scale=attn.scale)
        taken = taken.reshape(len(x), -1)
        if context.deaf is not None:
            taken = taken * context.deaf[:, 0]
        x = torch.addcmul(x, layer.attn_gate, attn.to_out(taken.float()))
        norm, wide, act, narrow = block.ff
        assert isinstance(norm, nn.LayerNorm)
        normed = F.layer_norm(x, (self.width,), norm.weight.float(), norm.bias.float(), norm.eps)
        return torch.addcmul(x, layer.ff_gate, narrow(act(wide(normed))))

    def _logits(self, x: Tensor) -> Tensor:
        """x (B, H) → (B, V): of 8-bit rows, the likeliest ones' without rounding on the way."""
        logits = self.head.few(x)
        best = logits.topk(min(EXACT, logits.shape[1]), -1).indices
        rows = self.table.rows(best.flatten()).view(*best.shape, -1)
        return logits.scatter_(1, best, torch.einsum("bkh,bh->bk", rows, x))

    def _at(self, position: int) -> tuple[Tensor, Tensor]:
        """Cosine and sine (size,) of a position, the first half of the sine negative: what is turned is rolled."""
        if position >= self._rotation.shape[1]:
            speeds, scale = self._turns
            angles = torch.arange(2 * position + 64).float()[:, None] * torch.cat([speeds, speeds])
            sign = torch.ones(self.size)
            sign[: self.size // 2] = -1
            self._rotation = torch.stack([angles.cos() * scale, angles.sin() * scale * sign])
        return self._rotation[0, position], self._rotation[1, position]
