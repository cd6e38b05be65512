"""Step `spoken`: the clips that the language side is taught to speak about, with their features and what is true of
them.

Sounds of packages and of sets, each by itself; two training sounds at once; noise, hum and silence. Of each clip the
teacher's tags are kept (`ClipInfo.extra["tags"]`, pairs of class and probability), the classes that its label names
(`"classes"`), and of a blend how much fainter the second sound is (`"behind"`, dB). What is said about a clip is made
from these alone (`afcore.knowledge.truth`).

The features of single sounds are kept per folder (`hear_all`), so that they are computed once whatever is drawn from
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from afcore.corpus.clips import ClipInfo, write_clips
from afcore.corpus.decoded import RATE, Sounds, splits_of
from afcore.corpus.describe import NOISES, described_noises, embed
from afcore.corpus.labels import label_by_id, read_names
from afcore.corpus.sets import said_as
from afcore.corpus.tags import sampling_weights
from afcore.encoders.mini import MiniEncoder
from afcore.knowledge.table import table
from afcore.knowledge.truth import named_among, named_by, tags_of, together

LONGEST = 12.25  # s of a sound that are described: two windows, with the hop between them
BLENDED = 7.0  # s of a blend: one window
FAINTER = (0.0, 16.0)  # dB by which the second sound of a blend is fainter
BEHIND = 8.0  # dB from which on it is called background
QUIET = 0.02  # of the peak
SHARE_VALIDATION = 0.1  # of blends, made of validation sounds
MOST_PIECES = 9000  # of packages; half of them is speech and music, which would drown the rest
MOST_VALIDATION = 900
BLENDS = 7000


def hear_all(folder: Path, encoder_folder: Path) -> None:
    """Writes `folder/heard.npz`: the student's features of every sound's first 12.25 s, `features` (windows, 911)
    float16 and `counts` (sounds,)."""
    sounds, encoder = Sounds(folder), MiniEncoder.load(encoder_folder)
    found = []
    for i in range(len(sounds.index)):
        found.append(embed(encoder, sounds.samples(i)[: int(LONGEST * RATE)]))
        if i % 1000 == 0:
            print(f"{folder.name}: heard {i} of {len(sounds.index)} sounds", flush=True)
    np.savez(
        folder / "heard.tmp.npz",
        features=np.concatenate(found),
        counts=np.array([len(rows) for rows in found], np.int32),
    )
    (folder / "heard.tmp.npz").replace(folder / "heard.npz")


class Folder:
    """A folder of decoded sounds with the teacher's tags, the student's features and labels."""

    def __init__(self, path: Path):
        self.sounds = Sounds(path)
        self.logits = np.load(path / "teacher.npy", mmap_mode="r")[:, -527:]
        heard = np.load(path / "heard.npz")
        self.features = np.split(heard["features"], np.cumsum(heard["counts"])[:-1])
        self.labels = _labels(path, self.sounds.index)

    def __len__(self) -> int:
        return len(self.sounds.index)

    def info(self, i: int, split: str) -> ClipInfo:
        """What is known of sound ``i``."""
        row, label = self.sounds.index[i], self.labels[i]
        tags = tags_of(np.asarray(self.logits[i]))
        classes = classes_of(label) if label else ()
        return ClipInfo(
            label,
            "",
            None,
            [*([label] if label else []), *(table()[c].tag for c in list(tags)[:5] if tags[c] >= 0.1)],
            [],
            row["package"],
            row["group"],
            split,
            i,
            {"id": row["id"], "tags": list(tags.items()), "classes": list(classes)},
        )


def _labels(path: Path, index: Sequence[dict]) -> list[str | None]:
    """The label of each sound as people say it; None where its name says nothing."""
    if not (path / "labels.jsonl").exists():
        return [said_as(row["package"], row.get("label")) or None for row in index]
    known = label_by_id(path)
    return [known.get(row["id"]) for row in index]


def classes_of(label: str) -> tuple[int, ...]:
    """The classes that a label names, in its own words or in the phrase that is written down for it; where neither is a
    class's name, those that it names among other words ("animals dog bark"). Which of a package's labels may go with
    which classes is written down too, but by parts of names ("Tap" of "Tapping (guitar technique)"): too much to name
    what is heard."""
    known = read_names().get(label)
    return named_by(label) or (named_by(known.phrase) if known else ()) or named_among(label)


def describe(
    folders: Sequence[Path],
    encoder_folder: Path,
    out: Path,
    blends: int = BLENDS,
    noises: int = NOISES,
    seed: int = 0,
) -> None:
    """Writes the `ClipSet` `out`. The splits are those of all ``folders`` together. ``blends``, ``noises``: how many
    sounds in twos, and how many that are nothing."""
    rng = np.random.default_rng(seed)
    splits = splits_of([row for folder in folders for row in Sounds(folder).index])
    encoder = MiniEncoder.load(encoder_folder)
    infos: list[ClipInfo] = []
    features: list[np.ndarray] = []
    sources: dict[str, list[tuple[Folder, int, ClipInfo]]] = {"train": [], "validation": []}
    start = 0
    for path in folders:
        count = len(Sounds(path).index)
        own, start = splits[start : start + count], start + count
        folder = Folder(path)
        for split, most in (("train", MOST_PIECES), ("validation", MOST_VALIDATION)):
            for i in _drawn(folder, [i for i, s in enumerate(own) if s == split], most, rng):
                info = folder.info(i, split)
                infos.append(info)
                features.append(folder.features[i])
                sources[split].append((folder, i, info))
    for n in range(blends):
        split = "validation" if rng.random() < SHARE_VALIDATION else "train"
        pool = sources[split]
        if len(pool) < 2:
            continue
        a, b = (pool[int(k)] for k in rng.choice(len(pool), 2, replace=False))
        samples, fainter = blend(a[0].sounds.samples(a[1]), b[0].sounds.samples(b[1]), rng)
        infos.append(blended(a[2], b[2], split, fainter))
        features.append(embed(encoder, samples))
        if n % 1000 == 0:
            print(f"{n} of {blends} blends", flush=True)
    for info, samples in described_noises(np.random.default_rng(seed + 1), noises):
        info.extra |= {"tags": [], "classes": []}
        infos.append(info)
        features.append(embed(encoder, samples))
    write_clips(out, infos, features)


def _drawn(folder: Folder, rows: list[int], most: int, rng: np.random.Generator) -> list[int]:
    """At most ``most`` of ``rows``, those whose strongest tag is rare more often."""
    if len(rows) <= most:
        return rows
    weights = sampling_weights(np.asarray(folder.logits[rows], np.float32))
    return sorted(int(i) for i in rng.choice(rows, most, replace=False, p=weights / weights.sum()))


def blend(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Two sounds at once, at most 7 s, peak 1, and by how many dB the second is fainter. The shorter one is repeated or
    begins anywhere."""
    n = int(min(max(len(a), len(b), RATE), BLENDED * RATE))
    fainter = float(rng.uniform(*FAINTER))

    def fit(x: np.ndarray) -> np.ndarray:
        if len(x) >= n:
            at = int(rng.integers(0, len(x) - n + 1))
            return x[at : at + n]
        if rng.random() < 0.6:
            gap = int(rng.uniform(0.05, 0.6) * RATE)
            return np.tile(np.pad(x, (0, gap)), -(-n // (len(x) + gap)))[:n]
        at = int(rng.integers(0, n - len(x) + 1))
        return np.pad(x, (at, n - len(x) - at))

    first, second = (x / _level(x) for x in (fit(a), fit(b)))
    y = first + second * 10 ** (-fainter / 20)
    return (y / max(float(np.abs(y).max()), 1e-6)).astype(np.float32), fainter


def _level(x: np.ndarray) -> float:
    """RMS of what is not quiet."""
    loud = x[np.abs(x) > QUIET]
    return float(np.sqrt((loud**2).mean())) if len(loud) else 1.0


def blended(a: ClipInfo, b: ClipInfo, split: str, fainter: float) -> ClipInfo:
    """What is known of a blend."""
    tags = together(dict(a.extra["tags"]), dict(b.extra["tags"]))
    return ClipInfo(
        None,
        "",
        None,
        [*a.events, *b.events],
        [],
        a.package,
        a.group,
        split,
        -1,
        {
            "tags": sorted(tags.items(), key=lambda item: -item[1]),
            "parts": [[part.extra["tags"], part.extra["classes"]] for part in (a, b)],
            "behind": round(fainter, 1),
            "groups": [a.group, b.group],
        },
    )
