"""The language side of an engine: a model that continues a text about sounds, and says how likely a continuation is."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from afcore.audio.windows import pad_audios
from afcore.errors import BadRequest
from afcore.model.generation import GenerationSettings, candidates, score_continuations, stream
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

    def forget(self) -> None:
        """Drop what was read."""
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

    ``silence``: (E,) the encoder's features of nothing, for padded places. ``pad_audios_to``: how many audios a sample
    has with padding, given the number there is; None leaves them unpadded (mini masks what is padded). ``max_shots``:
    where the model was trained with fewer than its position table has room for.
    """

    def __init__(
        self,
        model: AudioFlamingo,
        tokenizer: PreTrainedTokenizerBase,
        kind: str,
        silence: Tensor,
        pad_audios_to: Callable[[int], int] | None = None,
        max_shots: int | None = None,
    ):
        self.model, self.tokenizer, self.kind = model, tokenizer, kind
        self.silence, self.pad_audios_to = silence.cpu(), pad_audios_to
        self.device: torch.device = model.device
        self.dtype: torch.dtype = model.dtype
        config = model.config
        room = config.max_positions // (config.max_windows_per_audio * config.tokens_per_window) - 1
        self.max_shots: int = room if max_shots is None else min(room, max_shots)
        self._caches: OrderedDict[Key, PromptCache] = OrderedDict()

    @property
    def conversations(self) -> int:
        """How many are remembered."""
        return len(self._caches)

    def forget(self) -> None:
        """Drop what was read."""
        self._caches.clear()

    def inputs(self, prompt: Prompt, sounds: Sequence[Tensor]) -> dict[str, Tensor]:
        """What the forward pass takes: ``input_ids`` (1, T), ``audio_embeds`` (1, A·W, E), ``audio_mask`` (1, A·W)."""
        count = self.pad_audios_to(len(sounds)) if self.pad_audios_to else None
        embeds, mask = pad_audios(sounds, self.silence, self.model.config.max_windows_per_audio, count)
        ids = self.tokenizer(prompt.text, return_tensors="pt").input_ids
        return {
            "input_ids": ids.to(self.device),
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
