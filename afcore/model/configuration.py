"""Every size and switch of an Audio Flamingo model."""

from __future__ import annotations

from typing import Any, ClassVar

from transformers import AutoConfig, PretrainedConfig


class AudioFlamingoConfig(PretrainedConfig):
    """Configuration of `AudioFlamingo`. The defaults are the published model's, apart from
    `text_config` and the token ids, which come with the language model and its tokenizer.

    text_config: the decoder language model: a `PretrainedConfig`, or its dict with `model_type`;
        anything that `AutoModelForCausalLM` builds.
    feature_width: E, features per window as the audio encoder gives them.
    audio_width: D, width of the audio representation transformer and of what cross-attention reads.
    audio_layers, audio_heads, audio_inner: its depth, heads and feed-forward width (paper section 3.2).
    max_positions: rows of its sinusoid table, one per audio token of a sample.
    max_windows_per_audio: slots that each audio takes in `audio_embeds`, padded ones included.
    cross_attn_every: a block stands before decoder layer i where (i + 1) mod `cross_attn_every` is 0 ...
    cross_attn_layers: ... or before exactly these layers, when given.
    cross_attn_heads, cross_attn_dim_head, ff_mult: sizes of a block (paper section 3.3).
    mask_padded_windows: leave padded windows out of the audio representation transformer. The
        published weights were trained with them inside, so False for those.
    front_end: None (features go in as they are; E must be D) or "tags" (`afcore.model.front_end`).
    tag_count, tag_tokens, tag_words: for "tags": how many tag logits end each feature row, how many of the
        strongest tags become audio tokens of their own, and how many tokens of their names do so too.
    guidance: how far answers are moved away from what would be said without the sound, unless asked
        otherwise (`afcore.model.generation`); 1 is not at all, as published.
    audio_token_id, endofchunk_token_id, sep_token_id: `<audio>`, `<|endofchunk|>` and `<SEP>`.
    """

    model_type = "audio_flamingo"
    sub_configs: ClassVar[dict[str, type]] = {"text_config": AutoConfig}
    has_no_defaults_at_init = True

    def __init__(
        self,
        text_config: PretrainedConfig | dict[str, Any] | None = None,
        feature_width: int = 1024,
        audio_width: int = 1024,
        audio_layers: int = 3,
        audio_heads: int = 8,
        audio_inner: int = 2048,
        max_positions: int = 128,
        max_windows_per_audio: int = 16,
        cross_attn_every: int = 1,
        cross_attn_layers: list[int] | None = None,
        cross_attn_heads: int = 8,
        cross_attn_dim_head: int = 64,
        ff_mult: int = 4,
        mask_padded_windows: bool = False,
        front_end: str | None = None,
        tag_count: int = 527,
        tag_tokens: int = 5,
        tag_words: int = 0,
        guidance: float = 1.0,
        audio_token_id: int | None = None,
        endofchunk_token_id: int | None = None,
        sep_token_id: int | None = None,
        **kwargs: Any,
    ):
        if text_config is None:
            text_config = {"model_type": "opt"}
        if isinstance(text_config, dict):
            text_config = dict(text_config)
            text_config = AutoConfig.for_model(text_config.pop("model_type"), **text_config)
        self.text_config = text_config
        self.feature_width = feature_width
        self.audio_width = audio_width
        self.audio_layers = audio_layers
        self.audio_heads = audio_heads
        self.audio_inner = audio_inner
        self.max_positions = max_positions
        self.max_windows_per_audio = max_windows_per_audio
        self.cross_attn_every = cross_attn_every
        self.cross_attn_layers = cross_attn_layers
        self.cross_attn_heads = cross_attn_heads
        self.cross_attn_dim_head = cross_attn_dim_head
        self.ff_mult = ff_mult
        self.mask_padded_windows = mask_padded_windows
        self.front_end = front_end
        self.tag_count = tag_count
        self.tag_tokens = tag_tokens
        self.tag_words = tag_words
        self.guidance = guidance
        self.audio_token_id = audio_token_id
        self.endofchunk_token_id = endofchunk_token_id
        kwargs["sep_token_id"] = sep_token_id  # an argument of the base class, which would set it back to None
        # The language model's own choices hold for the whole, unless said otherwise.
        for name in ("bos_token_id", "eos_token_id", "pad_token_id", "tie_word_embeddings"):
            kwargs.setdefault(name, getattr(text_config, name, None))
        super().__init__(**kwargs)
        self._check()

    def _check(self) -> None:
        if self.front_end not in (None, "tags"):
            raise ValueError(f'front_end is None or "tags", not {self.front_end!r}.')
        if self.front_end is None and self.feature_width != self.audio_width:
            raise ValueError("Without a front end, feature_width must equal audio_width.")
        if self.audio_width % self.audio_heads:
            raise ValueError("audio_heads must divide audio_width.")
        layers = self.text_config.num_hidden_layers
        wrong = [i for i in self.cross_attention_layers if not 0 <= i < layers]
        if wrong:
            raise ValueError(f"cross_attn_layers names {wrong}, but the decoder has layers 0 to {layers - 1}.")

    @property
    def cross_attention_layers(self) -> list[int]:
        """Decoder layers, from 0, that have a gated cross-attention block before them."""
        if self.cross_attn_layers is not None:
            return sorted(self.cross_attn_layers)
        return [i for i in range(self.text_config.num_hidden_layers) if (i + 1) % self.cross_attn_every == 0]

    @property
    def tokens_per_window(self) -> int:
        """Audio tokens that one window becomes: 1, or with the "tags" front end 2, and 1 + `tag_words` a tag."""
        return 1 if self.front_end is None else 2 + self.tag_tokens * (1 + self.tag_words)
