"""A recipe that runs in a blink: a language model of a few thousand weights, mini's encoder, tones for sounds."""

import json
import multiprocessing
import os
import sys
import types
from pathlib import Path

import soundfile
from tiny import RATE, TONES, tiny_tokenizer, tone

from afcore import paths, prompts

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "afcore.training.recipe.stages",
        "transformers.models.llama.modeling_llama",
        "transformers.models.opt.modeling_opt",
        "peft",
        "librosa",
        "plotly.graph_objects",
    ]
)

LLAMA = {
    "feature_width": 911,
    "front_end": "tags",
    "tag_count": 527,
    "tag_tokens": 2,
    "audio_width": 32,
    "audio_heads": 4,
    "audio_inner": 48,
    "cross_attn_layers": [1, 2],
    "cross_attn_heads": 2,
    "cross_attn_dim_head": 8,
    "ff_mult": 2,
    "max_positions": 9 * 16 * 4,
    "mask_padded_windows": True,
}
"""mini's shape."""

OPT = {
    "feature_width": 911,
    "audio_width": 911,
    "audio_heads": 1,
    "audio_layers": 1,
    "audio_inner": 16,
    "cross_attn_heads": 2,
    "cross_attn_dim_head": 8,
    "ff_mult": 1,
    "max_positions": 64,
}
"""The published model's: no front end, padded windows inside, a block before every layer."""


def language_model(folder: Path, kind: str = "llama", dropout: float = 0.0) -> Path:
    """A folder as `AutoModelForCausalLM` and `AutoTokenizer` read it."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, OPTConfig, OPTForCausalLM

    tokenizer = tiny_tokenizer()
    torch.manual_seed(0)
    common = {
        "vocab_size": len(tokenizer),
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 2048,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if kind == "llama":
        model = LlamaForCausalLM(
            LlamaConfig(**common, num_key_value_heads=2, intermediate_size=64, tie_word_embeddings=True)
        )
    else:
        model = OPTForCausalLM(
            OPTConfig(**common, ffn_dim=64, word_embed_proj_dim=48, dropout=dropout, attention_dropout=dropout)
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def sounds(folder: Path, each: int = 3) -> None:
    """Tones of six names, `each` a little different ones, with manifests `labels.jsonl`, `held_out.jsonl` and
    `dialogues.jsonl`."""
    rows, held_out, dialogues = [], [], []
    folder.mkdir(parents=True, exist_ok=True)
    for label, hz in TONES.items():
        for k in range(each):
            name = f"{label}-{k}.wav"
            soundfile.write(folder / name, tone(hz * (1 + 0.01 * k), 0.6), RATE)
            row = {"audio": name, "prompt": prompts.CLASSIFY, "answer": label, "task": prompts.EVENTS}
            (held_out if k == 0 else rows).append(row)
            dialogues.append({"audio": name, "turns": [["What do you hear?", f"A {label}."], ["Is it one?", "Yes."]]})
    for file, content in {"labels": rows, "held_out": held_out, "dialogues": dialogues}.items():
        (folder / f"{file}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))


def config(folder: Path, model: Path, stages: list[dict], settings: dict = LLAMA, **more) -> Path:
    """Writes a config over the sounds in `folder / "sounds"`."""
    stage = {
        "lr": 3e-3,
        "batch": 4,
        "micro_batch": 2,
        "warmup": 2,
        "log_every": 1,
        "checkpoint_every": 3,
        "max_tokens": 400,
    }
    content = {
        "model": {"marks": "mini", "language_model": str(model), "encoder": str(paths.MINI), "settings": settings},
        "device": "cpu",
        "cache": str(folder / "cache"),
        "data": {
            "labels": {
                "manifest": "sounds/labels.jsonl",
                "augmentations": {"some_options": 0.5, "as_is": 0.5},
                "prefix": 0.5,
            },
            "held_out": {"manifest": "sounds/held_out.jsonl"},
            "dialogues": {"manifest": "sounds/dialogues.jsonl"},
        },
        "stages": [stage | s for s in stages],
        **more,
    }
    file = folder / "config.json"
    file.write_text(json.dumps(content))
    return file


def train(file: Path, work: Path, *arguments: str, environment: dict | None = None) -> None:
    """`python -m afcore.training.recipe` in this process."""
    import torch

    os.environ.update(environment or {})
    torch.set_num_threads(1)
    from afcore.training.recipe.__main__ import main

    main([str(file), "--work", str(work), *arguments])


def start(file: Path, work: Path, *arguments: str, **environment: str):
    """The same in a process of its own, which is returned."""
    process = CONTEXT.Process(target=train, args=(file, work, *arguments), kwargs={"environment": environment})
    # Streamlit's AppTest leaves a page as the main module, which the new process would run first.
    main, sys.modules["__main__"] = sys.modules["__main__"], types.ModuleType("__main__")
    try:
        process.start()
    finally:
        sys.modules["__main__"] = main
    return process


def log(work: Path, stage: str) -> list[dict]:
    """The log without the wall time."""
    rows = [json.loads(line) for line in (work / stage / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]
