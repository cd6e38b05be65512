"""Clips that are spoken about (`afcore.corpus.spoken`) as a dataset of the recipe."""

from __future__ import annotations

import numpy as np

from afcore import prompts
from afcore.corpus.describe import neighbours
from afcore.errors import BadRequest
from afcore.knowledge.table import option_name, options_near
from afcore.training.mini.source import ClipSource, naming_sample, presence_sample
from afcore.training.mini.talk import ChangedClip, Talk, read_sentences, trained, truth_of_clip
from afcore.training.recipe.config import HeldOut
from afcore.training.recipe.disturbance import for_training
from afcore.training.recipe.sources import HeldOutChoices, embedding_width
from afcore.training.recipe.texts import TrainingSample

HELD_OUT_SEED = 5


class TalkSource(ClipSource):
    """Training samples by `Talk`; held out are single sounds of the validation split. Forms: "" (one sound), "shots",
    "dialogues"."""

    def _ids(self) -> np.ndarray:
        return trained(self.clips)

    def _maker(self) -> Talk:
        return Talk(
            self.clips,
            self.ids,
            np.full((len(self.clips), 0), -1),
            read_sentences(self.data.sentences),
            self.config.seed,
        )

    def _neighbours(self) -> np.ndarray:
        """(clips, 32): each one's nearest labelled clips of other packages, nearest first, −1 where there are fewer."""
        from afcore.clap.mini import MiniClap

        vectors = self.clips.clap_vectors(MiniClap.load(self._clap()), range(len(self.clips)))
        return neighbours(vectors, [info.package for info in self.clips.info], np.sort(self.maker.labelled))

    def features(self, sample: TrainingSample, rng: np.random.Generator | None) -> list[np.ndarray]:
        found: list[np.ndarray] = []
        for sound in sample.sounds:
            assert isinstance(sound, ChangedClip)
            windows = self.clips.of(sound.clip).astype(np.float32)
            width = embedding_width(self.config, windows.shape[1])
            heard = windows[: self.data.most_windows] if rng is None else for_training(windows, self.data, width, rng)
            found.append(with_changes(heard, sound, width))
        return found

    def held_out(self, wanted: HeldOut, seed: int) -> HeldOutChoices:
        """Sounds of the validation split, each with its strongest event among names of other classes."""
        rows = [
            (i, truth)
            for i in range(len(self.clips))
            if self.clips[i].split == "validation" and "parts" not in self.clips[i].extra
            for truth in [truth_of_clip(self.clips[i])]
            if truth.events and truth.sure and not truth.main.general
        ]
        if not rows:
            raise BadRequest(f"No clip of {self.data.name} is set aside for validation.")
        order = np.random.default_rng(HELD_OUT_SEED).permutation(len(rows))[: wanted.items]
        naming, yes_no = [], []
        for clip, truth in (rows[int(k)] for k in order):
            own = prompts.answer_of(option_name(truth.main))
            others = [prompts.answer_of(option_name(s)) for s in options_near(truth.main.name, wanted.options - 1)]
            naming.append([_heard(naming_sample(name, clip)) for name in (own, *others)])
            asked = (own, others[0])
            yes_no.append([_heard(presence_sample(e, clip, said)) for e in asked for said in ("yes", "no")])
        return HeldOutChoices(naming, yes_no)


def with_changes(features: np.ndarray, sound: ChangedClip, embedding: int) -> np.ndarray:
    """Features (windows, E) in which some logits have the values of others. The embedding, which would say what was
    there before, is 0 then."""
    if not sound.changes:
        return features
    changed = features.copy()
    changed[:, :embedding] = 0
    for to, source in sound.changes:
        changed[:, embedding + to] = features[:, embedding + source]
    return changed


def _heard(sample: TrainingSample) -> TrainingSample:
    """A sample about clips by their numbers as one about clips of which nothing is changed."""
    return TrainingSample(sample.pieces, tuple(ChangedClip(clip) for clip in sample.sounds if isinstance(clip, int)))
