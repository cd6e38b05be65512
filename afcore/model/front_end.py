"""From encoder features to audio tokens, for encoders that also name what they hear.

Not in the paper: mini's encoder is small, and the class names of its tags bring words for all 527
AudioSet classes within reach of cross-attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import initialization as init

from afcore.model.configuration import AudioFlamingoConfig


def strongest(probability: Tensor, tag_tokens: int) -> tuple[Tensor, Tensor]:
    """probability (…, tags) → those of the classes that become tokens of their own, and which these are, strongest
    first, both (…, `tag_tokens`)."""
    values, index = probability.topk(tag_tokens, -1)
    return values, index


class TagFrontEnd(nn.Module):
    """Each window's features, an embedding and then tag logits, become T tokens
    (`AudioFlamingoConfig.tokens_per_window`):

    1. a linear map of the normalised embedding;
    2. a linear map of the mean of all class names' text embeddings, weighted by tag probability;
    3. the `tag_tokens` strongest classes' text embeddings, each times the root of its probability,
       through a second linear map, strongest first;
    4. of each of these, the first `tag_words` tokens of its name, one by one: the token's embedding and that of the
       token before it, each through a linear map, times the same root. So a name can be said word by word, also one
       that training seldom or never had: from the mean alone every name has to be learned by heart;
    and to each a learned vector that says which of the T it is.

    `tag_text` and `word_text` are derived from the language model's own embeddings as they were at first
    (`set_tag_text`), so a whole saved model has them with the weights.
    """

    tag_text: Tensor
    """(tags, H) the classes' names as the language model embeds them."""
    word_text: Tensor
    """(tags, `tag_words`, H) the tokens of the classes' names; 0 after a name's end."""

    def __init__(self, config: AudioFlamingoConfig):
        super().__init__()
        self.tag_count, self.tag_tokens, self.tag_words = config.tag_count, config.tag_tokens, config.tag_words
        embedding, width = config.feature_width - config.tag_count, config.audio_width
        text = config.text_config.hidden_size
        self.norm = nn.LayerNorm(embedding)
        self.embedding_proj = nn.Linear(embedding, width)
        self.mean_proj = nn.Linear(text, width)
        self.tag_proj = nn.Linear(text, width)
        self.type_embedding = nn.Parameter(torch.empty(2 + self.tag_tokens, width))
        self.register_buffer("tag_text", torch.zeros(self.tag_count, text))
        if self.tag_words:
            self.word_proj = nn.Linear(text, width)
            self.before_proj = nn.Linear(text, width, bias=False)
            self.word_embedding = nn.Parameter(torch.empty(self.tag_tokens, self.tag_words, width))
            self.register_buffer("word_text", torch.zeros(self.tag_count, self.tag_words, text))
        self.reset_()

    def reset_(self) -> None:
        """Starting values of what is this module's own. The names are zero until they are set or read from a file."""
        init.normal_(self.type_embedding, std=0.02)
        init.zeros_(self.tag_text)
        if self.tag_words:
            init.normal_(self.word_embedding, std=0.02)
            init.zeros_(self.word_text)

    @torch.no_grad()
    def set_tag_text(
        self,
        token_embeddings: nn.Embedding,
        tag_token_ids: list[list[int]],
        word_token_ids: list[list[int]] | None = None,
    ) -> None:
        """Takes each class name's vector as the mean of its tokens' embeddings, then standardises
        every column over the classes (token embeddings share a large common part).

        tag_token_ids: for each class, in the order of the tag logits, the token ids of its name.
        word_token_ids: likewise of what it is called in answers, for `word_text`; the same names where it is None.
        """
        if len(tag_token_ids) != self.tag_count:
            raise ValueError(f"{len(tag_token_ids)} class names for {self.tag_count} tags.")
        weight = token_embeddings.weight
        text = torch.stack([weight[ids].float().mean(0) for ids in tag_token_ids])
        text = (text - text.mean(0)) / text.std(0).clamp_min(1e-6)
        self.tag_text.copy_(text)
        if not self.tag_words:
            return
        self.word_text.zero_()
        said = [ids[: self.tag_words] for ids in word_token_ids or tag_token_ids]
        common = weight[sorted({token for ids in said for token in ids})].float()
        mean, spread = common.mean(0), common.std(0).clamp_min(1e-6)
        for row, ids in zip(self.word_text, said, strict=True):
            row[: len(ids)] = (weight[ids].float() - mean) / spread

    def forward(self, features: Tensor) -> Tensor:
        """(B, N, E) features -> (B, N·T, D) tokens, the T tokens of a window side by side."""
        embedding, logits = features.split([features.shape[-1] - self.tag_count, self.tag_count], -1)
        probability = logits.sigmoid()
        mean = probability @ self.tag_text / probability.sum(-1, keepdim=True).clamp_min(1e-6)
        most, index = strongest(probability, self.tag_tokens)
        tags = self.tag_text[index] * most.sqrt()[..., None]
        tokens = torch.cat(
            [
                self.embedding_proj(self.norm(embedding))[..., None, :],
                self.mean_proj(mean)[..., None, :],
                self.tag_proj(tags),
            ],
            -2,
        )
        tokens = tokens + self.type_embedding
        if self.tag_words:
            words = self.word_text[index] * most.sqrt()[..., None, None]
            before = F.pad(words[..., :-1, :], (0, 0, 1, 0))
            spoken = self.word_proj(words) + self.before_proj(before) + self.word_embedding
            tokens = torch.cat([tokens, spoken.flatten(-3, -2)], -2)
        return tokens.flatten(-3, -2)
