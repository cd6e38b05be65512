"""One clip, one prediction, by the model (all who judge labels) or by plain CLAP; nothing is stored here.

A project's examples serve as an `ExampleBank` to retrieval and prompts (`Examples`), so that what the Retrieve page
does with the shipped bank is done with them unchanged. More shots than fit into one prompt are dealt to several passes,
each with near and far ones, whose log-probabilities are averaged.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from afcore import prompts
from afcore.audio.recording import Clip
from afcore.engine.results import Heard
from afcore.errors import BadRequest, MissingPart
from afcore.published.weights import weights_of
from afcore.retrieval import ExampleBank
from afcore.retrieval.example import Example
from afcore.retrieval.nearest import Retriever, Shot, prompt_order
from afcore.teach.changes import METHODS
from afcore.teach.project import Project
from afcore.teach.schema import EXAMPLE, Label, Prediction, ProjectClip, now

if TYPE_CHECKING:
    import threading
    from pathlib import Path

    from afcore.clap import Clap
    from afcore.engine.engine import Engine

__all__ = ["METHODS", "Examples", "classify", "hear", "model_name", "passes", "stored"]

NN_TEMPERATURE = TEXT_TEMPERATURE = 0.05
"""Divide CLAP similarities before the softmax. They do not change which label is best, only how sure a clip looks."""


_names: WeakKeyDictionary[Engine, str] = WeakKeyDictionary()


def model_name(engine: Engine) -> str:
    """Names the model, its weights and its encoder; another name makes predictions stale."""
    if engine not in _names:  # asked once: files that are replaced later are not what this engine has read
        _names[engine] = f"{engine.name} {weights_of(engine.name)}, {engine.features_name}"
    return _names[engine]


def source_of(clip: ProjectClip) -> str:
    """What takes of one source share."""
    return clip.group_key or clip.sha256


class Examples(ExampleBank):
    """The examples and labels of a project at one moment, as retrieval and prompts want an `ExampleBank`.

    Only examples that have been embedded are in it (`Loop.examples` sees to that). ``mark``: `Settings.mark` of the
    rule by which they are heard.
    """

    def __init__(self, project: Project, engine: Engine, mark: str = ""):
        self._project: Project | None = project
        self._mark = mark
        self._clap = engine.clap.name
        with project.db.read():
            self.labels: list[Label] = project.labels
            vectors = project.vectors(self._clap + mark, EXAMPLE)
            self.items: dict[int, ProjectClip] = {
                clip.id: clip for clip in project.items(EXAMPLE) if clip.id in vectors
            }
        self.matrix = np.stack([vectors[i] for i in self.items]) if self.items else np.zeros((0, 1), np.float32)
        """(N, d) float32 CLAP vectors, in the order of ``items``."""
        self._features: dict[tuple[int, str], np.ndarray | None] = {}

    def __len__(self) -> int:
        return len(self.items)

    @property
    def names(self) -> list[str]:
        """The labels' names in their order."""
        return [label.name for label in self.labels]

    @cached_property
    def retriever(self) -> Retriever:
        """Exact nearest neighbours over them."""
        return Retriever(self, self._clap)

    def examples(self) -> list[Example]:
        """As `ExampleBank.examples`; a hash names the stretch that is heard, so that two segments of a file are two
        sounds."""
        clips = self.items.values()
        return [
            Example(clip.id, clip.known_label, "", clip.key, clip.seconds, group_key=clip.group_key) for clip in clips
        ]

    def clap_matrix(self, model: str) -> tuple[list[int], np.ndarray]:
        """As `ExampleBank.clap_matrix`."""
        return (list(self.items), self.matrix) if model == self._clap else ([], np.zeros((0, 1), np.float32))

    def features(self, example_id: int, model: str) -> np.ndarray | None:
        """As `ExampleBank.features`."""
        if (example_id, model) not in self._features:
            self._features[example_id, model] = self._own_project().features(example_id, model + self._mark)
        return self._features[example_id, model]

    def audio_path(self, example_id: int) -> Path:
        """As `ExampleBank.audio_path`."""
        return self._own_project().sound_path(self.items[example_id])

    def _own_project(self) -> Project:
        if self._project is None:
            raise MissingPart("These examples came without their project, so their sounds are not here.")
        return self._project

    def same_sound(self, sha256: str, start: float = 0.0, seconds: float = math.inf) -> set[int]:
        """Ids of examples that share sound with a stretch of the file with that hash: never its shots."""
        return {
            i
            for i, clip in self.items.items()
            if clip.sha256 == sha256 and clip.start < start + seconds and start < clip.start + clip.seconds
        }

    def sharing_sound(self, clip: ProjectClip) -> set[int]:
        """The same for a clip of the project, which is among them where it is an example itself."""
        return self.same_sound(clip.sha256, clip.start, clip.seconds)

    @cached_property
    def sources(self) -> dict[str, set[str]]:
        """Label -> the sources of its examples."""
        found: dict[str, set[str]] = {}
        for clip in self.items.values():
            found.setdefault(clip.known_label, set()).add(source_of(clip))
        return found

    def left_out(self, clip: ProjectClip) -> set[int]:
        """Ids of examples that must not be shots when ``clip`` is judged as if it were new: what shares sound with it,
        and all takes of its source, as long as every label has other sources."""
        apart = all(len(sources) > 1 for sources in self.sources.values())
        takes = {i for i, other in self.items.items() if apart and source_of(other) == source_of(clip)}
        return takes | self.sharing_sound(clip)


