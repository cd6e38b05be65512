"""Step `judges`: what the judges beside the language side know, and how far each is believed.

Whitening and the reference of the judge by name come from training sounds. Temperatures and weights are chosen on
validation sounds of packages and sets, ten options each, without examples and with four a label, which are training
sounds: first each judge's temperature alone, by the mean log-probability of the right label (which asks for doubt where
there is doubt, not only for the right order), then the weights, one after the other from a grid, by the share that is
right in whole per cents and, among equal ones, by log-probability. All begin with the same weight: by log-probability
alone the neighbours were believed so far that sounds everybody knows by name lost.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from afcore import prompts
from afcore.audio.recording import normalise
from afcore.audio.windows import MINI
from afcore.clap.mini import MiniClap
from afcore.corpus.decoded import Sounds, read_index, splits_of
from afcore.corpus.labels import label_by_id
from afcore.corpus.sets import said_as
from afcore.encoders.mini import MiniEncoder
from afcore.engine.engine import Engine
from afcore.engine.judges import (
    EXAMPLES,
    NAMES,
    NEIGHBOURS,
    TEXT,
    JudgesFile,
    Whitening,
    class_means,
    nearest_of_each,
)
from afcore.engine.results import Heard
from afcore.engine.scoring import LANGUAGE
from afcore.errors import BadRequest
from afcore.hashing import sha256_of
from afcore.knowledge.names import ClassVectors
from afcore.retrieval import ExampleBank
from afcore.retrieval.example import Example
from afcore.retrieval.nearest import Retriever, Shot, prompt_order

WHITENED, REFERENCES = 1500, 400
"""Training sounds of the whitening, and among them those of the reference."""
PER_LABEL, MOST = 6, 240
"""Validation sounds of one label, and in all."""
OPTIONS, SHOTS = 10, 4
TEMPERATURES = {
    NAMES: (0.25, 0.35, 0.5, 0.7, 1.0, 1.4),
    TEXT: (0.02, 0.03, 0.05, 0.08, 0.12),
    EXAMPLES: (0.04, 0.06, 0.08, 0.1, 0.14, 0.2),
    NEIGHBOURS: (0.02, 0.03, 0.05, 0.08, 0.12),
}
GRID = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0)


@dataclass(frozen=True)
class KnownSound:
    """A decoded sound: its label as people say it ('' for none), and where it is."""

    id: str
    label: str
    folder: int
    row: int
    split: str


def known_sounds(folders: Sequence[Path]) -> list[KnownSound]:
    """All sounds of the folders of decoded sounds, in an order that their names alone decide; without those whose
    near-duplicate is in a stricter split."""
    rows, places = [], []
    for k, folder in enumerate(folders):
        known = label_by_id(folder)
        for n, row in enumerate(read_index(folder)):
            rows.append({**row, "label": known.get(row["id"]) or row.get("label")})
            places.append((k, n))
    found = [
        KnownSound(row["id"], said_as(row["package"], row["label"]), *place, split)
        for row, place, split in zip(rows, places, splits_of(rows), strict=True)
        if split != "dropped"
    ]
    return sorted(found, key=lambda sound: sha256_of(sound.id))


def hear(engine: Engine, sounds: Sounds, row: int) -> Heard:
    """A decoded sound as the app hears it."""
    samples = normalise(sounds.samples(row))[: MINI.max_samples]
    features = engine.encoder.embed(samples).float().cpu()
    return Heard.of_features(sounds.index[row]["id"], features, engine.clap.audio_from_features(features))


def write_known(
    encoder: MiniEncoder, opened: Sequence[Sounds], sounds: Sequence[KnownSound], vectors: ClassVectors, out: Path
) -> JudgesFile:
    """Writes `out/judges.safetensors` from training sounds, labelled or not."""
    embeddings, tags = [], []
    for sound in [sound for sound in sounds if sound.split == "train"][:WHITENED]:
        features = encoder.embed(normalise(opened[sound.folder].samples(sound.row))[: MINI.window])
        embeddings.append(encoder.embedding_of(features).mean(0).numpy())
        tags.append(encoder.tags(features).numpy())
    JudgesFile(np.stack(tags[:REFERENCES]), Whitening.of(np.stack(embeddings)), vectors).save(
        out / "judges.safetensors"
    )
    return JudgesFile.load(out / "judges.safetensors")


@dataclass(frozen=True)
class LabelTrial:
    """One validation sound with its options, the right one first, and each judge's raw scores (options,)."""

    scores: dict[str, np.ndarray]


