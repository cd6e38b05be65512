"""Step `features`: every piece of the corpus as a described clip with the student's features, mixtures of two,
and noise.

What is known of a clip: its label and caption from file names (`labels.jsonl`), and the AudioSet classes that the teacher hears
(at least 0.3 sure: an event; at least 0.05: "maybe", never used as an absent sound).
"""
from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from afcore.encoders.mini import MiniEncoder
from afcore.training.clips import ClipInfo, write_clips
from afcore.training.distil import RATE, Sounds
from afcore.training.splits import dropped, split_of

WINDOWS_KEPT = 4       # what follows the first 12.25 s of a piece is more of the same
SURE, MAYBE = 0.3, 0.05
SPEECH, MUSIC = range(0, 8), range(137, 277)   # ranges of AudioSet indices
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
    return [label] + [s for s in sure if not said & set(s.split())][:1]


def describe(corpus: Path, encoder_folder: Path, out: Path, mixtures: int = 8000, seed: int = 0, threads: int = 2) -> None:
    """Writes the `ClipSet` `out`: first one clip per piece, in the index's order, then the mixtures (training pieces only)."""
    torch.set_num_threads(threads)
    sounds, encoder = Sounds(corpus), MiniEncoder.load(encoder_folder)
    labels = {row["id"]: row for row in map(json.loads, open(corpus / "labels.jsonl"))}
    logits = np.load(corpus / "teacher.npy", mmap_mode="r")[:, -527:]
    gone = dropped([r["package"] for r in sounds.index], [r["cluster"] for r in sounds.index])
    rng, infos, features = np.random.default_rng(seed), [], []
    for i, row in enumerate(sounds.index):
        known = labels.get(row["id"], {})
        sure, maybe, category = heard_by_teacher(logits[i], encoder.labels)
        label = known.get("label")
        events = merge(label, sure)
        caption = known.get("caption") or (rng.choice(CAPTIONS).format(" and ".join(events)) if events else "")
        if known.get("category") in ("speech", "music"):
            category = known["category"]
        elif label and category is None:
            category = "something else"
        split = "dropped" if gone[i] or row["active"] < 0.1 else split_of(row["package"])
        infos.append(ClipInfo(label, caption, category, events, maybe, row["package"], row["group"], split, i,
                              {"id": row["id"], "fine": known.get("category")}))
        features.append(embed(encoder, sounds.samples(i)))
        if i % 2000 == 0:
            print(f"features of {i} of {len(sounds.index)} pieces", flush=True)
    pool = [i for i, info in enumerate(infos) if info.split == "train" and info.label and info.category != "music"]
    names = [infos[i].label for i in pool]
    weights = np.cumsum([names.count(n) ** -0.7 for n in names])
    draw = lambda: pool[int(np.searchsorted(weights, rng.random() * weights[-1]))]
    for _ in range(mixtures if pool else 0):
        a, b = draw(), draw()
        if infos[a].label == infos[b].label:
            continue
        infos.append(mixed_info(infos[a], infos[b], rng))
        features.append(embed(encoder, mix(sounds.samples(a), sounds.samples(b), rng)))
    for samples in noises(np.random.default_rng(seed + 1)):
        infos.append(ClipInfo(None, "", None, [], [], "noise", f"noise/{len(infos)}", "train", -1))
        features.append(embed(encoder, samples))
    write_clips(out, infos, features)


def noises(rng: np.random.Generator, count: int = 200) -> Iterator[np.ndarray]:
    """Silence, noise of several colours and mains hum, 2 to 7 s at 32 kHz: nothing to name."""
    for _ in range(count):
        n, kind = int(rng.uniform(2, 7) * RATE), rng.integers(5)
        if kind == 0:
            yield np.zeros(n, np.float32)
            continue
        if kind == 1:
            x = np.sin(2 * np.pi * rng.choice((50, 60)) * np.arange(n) / RATE) + 0.05 * rng.standard_normal(n)
        else:  # power falls with frequency to the 0th, 1st or 2nd: white, pink, brown
            spectrum = np.fft.rfft(rng.standard_normal(n))
            spectrum /= np.maximum(np.fft.rfftfreq(n, 1 / RATE), 20) ** ((kind - 2) / 2)
            x = np.fft.irfft(spectrum, n)
        yield (x / np.abs(x).max() * 10 ** rng.uniform(-2.5, -0.1)).astype(np.float32)


def mix(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Two sounds over each other within 7 s, the shorter one repeated or starting anywhere, within 6 dB of each other."""
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
    first, second = a.label, b.label
    caption = rng.choice(("{} and {}", "{} together with {}", "{} with {} in the background")).format(first, second)
    return ClipInfo(None, str(caption), "something else", [first, second], sorted({*a.events, *b.events, *a.maybe, *b.maybe}),
                    a.package, a.group, "train", -1, {"groups": [a.group, b.group]})


def embed(encoder: MiniEncoder, samples: np.ndarray) -> np.ndarray:
    longest = encoder.plan.window + (WINDOWS_KEPT - 1) * encoder.plan.hop
    return encoder.embed(samples[:longest]).half().numpy()


def neighbours(vectors: np.ndarray, packages: list[str], usable: np.ndarray, count: int = 32) -> np.ndarray:
    """For each clip its nearest usable clips from other packages, nearest first, −1 where there are fewer: (M, count)."""
    import faiss
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors[usable]))
    _, found = index.search(vectors, count * 4)
    out = np.full((len(vectors), count), -1)
    for i, row in enumerate(found):
        keep = [usable[j] for j in row if j >= 0 and packages[usable[j]] != packages[i]][:count]
        out[i, :len(keep)] = keep
    return out
