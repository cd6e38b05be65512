"""`python -m afcore evaluate mini --work DIR`: mini's scores on held-out packages, with their controls beside them.

`--work` is the folder that `python -m afcore.training` made (it holds the decoded test sounds). The shots come from the
shipped bank, whose packages are all on the training side.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from afcore.corpus.clips import ClipSet
from afcore.corpus.held_out import HELD_OUT
from afcore.corpus.items import NamingItem, heard_clip, make_items
from afcore.errors import MissingPart
from afcore.stats import bootstrap_interval, macro_mean

if TYPE_CHECKING:
    from afcore.engine.engine import Engine
    from afcore.engine.loading import LoadEngine

SHOTS = 4
ANY, AMONG = (
    f"{SHOTS} retrieved shots of any label",
    f"{SHOTS} retrieved shots among the options",
)  # the second is what `classify` takes


class NeighbourHits(TypedDict):
    """`student` and `teacher` (n,) of 0 and 1, with the test clips' `truth` and `groups` (n,), and the size of the
    `bank`."""

    student: np.ndarray
    teacher: np.ndarray
    truth: list[str]
    groups: list[str]
    bank: int


def neighbour_hits(clips: ClipSet, teacher: np.ndarray, labels: set[str]) -> NeighbourHits:
    """Whether the nearest training clip has the test clip's label, by the student's embedding and by the teacher's
    own."""
    known = np.flatnonzero(~np.isnan(teacher[:, 0])).tolist()
    bank = [i for i in known if clips[i].split == "train" and clips[i].label in labels]
    test = [i for i in known if clips[i].split == "test" and clips[i].label in labels]
    teacher = np.nan_to_num(teacher)
    truth = np.array([clips[i].label for i in test])
    names = np.array([clips[i].label for i in bank])

    def right(vectors: np.ndarray) -> np.ndarray:
        centre, spread = vectors[bank].mean(0), vectors[bank].std(0) + 1e-3
        unit = (vectors - centre) / spread
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        return (names[(unit[test] @ unit[bank].T).argmax(1)] == truth).astype(float)

    student = np.stack([clips.of(i).astype(np.float32)[:, :384].mean(0) for i in range(len(teacher))])
    return {
        "student": right(student),
        "teacher": right(teacher[:, :384].astype(np.float32)),
        "truth": truth.tolist(),
        "groups": [clips[i].group for i in test],
        "bank": len(bank),
    }


def nearest_neighbour(clips: ClipSet, teacher: np.ndarray, labels: set[str]) -> dict[str, float]:
    """1-nearest-neighbour label accuracy (mean over labels) of test clips among training clips: student's embedding and
    teacher's own."""
    found = neighbour_hits(clips, teacher, labels)
    mine, its = macro_mean(found["student"], found["truth"]), macro_mean(found["teacher"], found["truth"])
    return {
        "student": mine,
        "teacher": its,
        "share": mine / its,
        "queries": len(found["truth"]),
        "bank": found["bank"],
        "chance": 1 / len(set(found["truth"])),
    }


def teacher_rows(corpus: Path, clips: ClipSet) -> np.ndarray:
    """The teacher's outputs of each clip, (clips, 911), matched by id, since the index may have grown; not a number for
    clips that are no pieces of the corpus."""
    row = {json.loads(line)["id"]: n for n, line in enumerate((corpus / "index.jsonl").read_text().splitlines())}
    outputs = np.load(corpus / "teacher.npy", mmap_mode="r")
    found = np.full((len(clips), outputs.shape[1]), np.nan, np.float32)
    for n, clip in enumerate(clips.info):
        if clip.source >= 0 and clip.extra["id"] in row:
            found[n] = outputs[row[clip.extra["id"]]]
    return found


def conditions(
    engine: Engine, clips: ClipSet, items: list[NamingItem], progress: Callable[[int, int], None] | None = None
) -> dict[str, np.ndarray]:
    """For every item and condition the chosen label (as text); 'shuffled answer' is what permuted shots would say."""
    from afcore.retrieval.nearest import prompt_order
    from afcore.retrieval.shuffling import shuffled

    rng = np.random.default_rng(1)
    labels = sorted({option for item in items for option in item.options})
    said = dict(zip(labels, engine.clap.text([f"the sound of {label}" for label in labels]), strict=False))
    chosen: dict[str, list[str]] = {}

    def say(name: str, label: str) -> None:
        chosen.setdefault(name, []).append(label)

    for n, item in enumerate(items):
        sound, options = heard_clip(clips, item.clip, engine.clap), list(item.options)
        shots = prompt_order(engine.neighbours(sound, SHOTS))

        def best(found: dict[str, float]) -> str:
            return max(found, key=lambda label: found[label])

        say("zero-shot", best(engine.classify(sound, options)))
        other = items[int(rng.integers(len(items)))]
        while other.label == item.label:
            other = items[int(rng.integers(len(items)))]
        say(
            "another clip's audio, zero-shot",
            best(engine.classify(heard_clip(clips, other.clip, engine.clap), options)),
        )
        say(ANY, best(engine.classify(sound, options, shots)))
        say(f"{SHOTS} shots, labels shuffled", best(engine.classify(sound, options, shuffled(shots))))
        among = prompt_order(engine.neighbours(sound, SHOTS, labels=set(options)))
        say(AMONG, best(engine.classify(sound, options, among)))
        near = engine.retriever().nearest(sound.vector, 1, labels=options)
        say("CLAP nearest example among the options", near[0].example.label if near else "")
        say("CLAP nearest example, any label", shots[-1].example.label)
        say("CLAP text-to-audio among the options", max(options, key=lambda option: said[option] @ sound.vector))
        if progress and n % 20 == 0:
            progress(n, len(items))
    return {k: np.array(v) for k, v in chosen.items()}


