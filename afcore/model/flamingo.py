"""Audio Flamingo around any decoder language model (paper section 3)."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from afcore.model.audio_transformer import AudioTransformer, PositionEncoding
from afcore.model.cache import AudioMemory, FlamingoCache
from afcore.model.configuration import AudioFlamingoConfig
from afcore.model.cross_attention import FlamingoLayer, GatedCrossAttention
from afcore.model.front_end import TagFrontEnd
from afcore.model.quick_step import QuickStep

if TYPE_CHECKING:
    from typing import Self


def decoder_layers(language_model: PreTrainedModel) -> nn.ModuleList:
    """The list of decoder layers of any `AutoModelForCausalLM`, whatever it is called there."""
    count = language_model.config.num_hidden_layers
    for module in language_model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise ValueError(f"{type(language_model).__name__} has no list of {count} decoder layers.")


def block_of(layer: nn.Module) -> GatedCrossAttention | None:
    """The block before a decoder layer, which may stand inside a wrapper; None where there is none."""
    return next((module for module in layer.modules() if isinstance(module, GatedCrossAttention)), None)


class AudioFlamingo(PreTrainedModel, GenerationMixin):
    """The whole model; `generate`, beams, streamers, `from_pretrained` come from transformers.

    audio_transformer: audio representation transformer, with `front_end` before it where there is one.
    language_model: the decoder; each of its layers is a `FlamingoLayer` here, the published layout
        (`decoder_layer`, and `gated_cross_attn_layer` where a block stands before it).

    language_model argument: a decoder that is already loaded, taken as it is; without it one with
    random weights is built from `config.text_config`.
    """

    quick_step: QuickStep | None = None
    """Reads single tokens in the place of the decoder's modules, where these are such as it can read."""

    config: AudioFlamingoConfig
    config_class = AudioFlamingoConfig
    base_model_prefix = "flamingo"
    main_input_name = "input_ids"
    _no_split_modules = ["FlamingoLayer", "AudioTransformer"]  # noqa: RUF012  # as transformers declares it
    _skip_keys_device_placement = ["cache"]  # noqa: RUF012
    _supports_sdpa = True
    # Loaded in float16, these stay in float32: features times the root of the width go beyond what float16 holds.
    _keep_in_fp32_modules = ["audio_transformer", "front_end"]  # noqa: RUF012

    def __init__(self, config: AudioFlamingoConfig, language_model: PreTrainedModel | None = None):
        super().__init__(config)
        self.front_end = TagFrontEnd(config) if config.front_end == "tags" else None
        self.audio_transformer = AudioTransformer(config)
        self.language_model = language_model or AutoModelForCausalLM.from_config(
            config.text_config, dtype=torch.get_default_dtype()
        )
        layers = decoder_layers(self.language_model)
        for i, layer in enumerate(layers):
            block = GatedCrossAttention(config) if i in config.cross_attention_layers else None
            layers[i] = FlamingoLayer(layer, block, i)
        self._head_takes_positions = "logits_to_keep" in inspect.signature(self.language_model.forward).parameters
        self.post_init()  # type: ignore[no-untyped-call]  # transformers has no types on it

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, GatedCrossAttention):
            nn.init.zeros_(module.attn_gate)
            nn.init.zeros_(module.ff_gate)
        elif isinstance(module, (PositionEncoding, TagFrontEnd)):
            module.reset_()
        elif callable(reset := getattr(module, "reset_parameters", None)):
            reset()

    if TYPE_CHECKING:  # transformers wraps or declares them without types

        def to(self, *args: Any, **kwargs: Any) -> Self: ...  # type: ignore[override]  # theirs is a bare wrapper

        def eval(self) -> Self: ...

    # The language model owns both ends.
    def get_input_embeddings(self) -> nn.Embedding:
        table = self.language_model.get_input_embeddings()
        assert isinstance(table, nn.Embedding), "as every decoder of transformers has it"
        return table

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Linear:
        head: nn.Linear = self.language_model.get_output_embeddings()
        return head

    def set_output_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_output_embeddings(value)

    @staticmethod
    def is_audio_parameter(name: str) -> bool:
        """Whether the state-dict key `name` belongs to what hears (audio transformer, front end, gated
        cross-attention) rather than to the language model: what pretraining trains (paper section 4)."""
        return name.startswith(("audio_transformer.", "front_end.")) or ".gated_cross_attn_layer." in name

    def encode_audio(self, audio_embeds: Tensor, audio_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Front end and audio representation transformer.

        audio_embeds (B, A·W, E) features, W = `max_windows_per_audio` slots per audio; audio_mask
        (B, A·W), 1 for real windows. Returns tokens (B, N, D), their mask (B, N) bool and the audio,
        from 0, that each belongs to (N,). N = A·W·T with T tokens per window; with
        `mask_padded_windows` windows absent from the whole batch are left out, the rest keep their places.
        Raises BadRequest for more audio than the model has positions for.
        """
        config = self.config
        windows = torch.arange(audio_embeds.shape[1], device=audio_embeds.device)
        mask = audio_mask.bool()
        positions = key_mask = None
        if config.mask_padded_windows:
            windows = windows[mask.any(0)]
            audio_embeds, mask = audio_embeds[:, windows], mask[:, windows]
        per_window = config.tokens_per_window
        audio_index = (windows // config.max_windows_per_audio).repeat_interleave(per_window)
        mask = mask.repeat_interleave(per_window, 1)
        if config.mask_padded_windows:
            key_mask = mask
            positions = (windows[:, None] * per_window + torch.arange(per_window, device=windows.device)).flatten()
        x = audio_embeds.to(self.audio_transformer.layer_norm.weight.dtype)
        if self.front_end is not None:
            x = self.front_end(x)
        return self.audio_transformer(x, key_mask, positions), mask, audio_index

    def remember_audio(self, audio_embeds: Tensor, audio_mask: Tensor | None = None) -> AudioMemory:
        """Encodes audio (shapes as in `encode_audio`) and projects every layer's keys and values once."""
        if audio_embeds.shape[1] % self.config.max_windows_per_audio:
            raise ValueError(
                f"audio_embeds has {audio_embeds.shape[1]} windows per sample, which is no multiple of "
                f"{self.config.max_windows_per_audio}."
            )
        if audio_mask is None:
            audio_mask = torch.ones(audio_embeds.shape[:2], dtype=torch.bool, device=audio_embeds.device)
        audio, mask, audio_index = self.encode_audio(audio_embeds, audio_mask)
        # Nobody may look at a padded window, so those that are padded in every row need no keys.
        kept = mask.any(0)
        if not kept.all() and kept.any():
            audio, mask, audio_index = audio[:, kept], mask[:, kept], audio_index[kept]
        layers, keys_values = decoder_layers(self.language_model), {}
        for i in self.config.cross_attention_layers:
            block = block_of(layers[i])
            assert block is not None, "the config says so"
            keys_values[i] = block.attn.keys_values(audio)
        return AudioMemory(keys_values, mask, audio_index)

    def _decoder_inputs(
        self,
        input_ids: Tensor | None,
        attention_mask: Tensor | None,
        audio_embeds: Tensor | None,
        audio_mask: Tensor | None,
        position_ids: Tensor | None,
        cache: FlamingoCache | None,
        inputs_embeds: Tensor | None,
        use_cache: bool | None,
    ) -> dict[str, Any]:
        """What the language model's forward pass gets; the audio goes along as `audio_context`."""
        if use_cache is None:
            use_cache = self.config.text_config.use_cache and not self.training
        if use_cache and cache is None:
            cache = FlamingoCache(self.config.text_config)
        if cache is not None and not isinstance(cache, FlamingoCache):
            raise TypeError(f"cache must be a FlamingoCache, not {type(cache).__name__}.")
        if audio_embeds is not None and cache is not None and cache.audio is not None:
            raise ValueError("This cache already holds audio; new audio needs a new cache.")

        memory = cache.audio if cache is not None else None
        if audio_embeds is not None:
            memory = self.remember_audio(audio_embeds, audio_mask)
            if cache is not None:
                cache.audio = memory
        context = None
        if memory is not None:
            if input_ids is None:
                raise ValueError("With audio, input_ids is needed beside inputs_embeds, to find the <audio> tokens.")
            if self.config.audio_token_id is None:
                raise ValueError("With audio, the config must say which token is <audio>.")
            is_audio_token = input_ids == self.config.audio_token_id
            if cache is not None:
                context = cache.listen(is_audio_token)
            else:
                context = memory.context(is_audio_token.long().cumsum(1))

        if attention_mask is not None and position_ids is None:
            # So that a padded row gets the same positions as alone.
            given = input_ids if inputs_embeds is None else inputs_embeds
            assert given is not None, "input_ids or inputs_embeds"
            length = given.shape[1]
            position_ids = (attention_mask.long().cumsum(1) - 1).clamp_min(0)[:, -length:]
        return {
            "input_ids": input_ids if inputs_embeds is None else None,
            "inputs_embeds": inputs_embeds,
            "attention_mask": attention_mask,
            "position_ids": position_ids,
            "cache": cache,
            "use_cache": use_cache,
            "audio_context": context,
        }

    def hidden_states(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        audio_embeds: Tensor | None = None,
        audio_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: FlamingoCache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """`forward` without the language model's head: `last_hidden_state` (B, T, H) is what
        `get_output_embeddings()` takes, so training can compute logits at answer positions alone."""
        inputs = self._decoder_inputs(
            input_ids, attention_mask, audio_embeds, audio_mask, position_ids, cache, inputs_embeds, use_cache
        )
        out: BaseModelOutputWithPast = self.language_model.base_model(**inputs, **kwargs)
        return out

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        audio_embeds: Tensor | None = None,
        audio_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: FlamingoCache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits for the next token.

        input_ids: (B, T), with one `<audio>` token where each audio stands. When `inputs_embeds`
            (B, T, H) is given too, those are read and `input_ids` only says where the audios are.
        attention_mask: (B, cached + T), 0 for padding, left or right.
        audio_embeds, audio_mask: (B, A·W, E) features and (B, A·W) mask of real windows, audios in
            prompt order, each in its W = `max_windows_per_audio` slots. Only with the first pass of a
            cache: later passes read what the cache kept. None: the language model alone.
        labels: (B, T), -100 where there is no loss; `loss` is the mean cross-entropy of the next token.
        logits_to_keep: compute logits for the last so many positions, or those indexed; 0 is all.
        Raises BadRequest for more audio than the model has positions for, ValueError for audio twice.
        """
        if (
            self.quick_step is not None
            and cache is not None
            and input_ids is not None
            and inputs_embeds is audio_embeds is labels is None
            and not any(value for key, value in kwargs.items() if key.startswith("output_"))
            and self.quick_step.takes(attention_mask)
        ):
            assert self.config.audio_token_id is not None, "as mini has it"
            context = cache.listen(input_ids == self.config.audio_token_id)
            logits = self.quick_step(input_ids, context, cache, logits_to_keep)
            return CausalLMOutputWithPast(logits=logits, cache=cache)
        inputs = self._decoder_inputs(
            input_ids, attention_mask, audio_embeds, audio_mask, position_ids, cache, inputs_embeds, use_cache
        )
        out: CausalLMOutputWithPast
        if self._head_takes_positions:
            out = self.language_model(**inputs, logits_to_keep=logits_to_keep, **kwargs)
        else:  # OPT, for one, would compute 50,000 logits for every position of a prompt
            read = self.language_model.base_model(**inputs, **kwargs)
            kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
            hidden = read.last_hidden_state[:, kept]
            out = CausalLMOutputWithPast(
                logits=self.get_output_embeddings()(hidden),
                cache=read.cache,
                hidden_states=read.hidden_states,
                attentions=read.attentions,
            )
        if labels is not None:
            assert out.logits is not None
            out.loss = F.cross_entropy(out.logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
        return out

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # `forward` makes its own FlamingoCache

    def prepare_inputs_for_generation(
        self,
        input_ids: Tensor,
        cache: FlamingoCache | None = None,
        audio_embeds: Tensor | None = None,
        audio_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        if cache is not None and cache.audio is not None:
            audio_embeds = audio_mask = None  # heard in the first pass
        return super().prepare_inputs_for_generation(
            input_ids, cache=cache, audio_embeds=audio_embeds, audio_mask=audio_mask, **kwargs
        )
