"""What the hub has of the published model, made up and small."""

import json
from pathlib import Path

import pytest
import torch
from golden_cases import HERE, fill_module
from tokenizers.pre_tokenizers import ByteLevel

from afcore.published.convert import published_config, published_tokenizer

VOCABULARY = 160


def opt_folder(folder: Path) -> Path:
    """Files of `facebook/opt-iml-max-1.3b` as the hub has them, with a tiny model's sizes and a vocabulary of bytes."""
    folder.mkdir(parents=True)
    letters = sorted(ByteLevel.alphabet())[: VOCABULARY - 3 - 4]
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *letters]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "special_tokens_map.json").write_text(
        json.dumps({"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>"})
    )
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "add_bos_token": True,
                "add_prefix_space": False,
                "bos_token": "</s>",
                "eos_token": "</s>",
                "unk_token": "</s>",
                "pad_token": "<pad>",
                "tokenizer_class": "GPT2Tokenizer",
            }
        )
    )
    (folder / "config.json").write_text(
        json.dumps(
            {
                "model_type": "opt",
                "hidden_size": 64,
                "word_embed_proj_dim": 64,
                "num_hidden_layers": 4,
                "num_attention_heads": 4,
                "ffn_dim": 128,
                "vocab_size": VOCABULARY - 3,
                "max_position_embeddings": 256,
                "pad_token_id": 1,
                "bos_token_id": 2,
                "eos_token_id": 2,
            }
        )
    )
    return folder


def published_state(config) -> dict:
    """Random weights of a model of `config` under the published names, second copies left out."""
    from afcore.published.convert import _wanted

    draw = torch.Generator().manual_seed(5)
    state = {}
    for key, shape in _wanted(config).items():
        scale = 0.5 if "embed_tokens" in key else shape[-1] ** -0.5
        value = torch.randn(shape, generator=draw) * scale if len(shape) > 1 else torch.ones(shape)
        state[key.replace("language_model.", "lang_encoder.")] = value
    return state


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """What the hub has, made up and small: `chat.pt`, `clapcap_weights_2023.pth`, the folder `opt`."""
    folder = tmp_path_factory.mktemp("sources")
    tokenizer = published_tokenizer(opt_folder(folder / "opt"))
    config = published_config(json.loads((folder / "opt" / "config.json").read_text()), tokenizer)
    config.text_config.vocab_size = VOCABULARY
    torch.save({"model_state_dict": published_state(config)}, folder / "chat.pt")
    arrays = fill_module().state_dict(HERE / "clapcap.keys.json", 0)
    torch.save(
        {"model": {key: torch.from_numpy(value) for key, value in arrays.items()}}, folder / "clapcap_weights_2023.pth"
    )
    return folder
