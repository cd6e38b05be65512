"""Small random models around small decoders, and inputs for them."""

from types import SimpleNamespace

import torch

from afcore.model import AudioFlamingo, AudioFlamingoConfig

AUDIO, EOC, SEP, PAD = 90, 91, 92, 1
DECODERS = {
    "opt": {
        "model_type": "opt",
        "hidden_size": 32,
        "word_embed_proj_dim": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "ffn_dim": 64,
        "vocab_size": 96,
        "max_position_embeddings": 128,
        "dropout": 0.0,
    },
    "llama": {
        "model_type": "llama",
        "hidden_size": 36,
        "num_hidden_layers": 5,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
        "vocab_size": 96,
        "tie_word_embeddings": True,
    },
    "gpt2": {
        "model_type": "gpt2",
        "n_embd": 32,
        "n_layer": 4,
        "n_head": 4,
        "n_positions": 128,
        "vocab_size": 96,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
    },
    "qwen2": {
        "model_type": "qwen2",
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
        "vocab_size": 96,
    },
}


def build(decoder="llama", seed=0, **changes) -> AudioFlamingo:
    """A small random model whose gates are open, so that the audio matters."""
    sizes = {
        "text_config": dict(DECODERS[decoder], pad_token_id=PAD, bos_token_id=2, eos_token_id=2),
        "feature_width": 24,
        "audio_width": 24,
        "audio_heads": 4,
        "audio_inner": 48,
        "cross_attn_heads": 2,
        "cross_attn_dim_head": 8,
        "cross_attn_layers": [1, 3],
        "audio_token_id": AUDIO,
        "endofchunk_token_id": EOC,
        "sep_token_id": SEP,
    }
    torch.manual_seed(seed)
    model = AudioFlamingo(AudioFlamingoConfig(**{**sizes, **changes})).eval()
    embedding = model.get_input_embeddings().weight
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("_gate"):
                parameter.fill_(0.7)
            elif parameter is embedding:
                parameter.normal_(std=0.2)  # small, or every token would only call for itself
            elif parameter.dim() == 2:
                parameter.normal_(std=parameter.shape[1] ** -0.5)
    return model


def build_mini(tag_words=0, **changes) -> AudioFlamingo:
    """The shape of mini: tag front end, padded windows masked."""
    model = build(
        feature_width=12 + 20,
        tag_count=20,
        tag_tokens=3,
        tag_words=tag_words,
        front_end="tags",
        mask_padded_windows=True,
        max_positions=9 * 16 * (2 + 3 * (1 + tag_words)),
        **changes,
    )
    ids = torch.arange(40).view(20, 2).tolist()
    model.front_end.set_tag_text(model.get_input_embeddings(), ids)
    return model


def inputs(model, windows=((3, 16, 1),), length=21, seed=1, pad=None) -> dict:
    """One row per tuple of window counts, an `<audio>` token for each; `pad`: "left" or "right" makes
    every row after the first four tokens shorter."""
    generator = torch.Generator().manual_seed(seed)
    audios = max(len(row) for row in windows)
    mask = torch.zeros(len(windows), audios * 16)
    ids = torch.randint(3, 80, (len(windows), length), generator=generator)
    attention = torch.ones(len(windows), length, dtype=torch.long)
    for r, row in enumerate(windows):
        short = 4 if pad and r else 0
        first = short if pad == "left" else 0
        for a, count in enumerate(row):
            mask[r, a * 16 : a * 16 + count] = 1
            ids[r, first + 2 + 5 * a] = AUDIO
        if short:
            where = slice(0, short) if pad == "left" else slice(length - short, None)
            attention[r, where], ids[r, where] = 0, PAD
    embeds = torch.randn(len(windows), audios * 16, model.config.feature_width, generator=generator)
    return {"input_ids": ids, "attention_mask": attention, "audio_embeds": embeds, "audio_mask": mask}


class Letters:
    """A tokenizer of one token a character."""

    eos_token_id = 2
    pad_token_id = 0

    def __call__(self, text, **how):
        ids = [ord(c) % 60 + 4 for c in text]
        return SimpleNamespace(input_ids=torch.tensor([ids]) if "return_tensors" in how else ids)

    def decode(self, tokens, **how):
        return " ".join(map(str, tokens))
