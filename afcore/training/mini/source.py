"""Described clips with cached features (`afcore.corpus.clips`) as a dataset of the recipe."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

import numpy as np

from afcore import prompts
from afcore.corpus.clips import ClipSet
from afcore.corpus.held_out import is_held_out
from afcore.corpus.items import make_items
from afcore.errors import BadRequest, MissingPart
from afcore.hashing import sha256_of_file, sha256_of_files
from afcore.training.mini.samples import SampleMaker
from afcore.training.mini.talk import Talk
from afcore.training.recipe.config import Config, Data, Disturbance, HeldOut, Stage
from afcore.training.recipe.disturbance import for_training
from afcore.training.recipe.manifests import Sound
from afcore.training.recipe.sources import HeldOutChoices, embedding_width
from afcore.training.recipe.texts import TrainingSample, loss_pieces
from afcore.training.recipe.windows import save

FEW = 0.1  # share of the clips in which neither a name nor the teacher finds anything: enough to learn to say so
HELD_OUT_SEED = 5


def trained_clips(clips: ClipSet, seed: int = 0) -> np.ndarray:
    """Numbers of the training clips of labels that are not held out, `FEW` of those in which nothing is found."""
    few = np.random.default_rng(seed + 2)
    return np.array(
        [
            i
            for i in range(len(clips))
            if clips[i].split == "train"
            and not is_held_out(clips[i])
            and (clips[i].events or clips[i].extra.get("noise") or few.random() < FEW)
        ]
    )


class ClipSource:
    """Training samples by `SampleMaker`, which draws clips by how rare their labels are; held out are labelled clips of
    the validation split. Forms: "" (one sound), "shots", "dialogues"."""

    def __init__(self, config: Config, data: Data):
        folder = data.clips or data.spoken
        assert folder is not None, "the config says so"
        if not (folder / "clips.jsonl").is_file() or not (folder / "features.npy").is_file():
            raise MissingPart(f"There are no clips with features in {folder}.")
        self.config, self.data, self.folder, self.clips = config, data, folder, ClipSet(folder)
        self.ids = self._ids()
        if not len(self.ids):
            raise BadRequest(f"None of the clips in {folder} is one to train on.")
        self.size = len(self.ids)
        self.maker: SampleMaker | Talk = self._maker()

    def _ids(self) -> np.ndarray:
        return trained_clips(self.clips, self.config.seed)

    def _maker(self) -> SampleMaker | Talk:
        return SampleMaker(self.clips, self.ids, np.full((len(self.clips), 0), -1), self.config.seed)

    @property
    def silence(self) -> np.ndarray:
        return np.zeros(self.clips.features.shape[1], np.float32)

    @property
    def disturb(self) -> Disturbance:
        return self.data.disturb

    @cached_property
    def digest(self) -> str:
        """Of the clips and their features."""
        return sha256_of_files(self.folder / name for name in ("clips.jsonl", "features.npy"))[:16]

    def signature(self) -> str:
        return json.dumps([self.digest, self.data.most_windows, asdict(self.data.disturb)])

    def check(self, form: str, stage: Stage) -> None:
        if stage.pad_audios_to:
            raise BadRequest(
                f"The stage {stage.name} pads audios, but the clips of {self.data.name} have no silence to."
            )
        if form == "shots" and not len(self.maker.labelled):
            raise BadRequest(f"No clip of {self.data.name} has a label, so none can have shots.")

    def sounds(self) -> list[Sound]:
        return []

    def prepare(self, forms: set[str], make: bool) -> None:
        if "shots" not in forms:
            return
        file = self.neighbours_file()
        if not file.exists():
            if not make:
                raise MissingPart(
                    f"The neighbours of {self.data.name} are not known: run the recipe with --prepare first."
                )
            save(file, self._neighbours())
        self.maker.neighbours = np.load(file)

    def neighbours_file(self) -> Path:
        """Where the neighbours of all clips are kept; it changes with the clips and with the CLAP that finds them."""
        clap = self._clap() / "clap.safetensors"
        if not clap.is_file():
            raise MissingPart(f"There are no weights of mini's CLAP in {clap.parent}.")
        return self.config.cache / f"neighbours-{self.digest}-{sha256_of_file(clap)[:12]}.npy"

    def _clap(self) -> Path:
        return self.config.model.clap or self.config.model.encoder

    def _neighbours(self) -> np.ndarray:
        """(clips, 32): each one's nearest labelled clips of other packages, nearest first, −1 where there are fewer."""
        from afcore.clap.mini import MiniClap
        from afcore.corpus.describe import neighbours

        vectors = self.clips.clap_vectors(MiniClap.load(self._clap()), range(len(self.clips)))
        # Every clip is asked about with these beside it, whatever its split, so held-out labels are left out here too.
        usable = [i for i, c in enumerate(self.clips.info) if c.split == "train" and c.label and not is_held_out(c)]
        return neighbours(vectors, [info.package for info in self.clips.info], np.array(usable))

    def sample(self, form: str, row: int, rng: np.random.Generator, stage: Stage) -> TrainingSample:
        """`row` is not looked at: the sampler draws its clips itself, rare labels more often."""
        return self.maker.draw(form, rng)

    def features(self, sample: TrainingSample, rng: np.random.Generator | None) -> list[np.ndarray]:
        read = [self.clips.of(clip).astype(np.float32) for clip in _clips(sample)]
        if rng is None:
            return [windows[: self.data.most_windows] for windows in read]
        return [
            for_training(windows, self.data, embedding_width(self.config, windows.shape[1]), rng) for windows in read
        ]

    def held_out(self, wanted: HeldOut, seed: int) -> HeldOutChoices:
        """Labelled clips of the validation split, whatever was trained on, always the same ones; never of the test
        split."""
        labels = set(self.maker.labels)
        items = make_items(self.clips, "validation", labels, wanted.options, seed=HELD_OUT_SEED)
        if len(labels) < wanted.options:
            raise BadRequest(
                f"The clips of {self.data.name} have {len(labels)} labels, too few for {wanted.options} options."
            )
        if not items:
            raise BadRequest(
                f"No clip of {self.data.name} is set aside for validation and has a label that is trained."
            )
        order = np.random.default_rng(HELD_OUT_SEED).permutation(len(items))[: wanted.items]
        naming, yes_no = [], []
        for item in (items[i] for i in order):
            others = [option for option in item.options if option != item.label]
            naming.append([naming_sample(option, item.clip) for option in (item.label, *others)])
            asked = (item.label, others[0])
            yes_no.append([presence_sample(event, item.clip, said) for event in asked for said in ("yes", "no")])
        return HeldOutChoices(naming, yes_no)


def _clips(sample: TrainingSample) -> Iterator[int]:
    """The numbers of the clips that are its sounds."""
    for clip in sample.sounds:
        assert isinstance(clip, int), "a sample of clips"
        yield clip


def naming_sample(label: str, clip: int) -> TrainingSample:
    """`label` as the answer to "classify this sound." about `clip`."""
    return _answered(prompts.single(prompts.CLASSIFY, prompts.EVENTS), label, clip)


def presence_sample(event: str, clip: int, said: str) -> TrainingSample:
    """`said` as the answer to "can you hear …?" about `clip`."""
    question = prompts.instruction(f"can you hear {event}?", yes_no=True)
    return _answered(prompts.single(question, prompts.QUESTION_ANSWERING), said, clip)


def _answered(prompt: prompts.Prompt, answer: str, clip: int) -> TrainingSample:
    text = prompts.completed(prompt, prompts.answer_of(answer))
    return TrainingSample(loss_pieces(text, prompt.kind), (clip,))
