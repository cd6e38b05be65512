"""Step `features`: every piece of the corpus as a described clip with the student's features, mixtures of two,
noise, and what is made with exact truth: instruments, voices and scenes (`describe_made`, also alone).

What is known of a clip: its label and caption from file names (`labels.jsonl`), and the AudioSet classes that the
teacher hears (at least 0.3 sure: an event; at least 0.05: "maybe", never used as an absent sound).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from afcore.corpus import scenes
from afcore.corpus.clips import ClipInfo, ClipSet, write_clips
from afcore.corpus.decoded import RATE, Sounds, coloured_noise, room
from afcore.corpus.held_out import is_held_out
from afcore.corpus.instruments import ALSO
from afcore.corpus.labels import caption as caption_of
from afcore.corpus.labels import labelled_rows
from afcore.corpus.splits import dropped, split_of
from afcore.encoders import AudioEncoder
from afcore.encoders.mini import MiniEncoder

WINDOWS_KEPT = 4  # what follows the first 12.25 s of a piece is more of the same
SURE, MAYBE = 0.3, 0.05
SPEECH, MUSIC = range(0, 8), range(137, 277)  # ranges of AudioSet indices
CAPTIONS = ("{}", "{} can be heard")


def tag_name(name: str) -> str:
    """An AudioSet display name as a person would say it: 'Male speech, man speaking' → 'male speech'."""
    return name.split(",")[0].split("(")[0].strip().lower()


def category_of(tag: int) -> str:
    return "speech" if tag in SPEECH else "music" if tag in MUSIC else "something else"


def heard_by_teacher(logits: np.ndarray, names: list[str]) -> tuple[list[str], list[str], str | None]:
    """(sure events, maybe events, category) from logits (527,)."""
    probability = 1 / (1 + np.exp(-logits.astype(np.float32)))
    order = np.argsort(-probability)[:12]
    sure = list(dict.fromkeys(tag_name(names[i]) for i in order if probability[i] >= SURE))[:3]
    maybe = list(dict.fromkeys(tag_name(names[i]) for i in order if MAYBE <= probability[i] < SURE))
    category = category_of(int(order[0])) if probability[order[0]] >= SURE else None
    return sure, [m for m in maybe if m not in sure], category


def merge(label: str | None, sure: list[str]) -> list[str]:
    """The label first, then what the teacher adds to it in other words."""
    if not label:
        return sure
    said = set(label.split())
    return [label, *[s for s in sure if not said & set(s.split())][:1]]


def pieces(corpus: Path, sounds: Sounds, names: list[str], rng: np.random.Generator) -> list[ClipInfo]:
    """What is known of each piece of the corpus, in the index's order. `names`: of the 527 AudioSet classes."""
    labels = {row["id"]: row for row in labelled_rows(corpus)}
    logits = np.load(corpus / "teacher.npy", mmap_mode="r")[:, -527:]
    gone, infos = dropped([r["package"] for r in sounds.index], [r["cluster"] for r in sounds.index]), []
    for i, row in enumerate(sounds.index):
        known = labels.get(row["id"], {})
        sure, maybe, category = heard_by_teacher(logits[i], names)
        label = known.get("label")
        events = merge(label, sure)
        caption = known.get("caption") or (rng.choice(CAPTIONS).format(" and ".join(events)) if events else "")
        if known.get("category") in ("speech", "music"):
            category = known["category"]
        elif label and category is None:
            category = "something else"
        split = "dropped" if gone[i] or row["active"] < 0.1 else split_of(row["package"])
        infos.append(
            ClipInfo(
                label,
                caption,
                category,
                events,
                maybe,
                row["package"],
                row["group"],
                split,
                i,
                {"id": row["id"], "fine": known.get("category")},
            )
        )
    return infos


def describe(
    corpus: Path, encoder_folder: Path, out: Path, mixtures: int = 8000, seed: int = 0, threads: int = 2
) -> None:
    """Writes the `ClipSet` `out`: first one clip per piece, in the index's order, then mixtures (training pieces only)
    and noise."""
    torch.set_num_threads(threads)
    sounds, encoder = Sounds(corpus), MiniEncoder.load(encoder_folder)
    rng, features = np.random.default_rng(seed), []
    infos = pieces(corpus, sounds, encoder.labels, rng)
    for i in range(len(infos)):
        features.append(embed(encoder, sounds.samples(i)))
        if i % 2000 == 0:
            print(f"features of {i} of {len(infos)} pieces", flush=True)
    pool = [i for i, info in enumerate(infos) if info.split == "train" and info.label and info.category != "music"]
    draw = drawer([label for i in pool if (label := infos[i].label)], rng)
    for _ in range(mixtures if pool else 0):
        a, b = pool[draw()], pool[draw()]
        if infos[a].label == infos[b].label:
            continue
        infos.append(mixed_info(infos[a], infos[b], rng))
        features.append(embed(encoder, mix(sounds.samples(a), sounds.samples(b), rng)))
    for info, samples in described_noises(np.random.default_rng(seed + 1)):
        infos.append(info)
        features.append(embed(encoder, samples))
    write_clips(out, infos, features)


