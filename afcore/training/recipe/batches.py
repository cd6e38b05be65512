"""The endless sequence of training samples, and the tensors of a batch. Sample number k is the same whoever asks for
it, when, and in how many processes: everything random in it comes from the seed and k."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from afcore.errors import BadRequest
from afcore.training.recipe.blending import Blend
from afcore.training.recipe.config import Config, Stage
from afcore.training.recipe.manifests import Sound
from afcore.training.recipe.sources import DataSource, Sources
from afcore.training.recipe.texts import TrainingSample

_tokenising = threading.Lock()  # a fast tokenizer is not to be used by two threads at once


class SampleSequence:
    """The samples of one stage."""

    def __init__(self, config: Config, stage: Stage, sources: Sources):
        self.config, self.stage = config, stage
        self.places = {key: key.partition(":")[::2] for key in stage.mix}  # name and form of each key of the mix
        self.sources: dict[str, DataSource] = {name: sources[name] for name, _ in self.places.values()}
        for name, form in self.places.values():
            self.sources[name].check(form, stage)
        self.sizes = {key: self.sources[name].size for key, (name, _) in self.places.items()}
        self.blend = Blend(self.sizes, stage.mix, stage.epoch_share, config.seed)
        if stage.mix and self.blend.start(1) < 1:
            raise BadRequest(f"An epoch of the stage {stage.name} holds no sample: raise epoch_share or the weights.")

    @property
    def steps(self) -> int:
        """Optimiser steps of the stage."""
        if self.stage.steps:
            return self.stage.steps
        assert self.stage.epochs, "a stage has either"
        whole = int(self.stage.epochs)
        before, after = self.blend.start(whole), self.blend.start(whole + 1)
        samples = before + (self.stage.epochs - whole) * (after - before)
        return max(1, int(samples) // self.stage.batch)

    @property
    def silence(self) -> np.ndarray:
        """(E,) float32, what fills places without a window."""
        return next(iter(self.sources.values())).silence

    def signature(self) -> list[str]:
        """Changes with whatever of its datasets decides which samples come."""
        return [self.sources[name].signature() for name in sorted(self.sources)]

    def sounds(self) -> list[Sound]:
        """All sounds that may be needed."""
        return list(dict.fromkeys(sound for source in self.sources.values() for sound in source.sounds()))

    def prepare(self, make: bool) -> None:
        """Loads what the samples need, or makes it first where `make` is set: the neighbours of each dataset."""
        for name, source in self.sources.items():
            source.prepare({form for other, form in self.places.values() if other == name}, make)

    def __getitem__(self, number: int) -> TrainingSample:
        draw = self.blend.draw(number)
        name, form = self.places[draw.dataset]
        rng = np.random.default_rng([self.config.seed, number, 1])
        return self.sources[name].sample(form, draw.row, rng, self.stage)

    def features(self, number: int, sample: TrainingSample) -> list[np.ndarray]:
        """What is heard of each sound of sample `number`, (windows, E) float32, as training hears it."""
        name, _ = self.places[self.blend.draw(number).dataset]
        return self.sources[name].features(sample, np.random.default_rng([self.config.seed, number, 2]))


def collate(
    samples: Sequence[TrainingSample],
    features: Sequence[Sequence[np.ndarray]],
    tokenizer: PreTrainedTokenizerBase,
    slots: int,
    silence: np.ndarray,
    pad_audios_to: int | None = None,
    max_tokens: int = 512,
) -> dict[str, Tensor]:
    """`features`: per sample (windows, E) float32 of each of its sounds; `silence` (E,).

    Returns input_ids, attention_mask (B, T), padded on the right and cut after `max_tokens`; labels (B, T), −100 where
    there is no loss; audio_embeds (B, A·slots, E) and audio_mask (B, A·slots), padded with silence to `pad_audios_to`
    audios or to the most there are."""
    rows = []
    with _tokenising:
        start = list(tokenizer("").input_ids)  # what the tokenizer puts in front by itself
        for sample in samples:
            ids, labels = list(start), [-100] * len(start)
            for text, counts in sample.pieces:
                piece = tokenizer(text, add_special_tokens=False).input_ids
                ids += piece
                labels += piece if counts else [-100] * len(piece)
            rows.append((ids[:max_tokens], labels[:max_tokens]))
    length = max(len(ids) for ids, _ in rows)
    audios = pad_audios_to or max(len(sample.sounds) for sample in samples)
    batch = {
        "input_ids": torch.full((len(rows), length), tokenizer.pad_token_id or 0),
        "labels": torch.full((len(rows), length), -100),
        "attention_mask": torch.zeros(len(rows), length, dtype=torch.long),
        "audio_embeds": torch.from_numpy(silence).repeat(len(rows), audios * slots, 1),
        "audio_mask": torch.zeros(len(rows), audios * slots, dtype=torch.bool),
    }
    for r, ((ids, labels), sounds) in enumerate(zip(rows, features, strict=True)):
        batch["input_ids"][r, : len(ids)] = torch.tensor(ids)
        batch["labels"][r, : len(ids)] = torch.tensor(labels)
        batch["attention_mask"][r, : len(ids)] = 1
        for a, of_sound in enumerate(sounds):
            windows, at = torch.from_numpy(of_sound[:slots]), a * slots
            batch["audio_embeds"][r, at : at + len(windows)] = windows
            batch["audio_mask"][r, at : at + len(windows)] = True
    return batch