class Drawn(ExampleBank):
    """The examples that one validation sound is judged by, `SHOTS` of each label."""

    def __init__(self, engine: Engine, labels: Sequence[str], heard: Sequence[Heard]):
        self._engine, self._labels, self._heard = engine, labels, heard

    def examples(self) -> list[Example]:
        """As `ExampleBank.examples`."""
        return [Example(n, self._labels[n // SHOTS], "", heard.key, 0.0) for n, heard in enumerate(self._heard)]

    def clap_matrix(self, model: str) -> tuple[list[int], np.ndarray]:
        """As `ExampleBank.clap_matrix`."""
        return list(range(len(self._heard))), np.stack([heard.vector for heard in self._heard])

    def features(self, example_id: int, model: str) -> np.ndarray:
        """As `ExampleBank.features`."""
        return self._heard[example_id].features.numpy()


def parts_of(engine: Engine) -> tuple[MiniEncoder, MiniClap]:
    """Mini's encoder and CLAP. Raises BadRequest for an engine that is not mini."""
    encoder, clap = engine.encoder, engine.clap
    if not isinstance(encoder, MiniEncoder) or not isinstance(clap, MiniClap):
        raise BadRequest(f"Only mini's judges are fitted here, not those of {engine.name}.")
    return encoder, clap


def trials(
    engine: Engine, known: JudgesFile, opened: Sequence[Sounds], sounds: Sequence[KnownSound], with_examples: bool
) -> list[LabelTrial]:
    """Asks every judge about the validation sounds."""
    labelled = [sound for sound in sounds if sound.label]
    examples: dict[str, list[KnownSound]] = defaultdict(list)
    for sound in labelled:
        if sound.split == "train" and len(examples[sound.label]) < SHOTS:
            examples[sound.label].append(sound)
    full = sorted(label for label, some in examples.items() if len(some) == SHOTS)
    asked: dict[str, list[KnownSound]] = defaultdict(list)
    for sound in labelled:
        if sound.split == "validation" and sound.label in full and len(asked[sound.label]) < PER_LABEL:
            asked[sound.label].append(sound)
    labels = sorted(asked)
    chosen = [sound for label in labels for sound in asked[label]]
    chosen = sorted(chosen, key=lambda sound: sha256_of(sound.id))[:MOST]
    encoder, clap = parts_of(engine)
    names = known.name_judge(clap)
    remembered: dict[str, Heard] = {}

    def heard_of(sound: KnownSound) -> Heard:
        if sound.id not in remembered:
            remembered[sound.id] = hear(engine, opened[sound.folder], sound.row)
        return remembered[sound.id]

    def whitened(heard: Heard) -> np.ndarray:
        return known.whitening(encoder.embedding_of(heard.features).mean(0).numpy())

    rng, out = np.random.default_rng(0), []
    for n, sound in enumerate(chosen):
        others = rng.permutation([label for label in labels if label != sound.label])[: OPTIONS - 1]
        options, heard = [sound.label, *map(str, others)], heard_of(sound)
        scores = {
            NAMES: names.scores(options, engine.encoder.tags(heard.features).numpy()),
            TEXT: engine.clap.text([f"the sound of {label}" for label in options]) @ heard.vector,
        }
        shots: list[Shot] = []
        if with_examples:
            shown = [heard_of(example) for label in options for example in examples[label]]
            shots = Retriever(Drawn(engine, options, shown), engine.clap.name).nearest(heard.vector, SHOTS)
            of = [label for label in range(OPTIONS) for _ in range(SHOTS)]
            scores[EXAMPLES] = class_means(whitened(heard), np.stack([whitened(x) for x in shown]), of, OPTIONS)
            scores[NEIGHBOURS] = nearest_of_each(heard.vector, np.stack([x.vector for x in shown]), of, OPTIONS)
        bare = engine.build_prompt(heard, prompts.CLASSIFY, labels=options)
        prompt = engine.build_prompt(heard, prompts.CLASSIFY, prompt_order(shots), labels=options) if shots else bare
        said = engine.probabilities(heard, prompt, options, bare)
        scores[LANGUAGE] = np.log(np.maximum([said[label] for label in options], 1e-30))
        out.append(LabelTrial(scores))
        if (n + 1) % 40 == 0:
            print(f"{n + 1} of {len(chosen)} validation sounds, {len(labels)} labels", flush=True)
    return out


def log_softmax(scores: np.ndarray) -> np.ndarray:
    """scores (…, k) → log-probabilities."""
    return torch.log_softmax(torch.as_tensor(scores, dtype=torch.float64), -1).numpy()


def best_temperature(grid: Sequence[float], scores: Sequence[np.ndarray]) -> float:
    """That of `grid` by which the right labels, the first of each trial's scores (options,), are likeliest."""
    tried = np.stack(scores)
    return max(grid, key=lambda temperature: float(log_softmax(tried / temperature)[:, 0].mean()))


def choose(
    tried: Sequence[LabelTrial], heat: dict[str, float], left_out: Collection[str] = (LANGUAGE,)
) -> dict[str, float]:
    """The weights under which the right labels are likeliest, by coordinate ascent; what `scoring.pooled` does with
    them is done here for all trials at once. How many are right says less: of 240 trials its standard error is 3 %.

    Those of `left_out` are 0: the language side takes ten times as long as the others together, and is right far less
    often on sounds that training did not know. It is asked where nobody else has anything to say.
    """
    logs = {
        judge: log_softmax(np.stack([t.scores[judge] for t in tried]) / heat.get(judge, 1.0))
        for judge in tried[0].scores
    }
    weights = {judge: 0.0 if judge in left_out else 1.0 for judge in logs}

    def gain(candidate: dict[str, float]) -> float:
        total = sum(candidate.values())
        summed = sum((w * logs[j] for j, w in candidate.items()), np.zeros(()))
        return float(log_softmax(summed / total)[:, 0].mean())

    def gain_with(judge: str) -> Callable[[float], float]:
        return lambda weight: gain({**weights, judge: weight})

    for _ in range(4):
        for judge in [judge for judge in weights if judge not in left_out]:
            grid = [w for w in GRID if w or any(v for j, v in weights.items() if j != judge)]
            weights[judge] = max(grid, key=gain_with(judge))
    return weights


def accuracy(tried: Sequence[LabelTrial], heat: dict[str, float], weights: dict[str, float]) -> float:
    """Share of trials whose right label, the first, has the highest pooled score."""
    pooled = [
        sum(w * log_softmax(t.scores[judge] / heat.get(judge, 1.0)) for judge, w in weights.items()) for t in tried
    ]
    return float(np.mean([int(np.argmax(scores)) == 0 for scores in pooled]))


def write(engine: Engine, folders: Sequence[Path], out: Path) -> dict[str, object]:
    """Writes `out/judges.safetensors` and `out/judges.json`; returns what was measured on validation sounds.

    ``engine``: mini, with any judges or none; only its parts are asked.
    """
    encoder, clap = parts_of(engine)
    vectors = ClassVectors.of(lambda texts: clap.sentences(texts).numpy())
    opened, sounds = [Sounds(folder) for folder in folders], known_sounds(folders)
    known = write_known(encoder, opened, sounds, vectors, out)
    alone, shown = trials(engine, known, opened, sounds, False), trials(engine, known, opened, sounds, True)
    heat = {judge: best_temperature(grid, [t.scores[judge] for t in shown]) for judge, grid in TEMPERATURES.items()}
    settings = {"alone": choose(alone, heat), "with_examples": choose(shown, heat), "temperature": heat}
    (out / "judges.json").write_text(json.dumps(settings, indent=1) + "\n")
    found: dict[str, object] = {"sounds": len(alone), **settings}
    for name, tried in (("alone", alone), ("with_examples", shown)):
        single = {judge: accuracy(tried, heat, {judge: 1.0}) for judge in tried[0].scores}
        found[f"right {name}"] = {**single, "all": accuracy(tried, heat, settings[name])}
    return found
