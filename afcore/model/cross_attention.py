"""Gated cross-attention before a decoder layer, and what it reads.

Paper section 3.3; the module names are the published checkpoint's (`gated_cross_attn_layer.*`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from afcore.model.configuration import AudioFlamingoConfig


@dataclass
class AudioContext:
    """What the cross-attention blocks of one forward pass may read.

    keys_values: per cross-attention layer, keys and values (B, heads, N, head size) of N audio tokens.
    mask: (B, 1, T, N) bool, True where a text position may look at an audio token; None where every
        position may look at every token.
    deaf: (B, T, 1), 0 for text positions that may look at nothing (a sample whose audios are all
        padding), else 1; None where there is no such position.
    """

    keys_values: dict[int, tuple[Tensor, Tensor]]
    mask: Tensor | None
    deaf: Tensor | None


class MaskedCrossAttention(nn.Module):
    """Attention from text to audio tokens, `heads` of `dim_head` whatever the model's width."""

    def __init__(self, config: AudioFlamingoConfig):
        super().__init__()
        width, inner = config.text_config.hidden_size, config.cross_attn_heads * config.cross_attn_dim_head
        self.heads, self.scale = config.cross_attn_heads, config.cross_attn_dim_head**-0.5
        self.norm = nn.LayerNorm(width)
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_kv = nn.Linear(config.audio_width, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, width, bias=False)

    def keys_values(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """audio (B, N, D) -> keys and values, each (B, heads, N, head size)."""
        audio = audio.to(self.to_kv.weight.dtype)  # which may be float16 where what hears is in float32
        keys, values = self.to_kv(audio).unflatten(-1, (2 * self.heads, -1)).transpose(1, 2).chunk(2, 1)
        return keys, values

    def forward(self, x: Tensor, audio: AudioContext, layer: int) -> Tensor:
        """x (B, T, H) -> what text takes from the audio, (B, T, H)."""
        batch, length, _ = x.shape
        keys, values = audio.keys_values[layer]
        q = self.to_q(self.norm(x)).view(batch, length, self.heads, -1).transpose(1, 2)
        out = F.scaled_dot_product_attention(q, keys, values, attn_mask=audio.mask, scale=self.scale)
        out = out.transpose(1, 2).reshape(batch, length, -1)
        if audio.deaf is not None:
            out = out * audio.deaf
        taken: Tensor = self.to_out(out)
        return taken


class GatedCrossAttention(nn.Module):
    """x + tanh(attn_gate)·attn(x, audio), then x + tanh(ff_gate)·ff(x). Both gates start at 0, so
    that an untrained block leaves the language model as it was."""

    def __init__(self, config: AudioFlamingoConfig):
        super().__init__()
        width = config.text_config.hidden_size
        self.attn = MaskedCrossAttention(config)
        self.attn_gate = nn.Parameter(torch.zeros(1))
        self.ff = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, width * config.ff_mult, bias=False),
            nn.GELU(),
            nn.Linear(width * config.ff_mult, width, bias=False),
        )
        self.ff_gate = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, audio: AudioContext, layer: int) -> Tensor:
        x = x + self.attn_gate.tanh().to(x.dtype) * self.attn(x, audio, layer)
        forward: Tensor = self.ff(x)
        return x + self.ff_gate.tanh().to(x.dtype) * forward


class FlamingoLayer(nn.Module):
    """A decoder layer of any language model, with or without a cross-attention block before it.

    It takes the keyword argument `audio_context` out of what the language model hands down to its
    layers; a pass without audio (text alone) runs the language model as it was.
    """

    def __init__(self, decoder_layer: nn.Module, block: GatedCrossAttention | None, index: int):
        super().__init__()
        self.index = index
        self.gated_cross_attn_layer = block
        self.decoder_layer = decoder_layer

    def __getattr__(self, name: str) -> Any:
        # Some language models read attributes of their layers (`attention_type`, for one).
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("decoder_layer"), name)

    def forward(
        self, hidden_states: Tensor, *args: Any, audio_context: AudioContext | None = None, **kwargs: Any
    ) -> Any:
        if audio_context is not None and self.gated_cross_attn_layer is not None:
            hidden_states = self.gated_cross_attn_layer(hidden_states, audio_context, self.index)
        return self.decoder_layer(hidden_states, *args, **kwargs)
