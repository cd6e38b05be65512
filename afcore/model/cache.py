"""The generation cache: the text's keys and values, the audio's, and who may look at which audio."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PretrainedConfig
from transformers.cache_utils import DynamicLayer

from afcore.model.cross_attention import AudioContext


class AudioMemory:
    """The audio of a batch as the cross-attention blocks read it: projected once, kept for every token.

    keys_values: per layer, keys and values (B, heads, N, head size).
    mask: (B, N) bool, False for padded windows' tokens.
    audio_index: (N,) which audio of its sample each token belongs to, from 0.
    A memory of one sample (B = 1) serves any number of text rows: beams and candidates share it.
    """

    def __init__(self, keys_values: dict[int, tuple[Tensor, Tensor]], mask: Tensor, audio_index: Tensor):
        self.keys_values, self.mask, self.audio_index = keys_values, mask, audio_index
        self.audios = int(audio_index.max()) + 1 if len(audio_index) else 0
        # Looked at once: a look makes the CPU wait for the GPU, and decoding asks for every token.
        self.all_real = bool(mask.all())
        self.nobody_deaf = bool(mask[:, audio_index == 0].any(1).all())

    def context(self, audios_before: Tensor, all_before: bool | None = None) -> AudioContext:
        """Who may look where: block upper-triangular (paper section 3.3, published `mask_op = ge`).

        audios_before: (B, T) how many `<audio>` tokens stand at or before each text position. A position sees
        the real windows of audios 1 ... max(1, audios_before), so text before the first `<audio>` sees the first.
        all_before: whether every audio stands before every position; None: to be looked at here.
        """
        if all_before is None:
            all_before = max(1, int(audios_before.min())) >= self.audios
        keys_values, rows = self.keys_values, len(audios_before)
        if len(self.mask) == 1 < rows:
            keys_values = {
                layer: (k.expand(rows, -1, -1, -1), v.expand(rows, -1, -1, -1)) for layer, (k, v) in keys_values.items()
            }
        if self.all_real and all_before:
            return AudioContext(keys_values, None, None)
        mask = self.mask[:, None, :] & (self.audio_index < audios_before.clamp_min(1)[:, :, None])
        if self.nobody_deaf:
            return AudioContext(keys_values, mask[:, None], None)
        deaf = ~mask.any(-1, keepdim=True)
        # Attention over nothing is not a number: let those positions look anywhere, then drop what they saw.
        dtype = next(iter(keys_values.values()))[0].dtype
        return AudioContext(keys_values, (mask | deaf)[:, None], (~deaf).to(dtype))

    def silenced(self) -> AudioMemory:
        """The same places with nothing to hear in them."""
        return AudioMemory(self.keys_values, torch.zeros_like(self.mask), self.audio_index)

    @classmethod
    def stacked(cls, memories: Sequence[AudioMemory]) -> AudioMemory:
        """The rows of several memories of the same places under each other."""
        pairs = {
            layer: (
                torch.cat([memory.keys_values[layer][0] for memory in memories]),
                torch.cat([memory.keys_values[layer][1] for memory in memories]),
            )
            for layer in memories[0].keys_values
        }
        return cls(pairs, torch.cat([memory.mask for memory in memories]), memories[0].audio_index)

    def select(self, rows: Tensor) -> AudioMemory:
        """The memory of the batch rows `rows` (B',), in that order, repeats allowed."""
        if len(self.mask) == 1:
            return self
        chosen = {
            layer: (k.index_select(0, rows), v.index_select(0, rows)) for layer, (k, v) in self.keys_values.items()
        }
        return AudioMemory(chosen, self.mask.index_select(0, rows), self.audio_index)


ROOM = 64  # text positions that a layer of the cache grows by


class _RoomyLayer(DynamicLayer):
    """`DynamicLayer` with room for what comes next, so that a token does not copy what was read.

    ``keys`` and ``values`` are the beginnings of what has the room. Whoever replaces them (a choice of rows, say) or
    forks the layer makes the next update take new room.
    """

    _room: tuple[Tensor, Tensor] | None = None
    _own: Tensor | None = None  # the keys that `update` left, while their room is this layer's alone

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if torch.is_grad_enabled():
            return super().update(key_states, value_states, *args, **kwargs)
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        known = self.get_seq_length()
        end, room = known + key_states.shape[-2], self._room
        if (
            room is None
            or self._own is not self.keys
            or end > room[0].shape[-2]
            or room[0].is_inference() != torch.is_inference_mode_enabled()
        ):
            batch, heads, _, size = key_states.shape
            room = (
                key_states.new_empty(batch, heads, end + ROOM, size),
                value_states.new_empty(batch, heads, end + ROOM, value_states.shape[-1]),
            )
            if known and self.keys is not None and self.values is not None:
                room[0][:, :, :known], room[1][:, :, :known] = self.keys, self.values
            self._room = room
        room[0][:, :, known:end], room[1][:, :, known:end] = key_states, value_states
        self.keys, self.values = room[0][:, :, :end], room[1][:, :, :end]
        self._own = self.keys
        return self.keys, self.values

    def leave_room(self) -> None:
        """The room may be another layer's too from here on."""
        self._room = self._own = None


class FlamingoCache(DynamicCache):
    """`DynamicCache` of the language model, with the audio beside it.

    audio: None until a forward pass with audio has filled it, and kept for as long as the cache lives.
    audios_before: (B, T) count of `<audio>` tokens at or before each cached text position.
    """

    _all_read: bool | None = None  # whether every audio stands before what comes next; None: to be looked at

    def __init__(self, text_config: PretrainedConfig):
        super().__init__(config=text_config)
        roomy: Any = _RoomyLayer  # transformers has no types on it
        self.layers = [roomy() if type(layer) is DynamicLayer else layer for layer in self.layers]
        self.audio: AudioMemory | None = None
        self.audios_before: Tensor | None = None

    def fork(self) -> FlamingoCache:
        """Another cache with the same past; what is added to one is not in the other. Cheap, since what both have is
        never written to."""
        for layer in self.layers:
            if isinstance(layer, _RoomyLayer):
                layer.leave_room()
        fork = copy.copy(self)
        fork.layers = [copy.copy(layer) for layer in self.layers]
        return fork

    @classmethod
    def stacked(cls, caches: Sequence[FlamingoCache]) -> FlamingoCache:
        """The rows of caches that have read equally many tokens of equally many audios, under each other."""
        whole, read = caches[0].fork(), [list[Any](cache.layers) for cache in caches]
        for layer, *same in zip(whole.layers, *read, strict=True):
            layer.keys = torch.cat([one.keys for one in same])
            layer.values = torch.cat([one.values for one in same])
        whole._all_read = None
        whole.audio = AudioMemory.stacked([cache.audio for cache in caches if cache.audio is not None])
        whole.audios_before = torch.cat([cache.audios_before for cache in caches if cache.audios_before is not None])
        return whole

    def listen(self, is_audio_token: Tensor) -> AudioContext | None:
        """What new text positions, (B, T) bool, may look at; None where there is no audio.

        Whether all audios stand before them is looked at when a prompt is read: single tokens follow what was read, so
        that decoding never waits for the device here.
        """
        audios_before = self.hear(is_audio_token)
        if self.audio is None:
            return None
        all_before = bool(self._all_read)
        if not all_before and (self._all_read is None or audios_before.shape[1] > 1):
            least, last = (max(1, int(counts.min())) for counts in (audios_before, audios_before[:, -1]))
            all_before, self._all_read = least >= self.audio.audios, last >= self.audio.audios
        return self.audio.context(audios_before, all_before)

    def hear(self, is_audio_token: Tensor) -> Tensor:
        """Counts on from what is cached: (B, T) bool for the new text positions -> (B, T) counts."""
        audios_before = is_audio_token.long().cumsum(1)
        if self.audios_before is None:
            self.audios_before = audios_before
        else:
            audios_before = audios_before + self.audios_before[:, -1:]
            self.audios_before = torch.cat([self.audios_before, audios_before], 1)
        return audios_before

    def _select(self, rows: Tensor) -> None:
        if self.audios_before is not None:
            rows = rows.to(self.audios_before.device)
            self.audios_before = self.audios_before.index_select(0, rows)
        if self.audio is not None:
            self.audio = self.audio.select(rows)

    def reorder_cache(self, beam_idx: Tensor) -> None:
        super().reorder_cache(beam_idx)  # type: ignore[arg-type]  # a LongTensor, which torch types nowhere else
        self._select(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        super().batch_select_indices(indices)
        self._select(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        super().batch_repeat_interleave(repeats)
        if self.audios_before is not None:
            self._select(
                torch.arange(len(self.audios_before), device=self.audios_before.device).repeat_interleave(repeats)
            )

    def crop(self, tokens_to_remove: int) -> None:
        """Takes the last tokens away; `tokens_to_remove` is 0 or negative, as in transformers."""
        super().crop(tokens_to_remove)
        if self.audios_before is not None:
            self.audios_before = self.audios_before[:, : self.get_seq_length()]
        self._all_read = None

    def keep_first(self, length: int) -> None:
        """Forgets what follows the first `length` text positions."""
        self.crop(min(0, length - self.get_seq_length()))

    def reset(self) -> None:
        super().reset()  # type: ignore[no-untyped-call]  # transformers has no types on it
        self.audio = self.audios_before = self._all_read = None
