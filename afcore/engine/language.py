"""The language side of an engine: a model that continues a text about sounds, and says how likely a continuation is."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from afcore.audio.windows import pad_audios
from afcore.checkpoints.eight_bits import is_rounded
from afcore.errors import BadRequest
from afcore.model.four_bits import is_packed
from afcore.model.generation import GenerationSettings, answers, candidates, score_continuations, stream
from afcore.model.prompt_cache import PromptCache
from afcore.prompts import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from afcore.model import AudioFlamingo

CONVERSATIONS_KEPT = 8  # whose text and audio caches stay, some 20 MB each for mini

Key = tuple[str, ...]
"""Names the sounds of a prompt by content: prompts with the same key belong to one conversation."""


class TextModel(Protocol):
    """A model that generates text about sounds.

    ``sounds`` throughout are the window features (n, E) float32 of each sound of the prompt, in the prompt's order.
    ``key`` names the conversation: what was read in it need not be read again. None: nothing is kept of it.
    """

    @property
    def kind(self) -> str:
        """Which templates and marks its prompts have, a key of ``prompts.MARKS``."""
        ...

    @property
    def max_shots(self) -> int:
        """Most shots that fit beside the query."""
        ...

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """In which number format."""
        ...

    @property
    def conversations(self) -> int:
        """How many are remembered."""
        ...

    @property
    def paddings(self) -> tuple[str, ...]:
        """Ways in which a sample can be padded with empty audios, the usual one first; empty where there is none."""
        ...

    def forget(self) -> None:
        """Drop what was read."""
        ...

    def tokens(self, text: str) -> int:
        """How many tokens an answer has."""
        ...

    def inputs(self, prompt: Prompt, sounds: Sequence[Tensor]) -> dict[str, Tensor]:
        """What the network would be given, by name, for whoever measures it."""
        ...

    def stream(
        self,
        prompt: Prompt,
        sounds: Sequence[Tensor],
        settings: GenerationSettings,
        stop: threading.Event | None = None,
        key: Key | None = None,
    ) -> Iterator[str]:
        """Yields the answer piece by piece; ``stop`` ends it within one token and keeps what was said."""
        ...

    def candidates(
        self,
        prompt: Prompt,
        sounds: Sequence[Tensor],
        n: int,
        settings: GenerationSettings,
        stop: threading.Event | None = None,
        key: Key | None = None,
    ) -> list[str]:
        """n answers. Raises BadRequest for settings that cannot give as many."""
        ...

    def score(
        self, prompt: Prompt, sounds: Sequence[Tensor], continuations: Sequence[str], key: Key | None = None
    ) -> tuple[Tensor, Tensor]:
        """Sum of the natural log-probabilities of each continuation's tokens as the answer, and the number of tokens,
        both (k,) on the CPU."""
        ...


class FlamingoText:
    """An `AudioFlamingo` with its tokenizer as a `TextModel`.

    ``silence``: (E,) the encoder's features of nothing, for padded places. ``padded``: by the names of `paddings`, how
    many audios a sample has with padding, given the number there is; empty leaves them unpadded (mini masks what is
    padded). ``max_shots``: where the model was trained with fewer than its position table has room for. ``as_stored``:
    reads the model anew, for `whole_model`; needed where its weights are rounded.
    """

    def __init__(
        self,
        model: AudioFlamingo,
        tokenizer: PreTrainedTokenizerBase,
        kind: str,
        silence: Tensor,
        padded: Mapping[str, Callable[[int], int]] | None = None,
        max_shots: int | None = None,
        as_stored: Callable[[], AudioFlamingo] | None = None,
    ):
        self.model, self.tokenizer, self.kind = model, tokenizer, kind
        self.silence, self._padded, self._as_stored = silence.cpu(), dict(padded or {}), as_stored
        self.device: torch.device = model.device
        self.dtype: torch.dtype = next(
            model.language_model.parameters()
        ).dtype  # what hears may be in float32 beside it
        config = model.config
        room = config.max_positions // (config.max_windows_per_audio * config.tokens_per_window) - 1
        self.max_shots: int = room if max_shots is None else min(room, max_shots)
        self._caches: OrderedDict[Key, PromptCache] = OrderedDict()

    @property
    def conversations(self) -> int:
        """How many are remembered."""
        return len(self._caches)

    @property
    def paddings(self) -> tuple[str, ...]:
        """As `TextModel.paddings`."""
        return tuple(self._padded)

    def whole_model(self) -> AudioFlamingo:
        """The model for whoever saves it: where its weights are in 4 or 8 bits, it is read anew."""
        integers = is_rounded(self.model) or is_packed(self.model)
        return self._as_stored() if self._as_stored and integers else self.model

    def forget(self) -> None:
        """Drop what was read."""
        self._caches.clear()

    def tokens(self, text: str) -> int:
        """How many tokens an answer has."""
        return len(self.tokenizer(text, add_special_tokens=False).input_ids)

    def inputs(self, prompt: Prompt, sounds: Sequence[Tensor]) -> dict[str, Tensor]:
        """What the forward pass takes: ``input_ids`` (1, T) and, of a prompt with sounds, ``audio_embeds`` (1, A·W, E)
        and ``audio_mask`` (1, A·W). Without any the cross-attention is left out."""
        ids = self.tokenizer(prompt.text, return_tensors="pt").input_ids.to(self.device)
        if not sounds:
            return {"input_ids": ids}
        way = prompt.padding or next(iter(self._padded), "")
        count = self._padded[way](len(sounds)) if way else None
        embeds, mask = pad_audios(sounds, self.silence, self.model.config.max_windows_per_audio, count)
        return {
            "input_ids": ids,
            "audio_embeds": embeds[None].to(self.device),
            "audio_mask": mask[None].to(self.device),
        }

    def stream(
        self,
        prompt: Prompt,
        sounds: Sequence[Tensor],
        settings: GenerationSettings,
        stop: threading.Event | None = None,
        key: Key | None = None,
    ) -> Iterator[str]:
        """As `TextModel.stream`. A prompt that begins like an earlier one of its conversation is read from there on."""
        return stream(self.model, self.tokenizer, self.inputs(prompt, sounds), settings, stop, self._cache(key))

    def answers(
        self, asked: Sequence[tuple[Prompt, Sequence[Tensor]]], settings: GenerationSettings | None = None
    ) -> list[str]:
        """The likeliest answer to each of several prompts, (prompt, its sounds), read and answered together."""
        prepared = [self.inputs(*one) for one in asked]
        return answers(self.model, self.tokenizer, prepared, settings or GenerationSettings())

    def candidates(
        self,
        prompt: Prompt,
        sounds: Sequence[Tensor],
        n: int,
        settings: GenerationSettings,
        stop: threading.Event | None = None,
        key: Key | None = None,
    ) -> list[str]:
        """As `TextModel.candidates`."""
        inputs = self.inputs(prompt, sounds)
        return candidates(self.model, self.tokenizer, inputs, settings, n, stop, self._cache(key))

    def score(
        self, prompt: Prompt, sounds: Sequence[Tensor], continuations: Sequence[str], key: Key | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `TextModel.score`."""
        tokens = [self.tokenizer(text, add_special_tokens=False).input_ids for text in continuations]
        scores, counts = score_continuations(self.model, self.inputs(prompt, sounds), tokens, self._cache(key))
        return scores.cpu(), counts.cpu()

    def _cache(self, key: Key | None) -> PromptCache:
        if key is None:
            return PromptCache()
        cache = self._caches.pop(key, None) or PromptCache()
        self._caches[key] = cache
        if len(self._caches) > CONVERSATIONS_KEPT:
            self._caches.popitem(last=False)
        return cache


def flamingo(language: TextModel) -> FlamingoText:
    """``language``, for whoever measures the network itself. Raises BadRequest where it is of another kind."""
    if not isinstance(language, FlamingoText):
        raise BadRequest("Only an Audio Flamingo can be measured this way.")
    return language
