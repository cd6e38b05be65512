"""What an engine gives back: a clip as it was heard, and an answer with everything that led to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from afcore.audio.notices import Notice
from afcore.audio.recording import Clip
from afcore.prompts import Prompt

if TYPE_CHECKING:
    from afcore.retrieval.nearest import Shot


@dataclass(frozen=True, eq=False)
class Heard:
    """A clip as the model and the retrieval see it."""

    clip: Clip
    """Without samples where only the features are kept (`of_features`)."""
    features: Tensor = field(repr=False)
    """(n, E) float32, one row per window, on the CPU."""
    times: list[tuple[float, float]]
    """Start and end of each window in seconds of the recording."""
    vector: np.ndarray = field(repr=False)
    """(d,) float32 unit CLAP embedding."""
    tags: list[tuple[str, float]]
    """The most probable sound classes, (name, probability), best first; empty for an encoder that names none."""
    timings: dict[str, float]
    """Seconds per stage."""
    sha256: str = ""
    """Of the bank's file that this sound is, so that retrieval leaves it out; '' for any other."""
    near: np.ndarray | None = field(default=None, repr=False)
    """(d,) float32 unit embedding by the CLAP that finds the neighbours, where that is not the model's own."""
    in_passing: bool = False
    """Scored among many others: what the model has read of it is not kept, or it would push out somebody's
    conversation."""

    @classmethod
    def of_features(
        cls, key: str, features: Tensor, vector: np.ndarray, sha256: str = "", near: np.ndarray | None = None
    ) -> Heard:
        """A sound of which only ``features`` (n, E) and the CLAP ``vector`` (d,) are kept; ``key`` names its
        content."""
        clip = Clip(np.zeros(0, np.float32), 1, 0.0, key, key)  # no samples, so any rate is as good
        return cls(clip, features, [], vector, [], {}, sha256, near, in_passing=True)

    @property
    def query(self) -> np.ndarray:
        """(d,) what neighbours are found by: `near` where there is one, else `vector`."""
        return self.vector if self.near is None else self.near

    @property
    def key(self) -> str:
        """Names the content of the clip."""
        return self.clip.key

    @property
    def notices(self) -> tuple[Notice, ...]:
        """What is unusual about the clip."""
        return self.clip.notices

    @property
    def silent(self) -> bool:
        """Whether there is nothing to hear in it."""
        return self.clip.silent


@dataclass(frozen=True)
class Opinion:
    """What one judge says."""

    judge: str
    probabilities: dict[str, float]
    """Label to probability, in the order asked, summing to 1."""
    weight: float = 1.0
    """How far it is believed, above 0; only the ratio to the others' weights counts."""

    @property
    def best(self) -> str:
        """The most probable label; of several the first."""
        return max(self.probabilities, key=self.probabilities.__getitem__)


JUDGES_SAID = {
    "language": "the language model",
    "names": "the names against the tags",
    "text": "the text match",
    "examples": "the mean of the examples",
    "neighbours": "the nearest example",
}
"""What judges are called in a sentence."""


@dataclass(frozen=True)
class LabelScores:
    """How probable each label is, and who judged."""

    probabilities: dict[str, float]
    """Label to probability, in the order asked, summing to 1."""
    opinions: tuple[Opinion, ...]

    @property
    def best(self) -> str:
        """The most probable label; of several the first."""
        return max(self.probabilities, key=self.probabilities.__getitem__)

    @property
    def agree(self) -> bool:
        """Whether all judges name the same label."""
        return len({opinion.best for opinion in self.opinions}) == 1

    @property
    def judged_by(self) -> str:
        """Who judged and whether they agree, as a sentence."""
        names = [JUDGES_SAID.get(opinion.judge, opinion.judge) for opinion in self.opinions]
        if len(names) == 1:
            return f"Judged by {names[0]}."
        agreeing = sum(opinion.best == self.best for opinion in self.opinions)
        end = "which agree" if self.agree else f"of which {agreeing} of {len(names)} say the same"
        return f"Judged by {', '.join(names[:-1])} and {names[-1]}, {end}."

    def to_json(self) -> dict[str, Any]:
        """Plain data under the names of the command line's ``--json``."""
        judges = [
            {"judge": o.judge, "label": o.best, "weight": o.weight, "probabilities": o.probabilities}
            for o in self.opinions
        ]
        return {"probabilities": self.probabilities, "judges": judges, "agree": self.agree}


@dataclass(frozen=True, eq=False)
class Answer:
    """What the model said, and everything that led to it."""

    text: str
    prompt: Prompt
    shots: tuple[Shot, ...]
    """As they stand in the prompt."""
    heard: Heard
    timings: dict[str, float]
    """Seconds per stage: ``encode``, ``retrieve``, ``first_token``, ``generate`` (all of the answer, the first token
    included)."""
    model: str
    scores: LabelScores | None = None
    """Where labels were given: how probable each is, and who judged."""
    title: str = ""
    candidates: tuple[tuple[str, float], ...] = ()
    """Where several were asked for: each with its CLAP similarity to the clip, best first."""

    @property
    def probabilities(self) -> dict[str, float] | None:
        """Label to probability, where labels were given."""
        return None if self.scores is None else self.scores.probabilities

    def to_json(self) -> dict[str, Any]:
        """Plain data under the names of the command line's ``--json``."""
        ranked = [{"answer": text, "similarity": similarity} for text, similarity in self.candidates]
        return {
            "answer": self.text,
            **({"candidates": ranked} if ranked else {}),
            "shots": [shot_json(shot) for shot in self.shots],
            "windows": [{"start": start, "end": end} for start, end in self.heard.times],
            "prompt": self.prompt.text,
            **({"padding": self.prompt.padding} if self.prompt.padding else {}),
            "timings": self.timings,
            "model": self.model,
        }


def shot_json(shot: Shot) -> dict[str, Any]:
    """A shot as plain data."""
    example = shot.example
    return {
        "id": example.id,
        "label": example.label,
        "caption": example.caption,
        "similarity": shot.similarity,
        "notices": [notice.to_json() for notice in example.notices],
    }
