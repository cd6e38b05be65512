"""The audio representation transformer: all windows of all audios of a sample, together.

Paper section 3.2; the module names are the published checkpoint's (`audio_transformer.*`)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import initialization as init

from afcore.errors import BadRequest
from afcore.model.configuration import AudioFlamingoConfig

EPS = 1e-6  # of every layer norm in this transformer, as published


def sinusoid_table(rows: int, width: int) -> Tensor:
    """(1, rows, width) float32: angle = position / 10000^(2 (j // 2) / width), sine in even columns
    j, cosine in odd ones. In float64 until the end, as the published table was made."""
    column = torch.arange(width, dtype=torch.float64)
    angle = torch.arange(rows, dtype=torch.float64)[:, None] / 10000 ** (2 * (column // 2) / width)
    table = torch.where(column.long() % 2 == 0, angle.sin(), angle.cos())
    return table.float()[None]


class PositionEncoding(nn.Module):
    """The fixed table of positions, added to the windows."""

    pos_table: Tensor

    def __init__(self, rows: int, width: int):
        super().__init__()
        self.rows, self.width = rows, width
        self.register_buffer("pos_table", sinusoid_table(rows, width), persistent=False)

    def reset_(self) -> None:
        """Computes the table again: `from_pretrained` builds the model without values, and no file holds it."""
        init.copy_(self.pos_table, sinusoid_table(self.rows, self.width))

    def forward(self, x: Tensor, positions: Tensor | None) -> Tensor:
        """x (B, N, D) + the table's rows `positions` (N,), or the first N rows."""
        rows = self.pos_table.shape[1]
        last = x.shape[1] - 1 if positions is None else int(positions.max()) if len(positions) else 0
        if last >= rows:
            raise BadRequest(f"{last + 1} audio positions do not fit the {rows} that this model was built with.")
        table = self.pos_table[:, : x.shape[1]] if positions is None else self.pos_table[:, positions]
        return x + table.to(x.dtype)


class SelfAttention(nn.Module):
    """Multi-head attention with its residual and, after that, its layer norm."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.w_qs = nn.Linear(width, width, bias=False)
        self.w_ks = nn.Linear(width, width, bias=False)
        self.w_vs = nn.Linear(width, width, bias=False)
        self.fc = nn.Linear(width, width, bias=False)
        self.layer_norm = nn.LayerNorm(width, eps=EPS)

    def forward(self, x: Tensor, key_mask: Tensor | None) -> Tensor:
        """x (B, N, D); key_mask (B, 1, 1, N) bool, True where a token may be looked at."""
        q, k, v = (w(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for w in (self.w_qs, self.w_ks, self.w_vs))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=key_mask)
        normed: Tensor = self.layer_norm(x + self.fc(out.transpose(1, 2).flatten(2)))
        return normed


class FeedForward(nn.Module):
    """Two linear layers with a ReLU between them, the residual and, after that, a layer norm."""

    def __init__(self, width: int, inner: int):
        super().__init__()
        self.w_1 = nn.Linear(width, inner)
        self.w_2 = nn.Linear(inner, width)
        self.layer_norm = nn.LayerNorm(width, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = self.layer_norm(x + self.w_2(F.relu(self.w_1(x))))
        return normed


class AudioTransformerLayer(nn.Module):
    def __init__(self, config: AudioFlamingoConfig):
        super().__init__()
        self.slf_attn = SelfAttention(config.audio_width, config.audio_heads)
        self.pos_ffn = FeedForward(config.audio_width, config.audio_inner)

    def forward(self, x: Tensor, key_mask: Tensor | None) -> Tensor:
        out: Tensor = self.pos_ffn(self.slf_attn(x, key_mask))
        return out


class AudioTransformer(nn.Module):
    def __init__(self, config: AudioFlamingoConfig):
        super().__init__()
        self.scale = config.audio_width**0.5
        self.position_enc = PositionEncoding(config.max_positions, config.audio_width)
        self.layer_norm = nn.LayerNorm(config.audio_width, eps=EPS)
        self.layer_stack = nn.ModuleList(AudioTransformerLayer(config) for _ in range(config.audio_layers))

    def forward(self, x: Tensor, key_mask: Tensor | None = None, positions: Tensor | None = None) -> Tensor:
        """(B, N, D) -> (B, N, D).

        key_mask: (B, N) bool, False for tokens that no other token may look at; None (as published)
            lets padded windows take part.
        positions: (N,) row of the sinusoid table for each token, when tokens were left out before.
        Raises BadRequest for more tokens than the sinusoid table has rows.
        """
        if key_mask is not None:
            # A sample without any real window must not become NaN; nobody reads its tokens.
            key_mask = (key_mask | ~key_mask.any(1, keepdim=True))[:, None, None]
        x = self.layer_norm(self.position_enc(x * self.scale, positions))
        for layer in self.layer_stack:
            x = layer(x, key_mask)
        return x
