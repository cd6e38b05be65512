"""The published 17 GB float32 file -> sharded bf16 `safetensors` that `AudioFlamingo.from_pretrained` loads.

Tensor by tensor from a memory map, so that a small machine can do it: what is held at any time is one
shard in its final number format."""

from __future__ import annotations

import copy
import errno
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoTokenizer, GenerationConfig, PreTrainedTokenizerBase

from afcore.checkpoints import Broken, CheckpointError, token_ids
from afcore.checkpoints.files import open_checkpoint, read_torch, require_space
from afcore.checkpoints.published import checked_tensors, embedding_rows, wanted_keys
from afcore.errors import MissingPart
from afcore.model.configuration import AudioFlamingoConfig

SHARD = 500_000_000  # bytes per file: a shard is held twice while it is written
SPARE = 200_000_000  # bytes of the disk that conversion leaves free
CLAPCAP = "clapcap.safetensors"

Progress = Callable[[str, float], None]


def published_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """OPT's tokenizer from a folder with its files, and the three tokens that training added, in its order.

    Raises CheckpointError for a folder without them, or a tokenizer that does not put `</s>` in front by itself.
    """
    folder = Path(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"The tokenizer in {folder} is missing, incomplete or broken.") from error
    if tokenizer("a").input_ids[0] != tokenizer.bos_token_id:
        raise CheckpointError(f"The tokenizer in {folder} is not OPT's: it puts no start token in front.")
    tokenizer.add_special_tokens({"extra_special_tokens": ["<audio>", "<|endofchunk|>"]})
    tokenizer.add_special_tokens({"sep_token": "<SEP>"})
    return tokenizer


def published_config(text_config: dict, tokenizer: PreTrainedTokenizerBase) -> AudioFlamingoConfig:
    """The published models' configuration: NVIDIA's `configs/chat.yaml` and `foundation.yaml` around
    OPT's own `config.json` (`text_config`), token ids from `tokenizer` with the added tokens."""
    audio, eoc, sep = token_ids(tokenizer, ["<audio>", "<|endofchunk|>", "<SEP>"])
    return AudioFlamingoConfig(text_config=text_config, audio_token_id=audio, endofchunk_token_id=eoc, sep_token_id=sep)


def convert_flamingo(
    source: str | Path,
    destination: str | Path,
    config: AudioFlamingoConfig,
    tokenizer: PreTrainedTokenizerBase | None,
    dtype: torch.dtype = torch.bfloat16,
    progress: Progress | None = None,
    shard_bytes: int = SHARD,
) -> Path:
    """Writes the folder `destination`: `config.json`, shards with their index, and the tokenizer.

    source: `foundation.pt` or `chat.pt`, or any of its five parts with the others beside it.
    config: the sizes; the vocabulary's is taken from the file.
    The folder appears only when it is whole; an error or an interruption leaves nothing behind.
    Raises CheckpointError for a file that is missing, broken or not of this layout, for a tokenizer
    that does not fit it, and MissingPart for too little disk (checked before anything is written).
    """
    destination, config = Path(destination), copy.deepcopy(config)
    if destination.exists():
        raise CheckpointError(f"{destination} is there already; remove it to convert again.")
    with _unfinished(destination) as folder, open_checkpoint(source, folder) as tensors:
        rows = embedding_rows(tensors)
        if tokenizer is not None and len(tokenizer) != rows:
            raise CheckpointError(
                f"The tokenizer has {len(tokenizer)} tokens, but this checkpoint's embeddings have {rows} rows."
            )
        config.text_config.vocab_size = rows
        wanted = _wanted(config)
        needed = sum(shape.numel() for shape in wanted.values()) * dtype.itemsize
        require_space(folder, needed + SPARE)
        step = None if progress is None else lambda share: progress("Converting the weights", share)
        _write_shards(checked_tensors(tensors, wanted, step), folder, dtype, shard_bytes)
        config.dtype = config.text_config.dtype = dtype
        config.architectures = ["AudioFlamingo"]
        config.save_pretrained(folder)
        GenerationConfig(
            eos_token_id=[i for i in (config.text_config.eos_token_id, config.endofchunk_token_id) if i is not None],
            pad_token_id=config.text_config.pad_token_id,
            bos_token_id=config.text_config.bos_token_id,
        ).save_pretrained(folder)
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)
    return destination


def convert_clapcap(source: str | Path, destination: str | Path) -> Path:
    """Keeps of `clapcap_weights_2023.pth` what the encoder uses, as `clapcap.safetensors` in the folder
    `destination`, in float32. Raises CheckpointError as `ClapCap.load` does."""
    from safetensors.torch import save_file

    from afcore.encoders.clapcap import ClapCap

    content = read_torch(source).get("model")
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{Path(source).name} is not the ClapCap file clapcap_weights_2023.pth: it has no “model”."
        )
    ClapCap.from_published(content)  # refuses what does not fit
    target = Path(destination) / CLAPCAP
    partial = target.with_name(target.name + ".partial")
    try:
        with disk_errors(target):
            save_file({key: value.contiguous() for key, value in content.items() if key.startswith("clap.")}, partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def _wanted(config: AudioFlamingoConfig) -> dict[str, torch.Size]:
    """State-dict keys and shapes of a model of `config`, without building its weights."""
    from afcore.model import AudioFlamingo

    with torch.device("meta"):
        return wanted_keys(AudioFlamingo(config))


def _write_shards(tensors: Iterable[tuple[str, Tensor]], folder: Path, dtype: torch.dtype, shard_bytes: int) -> None:
    """`model-00001-of-0000N.safetensors` … and `model.safetensors.index.json`, as transformers reads them."""
    from safetensors.torch import save_file

    shards: list[list[str]] = []
    held: dict[str, Tensor] = {}
    total = size = 0

    def flush() -> None:
        nonlocal size
        save_file(held, folder / f"shard-{len(shards)}", metadata={"format": "pt"})
        shards.append(list(held))
        held.clear()
        size = 0

    for key, tensor in tensors:
        tensor = tensor.to(dtype, copy=True).contiguous()
        if not tensor.isfinite().all():
            raise Broken(f"This checkpoint is damaged: {key} holds values that are not numbers.")
        if held and size + tensor.nbytes > shard_bytes:
            flush()
        held[key] = tensor
        size += tensor.nbytes
        total += tensor.nbytes
    flush()
    names = [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
    for i, name in enumerate(names):
        (folder / f"shard-{i}").rename(folder / name)
    index = {
        "metadata": {"total_size": total},
        "weight_map": {key: name for name, keys in zip(names, shards, strict=True) for key in keys},
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))


@contextmanager
def _unfinished(destination: Path) -> Iterator[Path]:
    """A folder beside `destination` that becomes it at the end, or is gone."""
    folder = destination.with_name(f".{destination.name}.{os.getpid()}.partial")
    with disk_errors(destination):
        folder.mkdir(parents=True)
    try:
        with disk_errors(destination):
            yield folder
            folder.rename(destination)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def disk_errors(target: Path) -> Iterator[None]:
    """Says in one sentence what the disk refused."""
    try:
        yield
    except Exception as error:
        if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error):
            raise MissingPart(f"The disk of {target.parent} is full; nothing was kept.") from error
        if isinstance(error, PermissionError):
            raise MissingPart(f"{target.parent} cannot be written to.") from error
        raise