def hear(engine: Engine, clip: Clip, stop: threading.Event | None = None) -> Heard:
    """As `Engine.hear`, in its turn, with the features rounded as they are when stored: what is predicted from a file
    and from a project's stored features is the same."""
    return hear_many(engine, [clip], stop, remember=True)[0]


def hear_many(
    engine: Engine, clips: Sequence[Clip], stop: threading.Event | None = None, remember: bool = False
) -> list[Heard]:
    """As `hear` for each of ``clips``, together."""
    with engine.turns.wait(stop=stop, background=True):
        found = engine.hear_many(clips, remember)
    return [replace(heard, features=heard.features.half().float()) for heard in found]


def stored(engine: Engine, project: Project, item: ProjectClip, mark: str = "") -> Heard | None:
    """A clip of a project as it was heard when it was embedded, without its samples and tags; None where it was not.
    ``mark``: `Settings.mark`."""
    import torch

    features = project.features(item.id, engine.features_name + mark)
    vector = project.vector(item.id, engine.clap.name + mark)
    if features is None or vector is None:
        return None
    plan = engine.encoder.plan
    times = plan.times(min(round(item.seconds * plan.rate), plan.max_samples))
    clip = Clip(np.zeros(0, np.float32), plan.rate, item.start, item.name, item.key)
    return Heard(clip, torch.from_numpy(features), [(item.start + a, item.start + b) for a, b in times], vector, [], {})


def classify(
    engine: Engine,
    heard: Heard,
    examples: Examples,
    method: str = "lm-shots",
    k: int = 4,
    exclude: Collection[int] = (),
    previous: Prediction | None = None,
    stop: threading.Event | None = None,
) -> Prediction:
    """Probabilities of the labels of ``examples`` for a clip, by one of ``METHODS``, and the plain methods' beside
    them.

    ``exclude``: ids of examples that must not be shots (`Examples.same_sound`). ``previous``: an earlier prediction for
    the same clip; where the prompts and shots would be the same, the model is not asked again. Waits for its turn at
    the model. Raises BadRequest where the project has no labels or there is no such method, Cancelled.
    """
    begun = time.perf_counter()
    if engine.closed:
        raise BadRequest("Another model was chosen meanwhile: ask once more.")
    if method not in METHODS:
        raise BadRequest(f"There is no method “{method}”: choose {', '.join(METHODS)}.")
    labels = examples.names
    prompts.check_labels(labels)
    notes: list[str] = []
    nearest, similarity = _nearest(heard.vector, examples, exclude)
    baselines = {"clap-nn": nearest}
    try:
        with engine.turns.wait(stop=stop, background=True):
            baselines["clap-text"] = _by_text(heard.vector, engine.clap, examples.labels)
    except MissingPart as error:  # the language model does without
        if method == "clap-text":
            raise
        notes.append(str(error))
    shots = _shots(engine, heard, examples, method, k, exclude)
    if method in ("lm-shots", "clap-nn") and not shots:
        notes.append("There are no examples for this clip yet.")
    sent: tuple[str, ...] = ()
    if method in baselines:
        probabilities = baselines[method]
    else:
        rounds = passes(shots, engine.max_shots)
        if len(rounds) > 1:
            notes.append(
                f"{len(shots)} examples are more than the {engine.max_shots} that fit beside a sound, so they were "
                f"read in {len(rounds)} passes, whose log-probabilities were averaged."
            )
        with engine.turns.wait(stop=stop, background=True):
            probabilities, sent = _by_model(engine, heard, labels, rounds, previous, shots, examples, exclude)
    shown = tuple(_plain(shot) for shot in shots)
    return Prediction(
        method,
        k if method == "lm-shots" else 0,
        probabilities,
        shown,
        sent,
        " ".join(notes),
        baselines,
        similarity,
        model_name(engine),
        seconds=time.perf_counter() - begun,
        at=now(),
    )


