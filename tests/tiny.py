"""A whole engine made on the spot in a blink: random weights, byte tokenizer, an encoder that measures frequency bands,
and a bank of tones. What it says means nothing; that everything is passed on rightly can be seen all the same."""

from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from afcore.audio.recording import from_samples
from afcore.audio.windows import WindowPlan
from afcore.clap import Clap
from afcore.encoders import AudioEncoder
from afcore.engine import model_folder, own_models
from afcore.engine.calibration import Calibration
from afcore.engine.engine import Engine
from afcore.engine.language import FlamingoText
from afcore.model import AudioFlamingo, AudioFlamingoConfig
from afcore.retrieval.bank import Bank

RATE = 4_000  # Hz
EMBEDDING, TAGS = 12, 20
TONES = {"hum": 120, "buzz": 260, "horn": 440, "whistle": 900, "beep": 1300, "squeak": 1800}  # label: Hz
SPECIAL = ["<audio>", "<|endofchunk|>", "<SEP>", "<|im_end|>", "<pad>"]


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Every byte is a token, and so is each mark."""
    vocab = {c: i for i, c in enumerate([*sorted(pre_tokenizers.ByteLevel.alphabet()), *SPECIAL])}
    core = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|im_end|>", pad_token="<pad>", extra_special_tokens=SPECIAL[:3]
    )


def tiny_model(tokenizer, seed: int = 0, feature_width: int = EMBEDDING + TAGS, tag_count: int = TAGS) -> AudioFlamingo:
    """The shape of mini, with open gates so that the sound matters."""
    audio, eoc, sep, eos, pad = tokenizer.convert_tokens_to_ids(SPECIAL)
    torch.manual_seed(seed)
    model = AudioFlamingo(
        AudioFlamingoConfig(
            text_config={
                "model_type": "llama",
                "hidden_size": 48,
                "num_hidden_layers": 3,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "intermediate_size": 64,
                "vocab_size": len(tokenizer),
                "tie_word_embeddings": True,
                "max_position_embeddings": 4096,
                "bos_token_id": None,
                "eos_token_id": eos,
                "pad_token_id": pad,
            },
            feature_width=feature_width,
            front_end="tags",
            tag_count=tag_count,
            tag_tokens=2,
            audio_width=32,
            audio_heads=4,
            audio_inner=48,
            cross_attn_layers=[1, 2],
            cross_attn_heads=2,
            cross_attn_dim_head=8,
            ff_mult=2,
            max_positions=9 * 16 * 4,
            mask_padded_windows=True,
            audio_token_id=audio,
            endofchunk_token_id=eoc,
            sep_token_id=sep,
        )
    ).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("_gate"):
                parameter.fill_(1.0)
            elif ".gated_cross_attn_layer." in name and parameter.dim() == 2:
                parameter.normal_(std=parameter.shape[1] ** -0.5)
        model.get_input_embeddings().weight.normal_(std=0.5)
        model.get_input_embeddings().weight[-len(SPECIAL) :] *= 0.2  # or an answer might well be nothing but marks
    model.front_end.set_tag_text(model.get_input_embeddings(), [[i % 200, i % 199 + 1] for i in range(tag_count)])
    return model


class TinyEncoder(AudioEncoder):
    """Features of a window: the log energy of 32 frequency bands."""

    name = "tiny"

    plan = WindowPlan(RATE)
    width = EMBEDDING + TAGS
    silence = torch.zeros(EMBEDDING + TAGS)
    labels = tuple(f"band {i}" for i in range(TAGS))

    def embed(self, samples):
        windows, _ = self.plan.cut(samples)
        bands = np.array_split(np.abs(np.fft.rfft(windows)) ** 2, self.width, axis=1)
        energy = np.stack([band.sum(1) for band in bands], 1) / self.plan.window
        return torch.from_numpy(np.log1p(energy).astype(np.float32))

    def names_tags(self):
        return True

    def tags(self, features):
        return features[:, EMBEDDING:].sigmoid().mean(0)


class TinyClap(Clap):
    """Sounds: the mean features, scaled to length 1. Texts: the features of the tone that is named, else noise."""

    name, width = "tiny-clap", EMBEDDING + TAGS

    def reads_features(self):
        return True

    def audio_from_features(self, features):
        mean = (features.mean(0) + 1e-3).numpy()
        return mean / np.linalg.norm(mean)

    def text(self, texts):
        rows = []
        for text in texts:
            named = [hz for label, hz in TONES.items() if label in text]
            if named:
                rows.append(self.audio_from_features(TinyEncoder().embed(tone(named[0]))))
            else:
                noise = np.random.default_rng(len(text)).normal(size=self.width)
                rows.append((noise / np.linalg.norm(noise)).astype(np.float32))
        return np.stack(rows)


def tiny_bank(folder: Path, tones: dict[str, int] = TONES) -> Bank:
    """A bank in ``folder`` with one tone for each label, not embedded yet; the one that is there already, if any."""
    bank = Bank(folder, create=True)
    for label, hz in () if bank.labels() else tones.items():
        recording = from_samples(tone(hz), RATE, label)
        bank.add(recording.data, label, f"A {label} sounds.", recording.duration, group_key=label)
    return bank


def tone(hz: float, seconds: float = 2.0, rate: int = RATE) -> np.ndarray:
    """A sine with one overtone, (T,) float32."""
    t = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * hz * t) + 0.2 * np.sin(2 * np.pi * 1.5 * hz * t)).astype(np.float32)


def tone_clip(hz: float, seconds: float = 2.0):
    """A clip of `tone`."""
    return from_samples(tone(hz, seconds), RATE, f"{hz} Hz").clip()


def tiny_engine(
    folder: Path,
    calibration: Calibration = Calibration(),
    bank: bool = True,
    dtype: torch.dtype = torch.float32,
    name: str = "tiny",
) -> Engine:
    """`folder`: where the bank may put files."""
    tokenizer, encoder = tiny_tokenizer(), TinyEncoder()
    return Engine(
        name,
        FlamingoText(tiny_model(tokenizer).to(dtype), tokenizer, "mini", encoder.silence),
        encoder,
        TinyClap(),
        tiny_bank(folder / "bank") if bank else None,
        calibration,
    )


def made_model(parts: Path, notes: dict) -> Path:
    """A folder of a model of one's own called "mine", whole but for real weights, with ``notes`` of how it was made.
    Its other parts are made in ``parts``, which is new."""
    folder = own_models.home() / "mine"
    folder.mkdir(parents=True)
    parts.mkdir()
    (folder / "model.safetensors").write_text("weights")
    for name in model_folder.PARTS["mini"]:
        (parts / name).write_text(name)
    model_folder.complete(folder, parts, model_folder.Facts("mini", "mini", 8, Calibration(), "mini", notes))
    return folder
