"""Numbers made with the published code, and what compares the model and the encoder with them. AFCORE_GOLDEN names
another folder of cases."""

import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from afcore.checkpoints.published import load_published
from afcore.model import AudioFlamingoConfig

HERE = Path(__file__).parent / "golden"
GOLDEN = Path(os.environ.get("AFCORE_GOLDEN", HERE))
CASES = sorted(GOLDEN.glob("flamingo-*.npz"))
CLAPCAP = GOLDEN if (GOLDEN / "clapcap.npz").exists() else HERE
TOLERANCE = 1e-5


def clapcap_seed() -> int:
    """The seed of ClapCap's golden weights: ``fill_seed`` of ``clapcap.config.json`` beside them, as the other goldens
    have it, or of ``clapcap.npz`` itself; 0 where neither says."""
    config = CLAPCAP / "clapcap.config.json"
    if config.exists():
        return int(json.loads(config.read_text())["fill_seed"])
    with np.load(CLAPCAP / "clapcap.npz") as case:
        return int(case["fill_seed"]) if "fill_seed" in case else 0


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")


def fill_module():
    path = next(folder / "fill.py" for folder in (GOLDEN, HERE) if (folder / "fill.py").exists())
    spec = importlib.util.spec_from_file_location("golden_fill", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def published_config(sizes: dict) -> AudioFlamingoConfig:
    opt = {
        "model_type": "opt",
        "hidden_size": sizes["hidden"],
        "word_embed_proj_dim": sizes["hidden"],
        "num_hidden_layers": sizes["layers"],
        "num_attention_heads": sizes["heads"],
        "ffn_dim": sizes["ffn"],
        "vocab_size": sizes["vocab"],
        "max_position_embeddings": sizes["max_position_embeddings"],
        "dropout": 0.0,
        "pad_token_id": sizes["pad_token"],
        "bos_token_id": sizes["bos_token"],
        "eos_token_id": sizes["eos_token"],
    }
    return AudioFlamingoConfig(
        text_config=opt,
        feature_width=sizes["D"],
        audio_width=sizes["D"],
        audio_layers=sizes["n_layers"],
        audio_heads=sizes["n_head"],
        audio_inner=sizes["d_inner"],
        max_positions=sizes["max_num_media"],
        max_windows_per_audio=sizes["max_window_per_audio"],
        cross_attn_every=sizes["every"],
        cross_attn_heads=sizes["cross_attn_heads"],
        cross_attn_dim_head=sizes["cross_attn_dim_head"],
        ff_mult=sizes["ff_mult"],
        audio_token_id=sizes["audio_token"],
        endofchunk_token_id=sizes["endofchunk_token"],
        sep_token_id=sizes["sep_token"],
    )


def load(name: str):
    """The model of `flamingo-NAME.config.json`, and its published-layout weights."""
    sizes = json.loads((GOLDEN / f"flamingo-{name}.config.json").read_text())
    arrays = fill_module().state_dict(GOLDEN / f"flamingo-{name}.keys.json", sizes["fill_seed"])
    return load_published({key: torch.from_numpy(value) for key, value in arrays.items()}, published_config(sizes))


def name_of(path: Path) -> str:
    """NAME of `flamingo-NAME.CASE.npz`."""
    return path.name.removeprefix("flamingo-").split(".")[0]


def check_case(model, path: Path) -> None:
    """Audio transformer, logits and greedy answer of `model`, in float32 on its device, against the numbers in
    `path`."""
    case = {key: torch.from_numpy(value) for key, value in np.load(path).items()}
    inputs = {key: case[key] for key in ("input_ids", "attention_mask", "audio_embeds", "audio_mask") if key in case}
    with torch.inference_mode():
        inputs = {key: value.to(model.device) for key, value in inputs.items()}
        audio, _, _ = model.encode_audio(inputs["audio_embeds"], inputs["audio_mask"])
        audio, logits = audio.cpu(), model(**inputs).logits.cpu()
    torch.testing.assert_close(audio, case["audio_transformer_out"], atol=TOLERANCE, rtol=0)
    real = case.get("attention_mask", torch.ones_like(case["input_ids"])).bool()
    torch.testing.assert_close(logits[real], case["logits"][real], atol=TOLERANCE, rtol=0)
    if "greedy_ids" in case:
        new = case["greedy_ids"].shape[1]
        for use_cache in (True, False):
            out = model.generate(**inputs, do_sample=False, max_new_tokens=new, eos_token_id=None, use_cache=use_cache)
            assert out[:, -new:].tolist() == case["greedy_ids"].tolist()


def check_windows(encoder) -> None:
    """HTSAT's and the projection's embeddings of two windows, against the published code's."""
    case = {key: torch.from_numpy(value) for key, value in np.load(CLAPCAP / "clapcap.npz").items()}
    windows = case["windows"].to(encoder.log_mel.window.device)
    with torch.inference_mode():
        latent, embedding = encoder.latent(windows), encoder(windows)
    torch.testing.assert_close(latent.cpu(), case["latent"], atol=1e-5, rtol=0)
    torch.testing.assert_close(embedding.cpu(), case["embedding"], atol=1e-5, rtol=0)
