"""Where training samples come from. A dataset of a config is a manifest (`ManifestSource`) or of another kind that
`Parts` brings; whatever it is, a sample follows from its number alone."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Protocol

import numpy as np
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from afcore.encoders.mini import EMBEDDING
from afcore.errors import BadRequest
from afcore.model import AudioFlamingo, AudioFlamingoConfig
from afcore.training.recipe import manifests, texts
from afcore.training.recipe.config import Config, Data, HeldOut, Stage
from afcore.training.recipe.disturbance import for_training
from afcore.training.recipe.manifests import ManifestRow, Sound
from afcore.training.recipe.texts import TrainingSample
from afcore.training.recipe.windows import Windows


@dataclass
class HeldOutChoices:
    """What held-out sounds are asked. `naming`: per sound one sample per option, the right answer first. `yes_no`: per
    sound four samples, whether its own name is heard, answered yes and no, then whether another's is."""

    naming: list[list[TrainingSample]]
    yes_no: list[list[TrainingSample]] = field(default_factory=list)


class DataSource(Protocol):
    """A dataset. `size`: its rows, of which an epoch of weight 1 holds one sample each."""

    size: int

    @property
    def silence(self) -> np.ndarray:
        """(E,) float32, what fills places without a window."""

    def signature(self) -> str:
        """Changes with whatever of the dataset decides which samples come."""

    def check(self, form: str, stage: Stage) -> None:
        """Raises BadRequest where `stage` cannot have the samples of `form` (see `config.FORMS`)."""

    def sounds(self) -> list[Sound]:
        """All sounds that must be encoded before; none where the features are there already."""

    def prepare(self, forms: set[str], make: bool) -> None:
        """Loads what the samples of `forms` need, or makes it first where `make` is set."""

    def sample(self, form: str, row: int, rng: np.random.Generator, stage: Stage) -> TrainingSample:
        """A sample of `form` about `row`, or, where a dataset draws its own rows, any; `rng` alone decides."""

    def features(self, sample: TrainingSample, rng: np.random.Generator | None) -> list[np.ndarray]:
        """For each sound of the sample (windows, E) float32; disturbed where there is an `rng`, which alone decides
        how."""

    def held_out(self, wanted: HeldOut, seed: int) -> HeldOutChoices:
        """Sounds that no stage trains on."""


class AuxiliaryLoss(nn.Module):
    """A loss beside that of the answers; its own parameters are trained with the model's."""

    def trains(self, name: str) -> bool:
        """Whether the model's parameter `name` changes in a stage that this loss trains alone."""
        raise NotImplementedError

    def prepare(self, model: AudioFlamingo, tokenizer: PreTrainedTokenizerBase, source: DataSource, seed: int) -> None:
        """Once, before the first loss. `source`: its dataset. Raises BadRequest where that is not of a kind to learn
        from."""
        raise NotImplementedError

    def forward(self, model: AudioFlamingo, rng: np.random.Generator) -> Tensor:
        """The loss of one draw, a scalar; `rng` alone decides which."""
        raise NotImplementedError

    def look(self, model: AudioFlamingo) -> dict[str, float]:
        """How well it does on what is not trained on."""
        raise NotImplementedError

    def seen(self) -> dict[str, float]:
        """Of the draws since it was last asked, what the log shows beside the loss."""
        return {}


@dataclass(frozen=True)
class Parts:
    """What a run can have besides the recipe's own: kinds of datasets (keys of `config.FORMS`) and auxiliary losses, by
    name."""

    sources: Mapping[str, Callable[[Config, Data], DataSource]] = field(default_factory=dict)
    auxiliary: Mapping[str, Callable[[AudioFlamingoConfig, dict], AuxiliaryLoss]] = field(default_factory=dict)


NO_PARTS = Parts()
BRINGS_PARTS = ("afcore.training.mini.parts",)
"""Modules with a `PARTS` of their own. By name, since they build on this package."""


def all_parts() -> Parts:
    """What every module of `BRINGS_PARTS` adds."""
    found = [importlib.import_module(name).PARTS for name in BRINGS_PARTS]
    sources = {name: make for parts in found for name, make in parts.sources.items()}
    return Parts(sources, {name: make for parts in found for name, make in parts.auxiliary.items()})


