"""Files in the published layout with made-up weights: for tests, and to rehearse the full size where the
real weights are not to be had. Written tensor by tensor, never held in memory together."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.serialization import skip_data

OPT_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]  # OPT's first four tokens; `</s>` begins a text and ends it
OPT_TOKENS = 50_265  # OPT's vocabulary, before training added three
# `config.json` of facebook/opt-iml-max-1.3b, without what is OPTConfig's default.
OPT_IML_MAX_1_3B = {
    "model_type": "opt",
    "hidden_size": 2048,
    "word_embed_proj_dim": 2048,
    "num_hidden_layers": 24,
    "num_attention_heads": 32,
    "ffn_dim": 8192,
    "vocab_size": 50_272,
    "max_position_embeddings": 2048,
    "pad_token_id": 1,
    "bos_token_id": 2,
    "eos_token_id": 2,
}


def write_published(
    keys_file: str | Path,
    path: str | Path,
    values: Callable[[str, tuple[int, ...]], np.ndarray | None] | None = None,
    wanted: Callable[[str], bool] = lambda key: True,
) -> None:
    """A `torch.save` file with `model_state_dict` as `keys_file` lists it: {key: {"shape", "same_as"?}}.

    values: (key, shape) -> float32 values, or None for zeros; second copies repeat the original's, as bytes
        of their own, as in the published file. Without it all is zero and the file is sparse: full size
        in `ls`, almost nothing on disk.
    wanted: which keys to write, all by default.
    """
    entries = {key: entry for key, entry in json.loads(Path(keys_file).read_text()).items() if wanted(key)}
    with FakeTensorMode():
        state = {key: torch.empty(entry["shape"]) for key, entry in entries.items()}
    with skip_data(materialize_fake_tensors=True):
        torch.save({"model_state_dict": state}, path)
    if values is None:
        return
    with FakeTensorMode():  # reads where each tensor's bytes lie, and none of them
        state = torch.load(path, map_location="cpu", weights_only=True)["model_state_dict"]
    offsets = {key: tensor.untyped_storage()._checkpoint_offset for key, tensor in state.items()}
    places: dict[str, list[int]] = {}
    for key, entry in entries.items():
        places.setdefault(entry.get("same_as", key), []).append(offsets[key])
    with Path(path).open("r+b") as file:
        for key, starts in places.items():
            if (value := values(key, tuple(entries[key]["shape"]))) is not None:
                for start in starts:
                    file.seek(start)
                    file.write(np.ascontiguousarray(value, np.float32).data)


def write_opt(folder: str | Path, layers: int = 24, tokens: int = OPT_TOKENS) -> Path:
    """The folder that `facebook/opt-iml-max-1.3b` is on the hub, its weights left out: `config.json` with `layers`
    decoder layers, and a byte-level BPE tokenizer of `tokens` tokens whose merges are pairs of bytes. Returns it."""
    from tokenizers.pre_tokenizers import ByteLevel

    folder = Path(folder)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(OPT_IML_MAX_1_3B | {"num_hidden_layers": layers}, indent=1))
    letters = sorted(ByteLevel.alphabet())
    pairs = list(itertools.islice(itertools.product(letters, letters), tokens - len(OPT_SPECIAL) - len(letters)))
    vocabulary = [*OPT_SPECIAL, *letters, *map("".join, pairs)]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *map(" ".join, pairs), ""]))
    names = {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(names))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(names | {"add_bos_token": True, "add_prefix_space": False, "tokenizer_class": "GPT2Tokenizer"})
    )
    return folder
