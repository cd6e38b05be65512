"""A Llama decoder in 4 bits (`afcore.model.four_bits`) without transformers' modules between: those take longer for one
token than the products do.

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
from afcore.model.four_bits import FEW, GROUP, PackedEmbedding, PackedLinear

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from afcore.model.cache import FlamingoCache

EXACT = 16
"""Likeliest tokens whose logits are computed from the head's rows in float32."""


class _Product:
    """Layers of one input as one product, with their low-rank updates; the layers then share its weights."""

    def __init__(self, dtype: torch.dtype, *layers: PackedLinear):
        self.dtype = dtype
        self.layers = layers
        self.packed = torch.cat([layer.packed for layer in layers]) if len(layers) > 1 else layers[0].packed
        self.scales = torch.cat([layer.scales for layer in layers], 1) if len(layers) > 1 else layers[0].scales
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
        """x (M, in) float32 → (M, out) float32; many rows are multiplied in ``dtype``."""
        rows = x.to(self.dtype)
        if len(x) <= FEW:
            out: Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(x.bfloat16(), self.packed, GROUP, self.scales)
        else:
            out = torch.cat([layer.many(rows) for layer in self.layers], -1)
        if self.low is None or self.high is None:
            return out.float()
        if len(x) > FEW:
            return out.float() + F.linear(F.linear(rows, self.low.to(self.dtype)), self.high.to(self.dtype))
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
    """Reads text of which nothing is padded."""

    def __init__(self, language_model: PreTrainedModel):
        """``language_model``: of an `AudioFlamingo`. Raises TypeError where it is no Llama in 4 bits."""
        from transformers import LlamaForCausalLM

        if not isinstance(language_model, LlamaForCausalLM):
            raise TypeError("This step is a Llama's.")
        config = language_model.config
        self.eps, self.width = config.rms_norm_eps, int(config.hidden_size)
        self.heads = int(config.num_attention_heads)
        self.shared = int(config.num_key_value_heads or self.heads)
        self.size = getattr(config, "head_dim", None) or self.width // self.heads
        self.norm = language_model.model.norm.weight.detach().float()
        head, table = language_model.get_output_embeddings(), language_model.get_input_embeddings()
        if not isinstance(head, PackedLinear) or not isinstance(table, PackedEmbedding):
            raise TypeError("This step needs a head in two planes of 4 bits.")
        self.head, self.table = head, table
        self.dtype = self.table.dtype
        self.layers = [self._layer(layer, self.dtype) for layer in language_model.model.layers]
        rotary = language_model.model.rotary_emb
        self._turns = (rotary.inv_freq.detach().float(), float(rotary.attention_scaling))
        self._rotation = torch.zeros(2, 0, self.size)

    @staticmethod
    def _layer(layer: Any, dtype: torch.dtype) -> _Layer:
        inner, block = layer.decoder_layer, layer.gated_cross_attn_layer
        attention, forward = inner.self_attn, inner.mlp
        return _Layer(
            block,
            None if block is None else block.attn_gate.detach().float().tanh(),
            None if block is None else block.ff_gate.detach().float().tanh(),
            layer.index,
            inner.input_layernorm.weight.detach().float(),
            _Product(dtype, attention.q_proj, attention.k_proj, attention.v_proj),
            _Product(dtype, attention.o_proj),
            inner.post_attention_layernorm.weight.detach().float(),
            _Product(dtype, forward.gate_proj, forward.up_proj),
            _Product(dtype, forward.down_proj),
        )

    def takes(self, attention_mask: Tensor | None) -> bool:
        """Whether nothing is padded."""
        return attention_mask is None or bool(attention_mask.all())

    @torch.no_grad()
    def __call__(
        self, ids: Tensor, context: AudioContext | None, cache: FlamingoCache, logits_to_keep: int | Tensor = 0
    ) -> Tensor:
        """ids (B, T), what follows what ``cache`` has read → logits (B, T', V) float32 of the last ``logits_to_keep``
        positions, or those indexed (0: all). The cache has read ``ids`` then."""
        (batch, length), known = ids.shape, cache.get_seq_length()
        past: list[Any] = list(cache.layers)
        cos, sin = self._at(known, known + length)
        x = self.table.rows(ids.flatten())
        shape, total, end = (self.width,), self.heads + self.shared, (self.heads + self.shared) * self.size
        may_look = None
        if known and length > 1:
            may_look = torch.ones(length, known + length, dtype=torch.bool).tril(known)
        for number, layer in enumerate(self.layers):
            if context is not None and layer.block is not None:
                x = self._hear(x, layer, layer.block, context, batch)
            out = layer.query_key_value(F.rms_norm(x, shape, layer.before_attention, self.eps))
            turned = out[:, :end].view(batch, length, total, self.size)
            turned = torch.addcmul(turned * cos, turned.roll(self.size // 2, -1), sin).to(self.dtype).transpose(1, 2)
            new = out[:, end:].view(batch, length, self.shared, self.size).to(self.dtype).transpose(1, 2)
            query = turned[:, : self.heads]
            keys, values = past[number].update(turned[:, self.heads :], new)
            if length == 1:  # the heads that share a key go as rows of one query, so that each key is read once
                query = query.reshape(batch, self.shared, -1, self.size)
                heard = F.scaled_dot_product_attention(query, keys, values).reshape(batch, -1)
            else:
                heard = F.scaled_dot_product_attention(
                    query, keys, values, attn_mask=may_look, is_causal=may_look is None, enable_gqa=True
                )
                heard = heard.transpose(1, 2).reshape(batch * length, -1)
            x = x + layer.output(heard)
            gate, up = layer.gate_up(F.rms_norm(x, shape, layer.before_forward, self.eps)).chunk(2, -1)
            x = x + layer.down(F.silu(gate).mul_(up))
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        x = F.rms_norm(x, shape, self.norm, self.eps).view(batch, length, -1)[:, kept]
        return self._logits(x.reshape(-1, self.width)).view(*x.shape[:2], -1)

    def _hear(self, x: Tensor, layer: _Layer, block: GatedCrossAttention, context: AudioContext, batch: int) -> Tensor:
        """The block before a layer, x (B · T, H)."""
        attn = block.attn
        assert layer.attn_gate is not None and layer.ff_gate is not None, "gates of the block"
        keys, values = context.keys_values[layer.index]
        normed = F.layer_norm(x, (self.width,), attn.norm.weight.float(), attn.norm.bias.float(), attn.norm.eps)
        query = attn.to_q(normed.to(keys.dtype)).view(batch, -1, attn.heads, keys.shape[-1]).transpose(1, 2)
        taken = F.scaled_dot_product_attention(query, keys, values, attn_mask=context.mask, scale=attn.scale)
        taken = taken.transpose(1, 2).reshape(len(x), -1)
        if context.deaf is not None:
            taken = taken * context.deaf.reshape(-1, 1)
        x = torch.addcmul(x, layer.attn_gate, attn.to_out(taken).float())
        norm, wide, act, narrow = block.ff
        assert isinstance(norm, nn.LayerNorm), "as the block has it"
        normed = F.layer_norm(x, (self.width,), norm.weight.float(), norm.bias.float(), norm.eps)
        return torch.addcmul(x, layer.ff_gate, narrow(act(wide(normed.to(keys.dtype)))).float())

    def _logits(self, x: Tensor) -> Tensor:
        """x (M, H) → (M, V). Of few rows, the likeliest ones' without rounding on the way."""
        if len(x) > FEW:
            return self.head.many(x.to(self.dtype)).float()
        logits = self.head.few(x)
        best = logits.topk(min(EXACT, logits.shape[1]), -1).indices
        rows = self.table.rows(best.flatten()).view(*best.shape, -1)
        return logits.scatter_(1, best, torch.einsum("bkh,bh->bk", rows, x))

    def _at(self, start: int, end: int) -> tuple[Tensor, Tensor]:
        """Cosine and sine (positions, 1, size) of positions, the first half of the sine negative: what is turned is
        rolled."""
        if end > self._rotation.shape[1]:
            speeds, scale = self._turns
            angles = torch.arange(2 * end).float()[:, None] * torch.cat([speeds, speeds])
            sign = torch.ones(self.size)
            sign[: self.size // 2] = -1
            self._rotation = torch.stack([angles.cos() * scale, angles.sin() * scale * sign])
        cos, sin = self._rotation[:, start:end, None]
        return cos, sin