class Sources:
    """The datasets of a config by name, each read once."""

    def __init__(self, config: Config, windows: Windows, parts: Parts = NO_PARTS):
        self.config, self.windows, self.parts = config, windows, parts
        self._read: dict[str, DataSource] = {}

    def __getitem__(self, name: str) -> DataSource:
        if name not in self._read:
            data = self.config.data[name]
            if data.kind == "manifest":
                self._read[name] = ManifestSource(self.config, data, self.windows)
            elif data.kind in self.parts.sources:
                self._read[name] = self.parts.sources[data.kind](self.config, data)
            else:
                raise BadRequest(f"The dataset {name} is of {data.kind}, which this run cannot read.")
        return self._read[name]


def embedding_width(config: Config, width: int) -> int:
    """How many of `width` values of a window are the embedding; the others are logits of tags."""
    return EMBEDDING if config.model.encoder.is_dir() else width


class ManifestSource:
    """The rows of a manifest, whose sounds `windows` holds."""

    def __init__(self, config: Config, data: Data, windows: Windows):
        self.config, self.data, self.windows = config, data, windows
        self.rows = manifests.read(data)
        self.labels = texts.labels_of(data, self.rows)
        self.size = len(self.rows)
        self._neighbours: np.ndarray | None = None

    @property
    def silence(self) -> np.ndarray:
        return self.windows.silence

    def signature(self) -> str:
        settings = asdict(self.data)
        return json.dumps(
            [
                settings[name]
                for name in ("prompt", "task", "labels", "augmentations", "prefix", "most_windows", "disturb")
            ]
        )

    def check(self, form: str, stage: Stage) -> None:
        key = f"{self.data.name}:{form}" if form else self.data.name
        if form and len(self.rows) <= max(stage.shots):
            raise BadRequest(f"{key} has {len(self.rows)} rows, too few for a query and {max(stage.shots)} shots.")
        most = max(len(row.sounds) for row in self.rows)
        if stage.pad_audios_to and most > stage.pad_audios_to:
            raise BadRequest(f"A row of {key} has {most} sounds, and {stage.name} pads to only {stage.pad_audios_to}.")

    def sounds(self) -> list[Sound]:
        return list(dict.fromkeys(sound for row in self.rows for sound in row.sounds))

    def prepare(self, forms: set[str], make: bool) -> None:
        if "knn" in forms:
            self._neighbours = self.windows.neighbours(self.rows, make)

    def sample(self, form: str, row: int, rng: np.random.Generator, stage: Stage) -> TrainingSample:
        query = self.rows[row]
        shots = self._shots(row, form, rng, stage) if form and not (query.turns or query.shots) else []
        return texts.sample(query, self.data, self.labels, rng, self.config.model.marks, shots, form != "random")

    def _shots(self, query: int, form: str, rng: np.random.Generator, stage: Stage) -> list[ManifestRow]:
        """Shots of a query, shuffled (reference section 8)."""
        rows, count = self.rows, int(rng.choice(stage.shots))
        if form == "knn":
            assert self._neighbours is not None, "prepared before"
            chosen = [int(i) for i in self._neighbours[query] if i >= 0][:count]
        else:
            own = rows[query].sound.file
            others = (int(i) for i in rng.permutation(len(rows)) if rows[i].sound.file != own)
            chosen = [i for i, _ in zip(others, range(count), strict=False)]
        return [rows[chosen[i]] for i in rng.permutation(len(chosen))]

    def features(self, sample: TrainingSample, rng: np.random.Generator | None) -> list[np.ndarray]:
        read = []
        for sound in sample.sounds:
            assert isinstance(sound, Sound), "a sample of a manifest"
            read.append(self.windows.get(sound))
        if rng is None:
            return read
        return [for_training(f, self.data, embedding_width(self.config, f.shape[1]), rng) for f in read]

    def held_out(self, wanted: HeldOut, seed: int) -> HeldOutChoices:
        """Each row's answer among other answers of the dataset."""
        plain = replace(self.data, augmentations={"as_is": 1.0}, prefix=1.0)
        rows = [row for row in self.rows if not row.turns]
        labels = texts.labels_of(self.data, rows)
        if len(labels) < wanted.options:
            raise BadRequest(
                f"The held-out dataset {self.data.name} has {len(labels)} different answers, too few for "
                f"{wanted.options} options."
            )
        rng, marks = np.random.default_rng([seed, 7]), self.config.model.marks
        naming = []
        for row in [rows[i] for i in rng.permutation(len(rows))[: wanted.items]]:
            others = [label for label in labels if label != row.answer]
            options = [row.answer] + [others[i] for i in rng.permutation(len(others))[: wanted.options - 1]]
            naming.append([texts.sample(replace(row, answer=o), plain, labels, rng, marks) for o in options])
        return HeldOutChoices(naming)