def drawer(labels: list[str], rng: np.random.Generator) -> Callable[[], int]:
    """Draws numbers of `labels`, rare labels more often: (count of the label)^-0.7."""
    counts = Counter(labels)
    weights = np.cumsum([counts[label] ** -0.7 for label in labels])
    return lambda: int(np.searchsorted(weights, rng.random() * weights[-1]))


NOISES = 1200
SCENES = {"train": 3000, "validation": 600}


def describe_made(
    corpus: Path, encoder_folder: Path, out: Path, rendered: Path | None, count: dict[str, int] = SCENES, seed: int = 0
) -> None:
    """Writes a `ClipSet` of instruments, voices and scenes alone, by any encoder; `join` puts it behind another.
    Without `rendered`, or with an empty `count`, it holds the other part alone: made apart and joined they are the same
    set."""
    sounds, encoder = Sounds(corpus), MiniEncoder.load(encoder_folder)
    known, infos, features = pieces(corpus, sounds, encoder.labels, np.random.default_rng(seed)), [], []
    for samples, info in made_sounds(corpus, sounds, known, rendered, count, seed):
        infos.append(info)
        features.append(embed(encoder, samples))
        if len(infos) % 1000 == 0:
            print(f"{len(infos)} made sounds", flush=True)
    write_clips(out, infos, features)


def made_sounds(
    corpus: Path,
    sounds: Sounds,
    known: list[ClipInfo],
    rendered: Path | None,
    count: dict[str, int] = SCENES,
    seed: int = 0,
) -> Iterator[tuple[np.ndarray, ClipInfo]]:
    """(samples, what is known) of everything made: the rendered sounds of the folder `rendered`, then `count` scenes of
    each split. `known`: of `pieces`. Some training sounds get noise or a room."""
    if rendered:
        found, rng = Sounds(rendered), np.random.default_rng((seed, 0))
        for i, row in enumerate(found.index):
            yield worn(found.samples(i), row["split"], rng), rendered_info(row)
    for number, (split, wanted) in enumerate(count.items(), 1):
        rng = np.random.default_rng((seed, number))
        draw = scene_sources(corpus, sounds, known, split, rng)
        for _ in range(wanted):
            samples, info = scenes.scene(draw, rng)
            yield worn(samples, split, rng), info


def worn(samples: np.ndarray, split: str, rng: np.random.Generator) -> np.ndarray:
    """Three training sounds of ten in a room or with some noise (10 to 40 dB below the peak), the others as they
    are."""
    if split != "train" or rng.random() >= 0.3:
        return samples
    if rng.random() < 0.5:
        return scenes.normalised(room(samples, rng))
    return scenes.normalised(samples + coloured_noise(len(samples), rng) * 10 ** (rng.uniform(-40, -10) / 20))


def rendered_info(row: dict) -> ClipInfo:
    """What is known of a rendered sound, from its line in the index (`rendered.Rendered`)."""
    maybe = ["male speech", "female speech"]
    if row["category"] == "music":
        maybe = ["music", "musical instrument", *ALSO.get(row["label"], ())]
    said = caption_of(row["phrase"], row["id"])
    return ClipInfo(
        row["label"],
        said,
        row["category"],
        [row["label"]],
        maybe,
        row["package"],
        row["group"],
        row["split"],
        -1,
        {"id": row["id"], "fine": row["category"], **row["facts"]},
    )


def scene_sources(
    corpus: Path, sounds: Sounds, known: list[ClipInfo], split: str, rng: np.random.Generator
) -> Callable[[], scenes.Source]:
    """Draws labelled pieces of a split, none held out of training; rare labels more often."""
    phrases = {row["id"]: row["phrase"] for row in labelled_rows(corpus)}
    pool = [
        info for info in known if info.split == split and info.label and info.label != "music" and not is_held_out(info)
    ]
    draw = drawer([label for info in pool if (label := info.label)], rng)

    def source() -> scenes.Source:
        info = pool[draw()]
        return scenes.Source(info, phrases[info.extra["id"]], sounds.samples(info.source)[: 15 * RATE])

    return source