def evaluate(
    work: Path, limit: int | None, load: LoadEngine, progress: Callable[[int, int], None] | None = None
) -> dict:
    """All scores as one dictionary. Raises MissingPart without `work/clips` or the shipped bank."""
    if not (work / "clips" / "clips.jsonl").exists():
        raise MissingPart(
            f"There are no test sounds in {work}: make them with `python -m afcore.training all --work {work}`."
        )
    clips = ClipSet(work / "clips")
    engine = load("mini")
    examples = engine.retriever().bank.examples()
    bank_labels = {example.label for example in examples}
    test = {info.label for info in clips.info if info.split == "test" and info.label}
    train = {info.label for info in clips.info if info.split == "train" and info.label}
    labels = test & train & bank_labels
    packages = {example.package for example in examples}
    items = make_items(clips, "test", labels)
    overlap = packages & {item.package for item in items}
    if overlap:
        raise MissingPart(
            f"The bank holds sounds of the test package {sorted(overlap)[0]}, so the score would not be honest."
        )
    if limit and limit < len(items):
        items = [items[i] for i in np.sort(np.random.default_rng(2).permutation(len(items))[:limit])]
    teacher = teacher_rows(work / "corpus", clips)
    chosen = conditions(engine, clips, items, progress)
    truth, groups = np.array([i.label for i in items]), [i.group for i in items]
    scores = {}
    for name, answers in chosen.items():
        correct = (answers == truth).astype(float)
        scores[name] = {
            "accuracy": float(correct.mean()),
            "interval": bootstrap_interval(correct, groups),
            "macro": macro_mean(correct, list(truth)),
        }
    hit = {name: (answers == truth).astype(float) for name, answers in chosen.items()}

    def line(values: np.ndarray, rows: np.ndarray) -> dict:
        return {
            "mean": float(values[rows].mean()),
            "interval": bootstrap_interval(values[rows], [groups[i] for i in rows]),
        }

    parts = {"all": np.full(len(truth), True), "known": ~np.isin(truth, HELD_OUT), "held out": np.isin(truth, HELD_OUT)}
    apart = {}
    for name, rows in ((name, np.flatnonzero(part)) for name, part in parts.items() if part.any()):
        apart[name] = {
            "items": len(rows),
            "labels": len(set(truth[rows])),
            "zero-shot": line(hit["zero-shot"], rows),
        } | {way: line(hit[way], rows) | {"gain": line(hit[way] - hit["zero-shot"], rows)} for way in (ANY, AMONG)}
    return {
        "items": len(items),
        "sources": len(set(groups)),
        "packages": len({i.package for i in items}),
        "labels": len(set(truth)),
        "options": 10,
        "chance": 0.1,
        "calibration": vars(engine.calibration),
        "precision": engine.dtype_reason,
        "nearest_neighbour": nearest_neighbour(clips, teacher, test & train),
        "ten_options": scores,
        "apart": apart,
    }


def table(result: dict) -> str:
    """The result as Markdown."""
    nn = result["nearest_neighbour"]
    lines = [
        f"Embedding, 1-nearest-neighbour label accuracy, mean over labels "
        f"({nn['queries']} test clips against {nn['bank']} training clips): "
        f"student {nn['student']:.1%}, teacher {nn['teacher']:.1%}, share {nn['share']:.1%}.",
        "",
        f"Right label among 10 options, {result['items']} clips of {result['sources']} sources "
        f"in {result['packages']} packages, "
        f"{result['labels']} labels; chance 10 %:",
        "",
        "| condition | accuracy | 95 % interval | macro |",
        "|---|---|---|---|",
    ]
    for name, s in result["ten_options"].items():
        lines.append(
            f"| {name} | {s['accuracy']:.1%} | {s['interval'][0]:.1%} to {s['interval'][1]:.1%} | {s['macro']:.1%} |"
        )
    lines += [
        "",
        f"| labels | clips | zero-shot | {ANY} | paired gain | {AMONG} | paired gain |",
        "|---|---|---|---|---|---|---|",
    ]

    def span(s, form):
        return f"{s['mean']:{form}} ({s['interval'][0]:{form}} to {s['interval'][1]:{form}})"

    for name, a in result["apart"].items():
        cells = [span(a["zero-shot"], ".1%")] + [
            cell for way in (ANY, AMONG) for cell in (span(a[way], ".1%"), span(a[way]["gain"], "+.1%"))
        ]
        lines.append(f"| {a['labels']} {name} | {a['items']} | {' | '.join(cells)} |")
    return "\n".join(lines)
