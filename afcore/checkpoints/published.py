"""The published checkpoint's layout (`foundation.pt`, `chat.pt`) -> the state dict of `AudioFlamingo`.

Module names here follow the published ones, so the key map is short: `lang_encoder` is
`language_model`. The published file holds every decoder layer and every cross-attention block twice
(the training code kept a second reference to each) and the tied output head beside the embeddings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from afcore.checkpoints import Broken, CheckpointError
from afcore.model.configuration import AudioFlamingoConfig

if TYPE_CHECKING:
    from afcore.model import AudioFlamingo

# What the model computes for itself; a file may hold it or not.
COMPUTED = ("pos_table",)
EMBEDDINGS = "lang_encoder.model.decoder.embed_tokens.weight"
# Second copies, and the names they are copies of.
COPIES = (
    (re.compile(r"lang_encoder\.old_decoder_blocks\.(\d+)\."), r"lang_encoder.{layers}.\1.decoder_layer."),
    (
        re.compile(r"lang_encoder\.gated_cross_attn_layers\.(\d+)\."),
        r"lang_encoder.{layers}.\1.gated_cross_attn_layer.",
    ),
    (re.compile(r"lang_encoder\.lm_head\.weight"), EMBEDDINGS),
)
LAYERS = "model.decoder.layers"  # OPT's place for them


def plain_key(key: str) -> str:
    """The key without the `module.` that a data-parallel wrapper puts in."""
    return ".".join(part for part in key.split(".") if part != "module")


def original_of(key: str) -> str:
    """The key that the second copy `key` repeats; `key` itself where it is no copy."""
    for pattern, name in COPIES:
        if pattern.match(key):
            return pattern.sub(name.format(layers=LAYERS), key, count=1)
    return key


def our_key(key: str) -> str:
    """Published key (no copy) -> key in `AudioFlamingo`'s state dict."""
    return re.sub(r"^lang_encoder\.", "language_model.", key)


def key_table(file_keys: Iterable[str], model_keys: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """What to take from a published file, and what to compare.

    file_keys: the keys as they stand in the file. model_keys: the state-dict keys to fill.
    Returns ({our key: file key}, {file key of a second copy: our key it must equal}).
    Raises CheckpointError naming the keys that are missing or unexpected.
    """
    wanted = set(model_keys)
    take, copies, unexpected = {}, {}, []
    for key in file_keys:
        plain = plain_key(key)
        if plain.endswith(COMPUTED):
            continue
        original = original_of(plain)
        ours = our_key(original)
        if ours not in wanted:
            unexpected.append(key)
        elif original != plain:
            copies[key] = ours
        elif ours in take:
            raise CheckpointError(f"This checkpoint holds {plain} twice.")
        else:
            take[ours] = key
    missing = sorted(wanted - set(take))
    if missing or unexpected:
        parts = [
            f"{what} {_some(keys)}" for what, keys in (("it lacks", missing), ("it has unexpected", unexpected)) if keys
        ]
        raise CheckpointError(f"This is not a checkpoint of the published Audio Flamingo: {' and '.join(parts)}.")
    return take, copies


def _some(keys: list[str], most: int = 5) -> str:
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + more


def wanted_keys(model: AudioFlamingo) -> dict[str, torch.Size]:
    """State-dict keys and shapes that a checkpoint must fill: a head tied to the embeddings is left out."""
    return {key: value.shape for key, value in model.state_dict().items() if key not in model.all_tied_weights_keys}


def checked_tensors(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, torch.Size], progress: Callable[[float], None] | None = None
) -> Iterator[tuple[str, Tensor]]:
    """Yields (our key, tensor) one by one, in the model's order, after checking that shape and second
    copies agree. The tensors are the file's own (memory-mapped ones stay so).

    Raises CheckpointError for missing, unexpected, misshapen or contradicting entries.
    """
    take, copies = key_table(tensors, wanted)
    copies_of: dict[str, list[str]] = {}
    for copy, ours in copies.items():
        copies_of.setdefault(ours, []).append(copy)
    for i, (ours, shape) in enumerate(wanted.items()):
        tensor = tensors[take[ours]]
        if tensor.shape != shape:
            raise CheckpointError(
                f"This checkpoint's {take[ours]} has shape {tuple(tensor.shape)} where {tuple(shape)} is needed."
            )
        for copy in copies_of.get(ours, ()):
            if not _same(tensors[copy], tensor):
                raise Broken(f"This checkpoint contradicts itself: {copy} differs from {take[ours]}.")
        yield ours, tensor
        if progress is not None:
            progress((i + 1) / len(wanted))


def embedding_rows(tensors: Mapping[str, Tensor]) -> int:
    """How many tokens the checkpoint's language model knows. Raises CheckpointError where it has no embeddings."""
    for key, tensor in tensors.items():
        if plain_key(key) == EMBEDDINGS:
            return tensor.shape[0]
    raise CheckpointError(f"This is not a checkpoint of the published Audio Flamingo: it lacks {EMBEDDINGS}.")


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and (a.data_ptr() == b.data_ptr() or torch.equal(a, b))


def load_published(
    tensors: Mapping[str, Tensor], config: AudioFlamingoConfig, dtype: torch.dtype = torch.float32
) -> AudioFlamingo:
    """`AudioFlamingo(config)` with the weights of a published state dict, in evaluation mode.

    tensors: published key -> tensor, as in the file's `model_state_dict`.
    Raises CheckpointError as `checked_tensors` does.
    """
    from afcore.model import AudioFlamingo

    model = AudioFlamingo(config).to(dtype)
    model.load_state_dict(dict(checked_tensors(tensors, wanted_keys(model))), strict=False)
    return model.eval()