def join(folders: Sequence[Path], out: Path) -> None:
    """Writes the `ClipSet` `out` with the clips of several, one set after the other."""
    sets = [ClipSet(folder) for folder in folders]
    features = [clips.of(i) for clips in sets for i in range(len(clips))]
    write_clips(out, [info for clips in sets for info in clips.info], features)


def described_noises(rng: np.random.Generator, count: int = NOISES) -> Iterator[tuple[ClipInfo, np.ndarray]]:
    """`noises` as training clips without events; `extra` holds their kind."""
    for n, (kind, samples) in enumerate(noises(rng, count)):
        yield ClipInfo(None, "", None, [], [], "noise", f"noise/{n}", "train", -1, {"noise": kind}), samples


def noises(rng: np.random.Generator, count: int = NOISES) -> Iterator[tuple[str, np.ndarray]]:
    """ "silence", "hum" or "noise" and samples of it, 1 to 7 s at 32 kHz: nothing to name. Noise has any colour,
    sometimes within a band or with a slow rise and fall. As loud as a file that has been normalised
    (`afcore.audio.recording.normalise`)."""
    for _ in range(count):
        n, kind = int(rng.uniform(1, 7) * RATE), rng.choice(("silence", "hum", "noise"), p=(0.15, 0.2, 0.65))
        t = np.arange(n) / RATE
        if kind == "silence":
            yield kind, np.zeros(n, np.float32)
            continue
        if kind == "hum":
            mains, slope = rng.choice((50, 60)), rng.uniform(1, 3)
            x = sum(
                np.sin(2 * np.pi * mains * k * t + rng.uniform(0, 6)) / k**slope for k in range(1, rng.integers(2, 6))
            )
            x = x + 10 ** rng.uniform(-4, -1) * rng.standard_normal(n)
        else:  # power falls with frequency to the power `slope`: 0 is white, 1 pink, 2 brown
            frequencies = np.fft.rfftfreq(n, 1 / RATE)
            spectrum = np.fft.rfft(rng.standard_normal(n)) / np.maximum(frequencies, 20) ** (rng.uniform(0, 2.3) / 2)
            if rng.random() < 0.3:
                low = 10 ** rng.uniform(1.7, 3.7)
                spectrum /= (
                    1 + (low / np.maximum(frequencies, 1)) ** 4 + (frequencies / (low * rng.uniform(1.5, 6))) ** 4
                )
            x = np.fft.irfft(spectrum, n)
            if rng.random() < 0.3:
                x = x * (1 - rng.uniform(0.3, 1) * np.cos(np.pi * t / t[-1] * rng.uniform(1, 3)) ** 2)
        yield kind, (x / np.abs(x).max()).astype(np.float32)


def mix(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Two sounds over each other within 7 s, the shorter one repeated or starting anywhere, within 6 dB of each
    other."""
    n = int(min(max(len(a), len(b), 2 * RATE), 7 * RATE))

    def fit(x: np.ndarray) -> np.ndarray:
        if len(x) >= n:
            return x[:n]
        if rng.random() < 0.6:
            return np.tile(np.pad(x, (0, RATE // 3)), -(-n // (len(x) + RATE // 3)))[:n]
        start = rng.integers(0, n - len(x) + 1)
        return np.pad(x, (start, n - len(x) - start))

    y = fit(a) + fit(b) * 10 ** (rng.uniform(-6, 6) / 20)
    return (y / max(np.abs(y).max(), 1e-6)).astype(np.float32)


def mixed_info(a: ClipInfo, b: ClipInfo, rng: np.random.Generator) -> ClipInfo:
    labels = [label for label in (a.label, b.label) if label]  # both have one
    caption = rng.choice(("{} and {}", "{} together with {}", "{} with {} in the background")).format(*labels)
    return ClipInfo(
        None,
        str(caption),
        "something else",
        labels,
        sorted({*a.events, *b.events, *a.maybe, *b.maybe}),
        a.package,
        a.group,
        "train",
        -1,
        {"groups": [a.group, b.group]},
    )


def embed(encoder: AudioEncoder, samples: np.ndarray) -> np.ndarray:
    longest = encoder.plan.window + (WINDOWS_KEPT - 1) * encoder.plan.hop
    return encoder.embed(samples[:longest]).half().numpy()


def neighbours(vectors: np.ndarray, packages: list[str], usable: np.ndarray, count: int = 32) -> np.ndarray:
    """For each clip its nearest usable clips from other packages, nearest first, −1 where there are fewer: (M,
    count)."""
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors[usable]))
    _, found = index.search(vectors, count * 4)
    out = np.full((len(vectors), count), -1)
    for i, row in enumerate(found):
        keep = [usable[j] for j in row if j >= 0 and packages[usable[j]] != packages[i]][:count]
        out[i, : len(keep)] = keep
    return out
