"""What the model has read already, kept from one prompt to the next."""

from __future__ import annotations

import weakref
from functools import cached_property

import torch
from torch import Tensor

from afcore.model.cache import FlamingoCache
from afcore.model.flamingo import AudioFlamingo


class PromptCache:
    """Text and audio that the model has read, so that a prompt that begins alike costs only what is
    new: the next turn of a chat, or another answer to the same question. Keep one per conversation;
    it forgets by itself when the model or the audio changes."""

    def __init__(self, deaf: bool = False) -> None:
        self._deaf = deaf
        self._past: FlamingoCache | None = None
        self._tokens: list[int] = []
        self._audio: tuple[Tensor, Tensor] | None = None
        # Weak: a model that is put away must not stay in memory for this.
        self._model: weakref.ref[AudioFlamingo] | None = None

    @cached_property
    def deaf(self) -> PromptCache:
        """The same for a reader that hears nothing of the audio."""
        return PromptCache(deaf=True)

    def past(self, model: AudioFlamingo, inputs: dict[str, Tensor]) -> FlamingoCache:
        """A cache of the longest beginning of the prompt that is known, short of its last token.
        Where nothing is known the cache is new, and has heard the audio."""
        tokens = inputs["input_ids"][0].tolist()
        audio = (inputs["audio_embeds"], inputs["audio_mask"]) if inputs.get("audio_embeds") is not None else None
        if self._past is None or self._model is None or self._model() is not model or not _equal(audio, self._audio):
            self._model, self._audio, self._tokens = weakref.ref(model), audio, []
            self._past = FlamingoCache(model.config.text_config)
            if audio is not None:
                memory = model.remember_audio(*audio)
                self._past.audio = memory.silenced() if self._deaf else memory
        past = self._past.fork()
        past.keep_first(min(_common_length(tokens, self._tokens), len(tokens) - 1))
        return past

    def keep(self, tokens: list[int], past: FlamingoCache) -> None:
        """Remembers `past`, the cache (of one row) that has read the beginning of `tokens`."""
        self._tokens, self._past = tokens[: past.get_seq_length()], past.fork()


def _equal(a: tuple[Tensor, Tensor] | None, b: tuple[Tensor, Tensor] | None) -> bool:
    if a is None or b is None:
        return a is b
    return all(x is y or (x.shape == y.shape and torch.equal(x, y)) for x, y in zip(a, b, strict=True))


def _common_length(a: list[int], b: list[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
