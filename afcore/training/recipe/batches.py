"""The endless sequence of training samples, and the tensors of a batch. Sample number k is the same whoever asks for it,
when, and in how many processes: everything random in it comes from the seed and k."""

from __future__ import annotations

import threading

import numpy as np
import torch
from torch import Tensor

from afcore.errors import BadRequest
from afcore.training.recipe import manifests, texts
from afcore.training.recipe.blending import Blend
from afcore.training.recipe.config import Config, Stage
from afcore.training.recipe.manifests import Row, Sound
from afcore.training.recipe.texts import Sample
from afcore.training.recipe.windows import Windows

_tokenising = threading.Lock()  # a fast tokenizer is not to be used by two threads at once


class Samples:
    """The samples of one stage."""

    def __init__(self, config: Config, stage: Stage, windows: Windows):
        self.config, self.stage, self.windows = config, stage, windows
        names = {key: key.partition(":")[0] for key in stage.mix}
        self.data = {key: config.data[name] for key, name in names.items()}
        read = {name: manifests.read(config.data[name]) for name in set(names.values())}
        self.rows: dict[str, list[Row]] = {key: read[name] for key, name in names.items()}
        self.labels = {key: texts.labels_of(self.data[key], self.rows[key]) for key in stage.mix}
        for key, rows in self.rows.items():
            if ":" in key and len(rows) <= max(stage.shots):
                raise BadRequest(f"{key} has {len(rows)} rows, too few for a query and {max(stage.shots)} shots.")
            most = max(len(row.sounds) for row in rows)
            if stage.pad_audios_to and most > stage.pad_audios_to:
                raise BadRequest(
                    f"A row of {key} has {most} sounds, and {stage.name} pads to only {stage.pad_audios_to}."
                )
        self.sizes = {key: len(rows) for key, rows in self.rows.items()}
        self.blend = Blend(self.sizes, stage.mix, stage.epoch_share, config.seed)
        if self.blend.start(1) < 1:
            raise BadRequest(f"An epoch of the stage {stage.name} holds no sample: raise epoch_share or the weights.")
        self._neighbours: dict[str, np.ndarray] = {}

    @property
    def steps(self) -> int:
        """Optimiser steps of the stage."""
        if self.stage.steps:
            return self.stage.steps
        whole = int(self.stage.epochs)
        before, after = self.blend.start(whole), self.blend.start(whole + 1)
        samples = before + (self.stage.epochs - whole) * (after - before)
        return max(1, int(samples) // self.stage.batch)

    def sounds(self) -> list[Sound]:
        """All sounds that may be needed."""
        return list(dict.fromkeys(sound for rows in self.rows.values() for row in rows for sound in row.sounds))

    def prepare(self, make: bool) -> None:
        """Loads the neighbours of the ":knn" datasets, or finds them first where `make` is set."""
        for key in self.stage.mix:
            if key.endswith(":knn"):
                self._neighbours[key] = self.windows.neighbours(self.rows[key], make)

    def __getitem__(self, number: int) -> Sample:
        draw = self.blend.draw(number)
        row, data = self.rows[draw.dataset][draw.row], self.data[draw.dataset]
        rng = np.random.default_rng([self.config.seed, number, 1])
        kind = draw.dataset.partition(":")[2]
        shots = self._shots(draw.dataset, draw.row, kind, rng) if kind and not (row.turns or row.shots) else []
        return texts.sample(row, data, self.labels[draw.dataset], rng, self.config.model.marks, shots, kind != "random")

    def _shots(self, key: str, query: int, kind: str, rng: np.random.Generator) -> list[Row]:
        """Shots of a query, shuffled (reference section 8)."""
        rows, count = self.rows[key], int(rng.choice(self.stage.shots))
        if kind == "knn":
            chosen = [int(i) for i in self._neighbours[key][query] if i >= 0][:count]
        else:
            own = rows[query].sound.file
            others = (int(i) for i in rng.permutation(len(rows)) if rows[i].sound.file != own)
            chosen = [i for i, _ in zip(others, range(count))]
        return [rows[chosen[i]] for i in rng.permutation(len(chosen))]


def collate(
    samples: list[Sample],
    windows: Windows,
    tokenizer,
    slots: int,
    pad_audios_to: int | None = None,
    max_tokens: int = 512,
) -> dict[str, Tensor]:
    """input_ids, attention_mask (B, T), padded on the right and cut after `max_tokens`; labels (B, T), −100 where there
    is no loss; audio_embeds (B, A·slots, E) and audio_mask (B, A·slots), padded with silence to `pad_audios_to` audios or
    to the most there are."""
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
        "audio_embeds": torch.from_numpy(windows.silence).repeat(len(rows), audios * slots, 1),
        "audio_mask": torch.zeros(len(rows), audios * slots, dtype=torch.bool),
    }
    for r, ((ids, labels), sample) in enumerate(zip(rows, samples)):
        batch["input_ids"][r, : len(ids)] = torch.tensor(ids)
        batch["labels"][r, : len(ids)] = torch.tensor(labels)
        batch["attention_mask"][r, : len(ids)] = 1
        for a, sound in enumerate(sample.sounds):
            features = torch.from_numpy(windows.get(sound)[:slots])
            at = a * slots
            batch["audio_embeds"][r, at : at + len(features)] = features
            batch["audio_mask"][r, at : at + len(features)] = True
    return batch
