"""What the encoder's features of one window can tell, measured before anything asks the language model for it.

    python -m afcore.training.mini.probe --work DIR [--encoder FOLDER] [--only scenes|rendered] [--json FILE]

Small readers (logistic regression, one hidden layer) learn each question from the features of training sounds and
answer it for validation sounds: other packages, fonts and voices. The test split is never read. Questions about two
named sounds are given the sounds by their prototypes, the mean features of their label's training pieces, and have no
bias for either.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from afcore.corpus import describe, scenes
from afcore.corpus.clips import ClipInfo
from afcore.corpus.decoded import Sounds
from afcore.encoders.mini import MiniEncoder

SCENES = {"train": 3000, "validation": 900}
OF_LABEL = 8  # training pieces of a prototype
READERS = {
    "linear": lambda: LogisticRegression(C=0.01, max_iter=300),
    "hidden layer": lambda: MLPClassifier((64,), alpha=1.0, early_stopping=True, max_iter=60, random_state=0),
}


@dataclass
class Result:
    """One question read by one reader. `accuracy`: mean over the answers of the share that is right; chance is one in
    so many."""

    question: str
    features: str
    reader: str
    trained: int
    asked: int
    accuracy: float
    chance: float

    @property
    def interval(self) -> tuple[float, float]:
        """95 % of Wilson's score interval."""
        z, n, p = 1.96, self.asked, self.accuracy
        middle, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return float((middle - half) / (1 + z * z / n)), float((middle + half) / (1 + z * z / n))


Answered = tuple[np.ndarray, Sequence]  # features (n, d) and n answers
Clips = dict[str, list[tuple[np.ndarray, ClipInfo]]]  # split: (features, what is known)


def read(question: str, features: str, train: Answered, judge: Answered) -> list[Result]:
    """Fits each reader on (features, answers) `train`, asks it `judge`."""
    scale, rows = StandardScaler().fit(train[0]), evenly(train[1])
    x, y = scale.transform(train[0])[rows], np.array(train[1])[rows]
    said = {name: make().fit(x, y).predict(scale.transform(judge[0])) for name, make in READERS.items()}
    return [
        Result(
            question,
            features,
            name,
            len(train[1]),
            len(judge[1]),
            float(balanced_accuracy_score(judge[1], answers)),
            1 / len(set(judge[1])),
        )
        for name, answers in said.items()
    ]


def evenly(answers: Sequence) -> np.ndarray:
    """Row numbers in which every answer stands as often as the commonest, rows of the others repeated."""
    by_answer: dict = {}
    for row, answer in enumerate(answers):
        by_answer.setdefault(answer, []).append(row)
    most = max(map(len, by_answer.values()))
    return np.concatenate([np.resize(rows, most) for rows in by_answer.values()])