def passes(shots: Sequence[Shot], most: int) -> list[list[Shot]]:
    """Deals shots, nearest first, to as few passes of at most ``most`` as will do; one empty pass for no shots."""
    count = max(1, -(-len(shots) // most)) if shots else 1
    return [list(shots[i::count]) for i in range(count)]


def _shots(
    engine: Engine, heard: Heard, examples: Examples, method: str, k: int, exclude: Collection[int]
) -> list[Shot]:
    wanted = {"lm-shots": k if engine.max_shots else 0, "clap-nn": 1}.get(method, 0)
    if not wanted or not len(examples):
        return []
    # Copies may be shots: a machine's sounds are all alike, and the labels are the user's own.
    return examples.retriever.nearest(
        heard.vector, wanted, exclude_ids=exclude, exclude_near_duplicates=False, labels=examples.names
    )


def _by_model(
    engine: Engine,
    heard: Heard,
    labels: list[str],
    rounds: list[list[Shot]],
    previous: Prediction | None,
    shots: list[Shot],
    examples: Examples,
    exclude: Collection[int],
) -> tuple[dict[str, float], tuple[str, ...]]:
    ordered = [prompt_order(some) for some in rounds]
    asked = [engine.build_prompt(heard, prompts.CLASSIFY, some, labels=labels) for some in ordered]
    sent = tuple(prompt.text for prompt in asked)
    if (
        previous is not None
        and previous.model == model_name(engine)
        and previous.prompts == sent
        and list(previous.probabilities) == labels
        and [shot["id"] for shot in previous.shots] == [shot.example.id for shot in shots]
    ):
        return previous.probabilities, sent
    return engine.score(heard, labels, shots, passes=ordered, bank=examples, exclude=exclude).probabilities, sent


def _nearest(vector: np.ndarray, examples: Examples, exclude: Collection[int]) -> tuple[dict[str, float], float | None]:
    """By the greatest similarity to an example of each label, -1 for a label without any; and the greatest of all."""
    best: dict[str, float] = {}
    similarities = examples.matrix @ vector if len(examples) else ()
    for (i, clip), similarity in zip(examples.items.items(), similarities, strict=False):
        if i not in exclude:
            best[clip.known_label] = max(best.get(clip.known_label, -1.0), float(similarity))
    logits = np.array([best.get(label, -1.0) for label in examples.names]) / NN_TEMPERATURE
    return _softmax(examples.names, logits), max(best.values(), default=None)


_texts: WeakKeyDictionary[Clap, dict[tuple[str, ...], np.ndarray]] = WeakKeyDictionary()


def _by_text(vector: np.ndarray, clap: Clap, labels: Sequence[Label]) -> dict[str, float]:
    """By the similarity of the sound to "the sound of …" each label, with its description where it has one."""
    said = tuple(
        f"the sound of {label.name}" + (f", {label.description}" if label.description else "") for label in labels
    )
    known = _texts.setdefault(clap, {})
    if said not in known:
        known.clear()  # one project at a time is worked on mostly
        known[said] = clap.text(list(said))
    return _softmax([label.name for label in labels], known[said] @ vector / TEXT_TEMPERATURE)


def _softmax(labels: Sequence[str], logits: np.ndarray) -> dict[str, float]:
    values = np.exp(np.asarray(logits, np.float64) - np.max(logits))
    return dict(zip(labels, (values / values.sum()).tolist(), strict=False))


def _plain(shot: Shot) -> dict[str, object]:
    return {"id": shot.example.id, "label": shot.example.label, "similarity": shot.similarity}