def pair_inputs(features: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """What a reader of "a or b?" gets: (features ⊙ (a − b), a − b), which changes its sign when a and b change
    places."""
    return np.concatenate([features * (a - b), a - b], -1)


def pair_question(
    question: str, name: str, facts: tuple[str, str], rows: Clips, prototypes: dict[str, np.ndarray]
) -> list[Result]:
    """ "Which of a and b …?" of every scene that has both `facts`, asked both ways round in training, one way in
    judging."""
    sets = {}
    for split, some in rows.items():
        x, y, rng = [], [], np.random.default_rng(3)
        for features, info in some:
            yes, no = (info.extra.get(f) for f in facts)
            if yes not in prototypes or no not in prototypes:
                continue
            ways = (True, False) if split == "train" else (bool(rng.random() < 0.5),)
            for way in ways:
                a, b = (yes, no) if way else (no, yes)
                x.append(pair_inputs(features, prototypes[a], prototypes[b]))
                y.append(int(way))
        sets[split] = np.stack(x), y
    return read(question, name, sets["train"], sets["validation"])


def fact_question(question: str, fact: str, rows: Clips, label: str | None = None) -> list[Result]:
    """What a clip's `fact` is, among the clips that have it (and `label`)."""
    sets = {}
    for split, clips in rows.items():
        some = [
            (f, info.extra[fact])
            for f, info in clips
            if info.extra.get(fact) is not None and label in (None, info.label)
        ]
        sets[split] = np.stack([f for f, _ in some]), [answer for _, answer in some]
    known = set(sets["train"][1])
    keep = [i for i, answer in enumerate(sets["validation"][1]) if answer in known]
    return read(
        question, "whole", sets["train"], (sets["validation"][0][keep], [sets["validation"][1][i] for i in keep])
    )


def measure_rendered(work: Path, encoder: MiniEncoder) -> list[Result]:
    """What is told of instruments and voices."""
    made: Clips = {"train": [], "validation": []}
    rendered = Sounds(work / "rendered")
    for i, row in enumerate(rendered.index):
        if row["split"] in made:
            made[row["split"]].append((one(encoder, rendered.samples(i)), describe.rendered_info(row)))
    asked = (
        ("slow or fast", "tempo"),
        ("slow or fast drum beat", "tempo", "drum beat"),
        ("man or woman", "voice"),
        ("instrument", "instrument"),
        ("family of the instrument", "family"),
        ("acoustic or electronic", "source"),
        ("acoustic or electronic drum beat", "source", "drum beat"),
    )
    return [result for question, fact, *label in asked for result in fact_question(question, fact, made, *label)]


def one(encoder: MiniEncoder, samples: np.ndarray) -> np.ndarray:
    """Features (911,) of the first window."""
    return describe.embed(encoder, samples)[0].astype(np.float32)


def measure_scenes(work: Path, encoder: MiniEncoder) -> list[Result]:
    """What is told of two sounds at once or in turn, and of one that comes again."""
    sounds = Sounds(work / "corpus")
    known = describe.pieces(work / "corpus", sounds, encoder.labels, np.random.default_rng(0))
    whole: Clips = {}
    halves: Clips = {}
    for split, count in SCENES.items():
        rng = np.random.default_rng({"train": 11, "validation": 12}[split])
        draw = describe.scene_sources(work / "corpus", sounds, known, split, rng)
        whole[split], halves[split] = [], []
        for _ in range(count):
            samples, info = scenes.scene(draw, rng)
            whole[split].append((one(encoder, samples), info))
            if "first" in info.extra:
                half = len(samples) // 2
                halves[split].append((one(encoder, samples[:half]) - one(encoder, samples[half:]), info))
    by_label: dict[str, list[int]] = {label: [] for rows in whole.values() for _, info in rows for label in info.events}
    for info in known:
        if info.split == "train" and info.label in by_label:
            by_label[info.label].append(info.source)
    pick = np.random.default_rng(5)

    def first_features(ids: list[int]) -> list[np.ndarray]:
        return [one(encoder, sounds.samples(int(i))[: 5 * scenes.RATE]) for i in pick.permutation(ids)[:OF_LABEL]]

    prototypes = {label: np.mean(first_features(ids), 0) for label, ids in by_label.items() if ids}
    middle = np.mean(list(prototypes.values()), 0)  # so that a − b is about what tells sounds apart
    prototypes = {label: p - middle for label, p in prototypes.items()}
    centred = {split: [(f - middle, info) for f, info in rows] for split, rows in whole.items()}
    results = pair_question("louder of two named sounds", "whole", ("louder", "fainter"), centred, prototypes)
    for low, high in ((4, 7), (7, 11), (11, 15.1)):
        some = [(f, info) for f, info in centred["validation"] if low <= info.extra.get("apart", 0) < high]
        results += pair_question(
            f"of these, {low} to {high:.0f} dB apart",
            "whole",
            ("louder", "fainter"),
            {**centred, "validation": some},
            prototypes,
        )
    results += pair_question("first of two named sounds", "whole", ("first", "then"), centred, prototypes)
    results += pair_question("first of two named sounds", "two halves", ("first", "then"), halves, prototypes)
    return results + fact_question("how many times, 1 to 4", "count", whole)


def table(results: list[Result]) -> str:
    """The results as Markdown, the readers of a question side by side."""
    lines = [
        f"| question | features | trained on | asked | chance | {' | '.join(READERS)} |",
        "|---" * (5 + len(READERS)) + "|",
    ]
    for k in range(0, len(results), len(READERS)):
        of = results[k : k + len(READERS)]
        told = " | ".join(f"{r.accuracy:.1%} ({r.interval[0]:.0%} to {r.interval[1]:.0%})" for r in of)
        first = of[0]
        lines.append(
            f"| {first.question} | {first.features} | {first.trained} | {first.asked} | {first.chance:.1%} | {told} |"
        )
    return "\n".join(lines).replace("%", " %")


def main() -> None:
    from afcore import paths

    parser = argparse.ArgumentParser(prog="python -m afcore.training.mini.probe", description=__doc__.split("\n\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="folder with corpus/ and rendered/")
    parser.add_argument("--encoder", type=Path, default=paths.MINI, help="default assets/mini")
    parser.add_argument("--only", choices=("scenes", "rendered"), help="measure these alone")
    parser.add_argument("--json", type=Path, help="where the numbers are written, too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    encoder = MiniEncoder.load(options.encoder)
    measures = {"scenes": measure_scenes, "rendered": measure_rendered}
    results = [r for name in measures if options.only in (None, name) for r in measures[name](options.work, encoder)]
    if options.json:
        options.json.write_text(json.dumps([asdict(r) | {"interval": r.interval} for r in results], indent=1))
    print(table(results))


if __name__ == "__main__":
    main()
