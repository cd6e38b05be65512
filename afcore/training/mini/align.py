"""Step `align`: mini CLAP's two projections, fitted on (sound, text) pairs of the training split, and its weights.

Texts are labels, captions, the AudioSet names of what the teacher hears, and half of the time sentences that people
wrote about just these classes (`sentences`), where there are any; the loss is the symmetric contrastive one
(Radford et al., 2021), with pairs of the same label never counted as each other's negatives.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from afcore.checkpoints.rows import packed
from afcore.clap.mini import MiniClap, MiniClapNet, SentenceEncoder, pool
from afcore.corpus.clips import ClipInfo, ClipSet

TEMPLATES = ("{}", "the sound of {}", "{} sound", "this is the sound of {}", "a recording of {}")

PEOPLE = 0.5  # share of people's sentences among a clip's texts, where there are any
MOST = 40  # of them for the same classes


def texts_of(info: ClipInfo) -> list[str]:
    """What can be said of a clip."""
    out = [info.caption] + ([info.label] if info.label else [])
    return [t for t in dict.fromkeys(out + info.events[:3]) if t]


def pairs(clips: ClipSet, ids: np.ndarray) -> tuple[list[list[str]], list[str]]:
    texts = [texts_of(clips[i]) for i in ids]
    return texts, sorted({t for row in texts for t in row})


Sentences = dict[frozenset[str], list[str]]
"""People's sentences by the classes that they name."""


def read_sentences(file: Path, seed: int = 0) -> Sentences:
    """Of the lines that `afcore.training.mini.sentences` wrote, at most `MOST` for the same classes."""
    found: Sentences = {}
    for row in map(json.loads, file.read_text(encoding="utf-8").splitlines()):
        found.setdefault(frozenset(row["classes"]), []).append(row["sentence"])
    rng = np.random.default_rng(seed)
    return {key: [said[int(k)] for k in rng.permutation(len(said))[:MOST]] for key, said in found.items()}


def align(
    clips: ClipSet, out: Path, sentences: Sentences | None = None, steps: int = 3000, batch: int = 512, seed: int = 0
) -> MiniClap:
    """Writes `clap.safetensors` and `clap.json` to `out`, which holds `audioset.json`; the weights come from
    `choose_words` and `choose_weight`."""
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    ids = np.array([i for i in range(len(clips)) if clips[i].split == "train" and clips[i].events])
    texts, vocabulary = pairs(clips, ids)
    encoder = SentenceEncoder()
    prompts = [template.format(t) for template in TEMPLATES for t in vocabulary]
    vectors = encoder(prompts).reshape(len(TEMPLATES), len(vocabulary), -1)
    people = [(sentences or {}).get(frozenset(clips[i].extra["heard"]), []) for i in ids]
    written = sorted({said for row in people for said in row} - set(vocabulary))
    if written:
        vectors = torch.cat([vectors, encoder(written).expand(len(TEMPLATES), -1, -1)], 1)
    number = {t: n for n, t in enumerate([*vocabulary, *written])}
    print(f"{len(vocabulary)} names and captions, {len(written)} sentences of people", flush=True)
    sounds = torch.stack([pool(clips.tensor(i)) for i in ids])
    names = [clips[i].events[0] for i in ids]
    counts = {n: names.count(n) for n in set(names)}
    order = {n: k for k, n in enumerate(sorted(counts))}
    name_ids = torch.tensor([order[n] for n in names])
    weights = np.cumsum([counts[n] ** -0.6 for n in names])
    net = MiniClapNet()
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, steps, pct_start=0.05)
    for step in range(steps):
        rows = np.searchsorted(weights, rng.random(batch) * weights[-1])
        said = [people[r] if people[r] and rng.random() < PEOPLE else texts[r] for r in rows]
        chosen = [number[some[rng.integers(len(some))]] for some in said]
        text = net.text_vectors(vectors[rng.integers(len(TEMPLATES), size=batch), chosen])
        audio = net.audio_vectors(F.dropout(sounds[rows], 0.1))
        scores = net.log_scale.clamp(max=4.6).exp() * audio @ text.T
        label, told = name_ids[rows], torch.tensor(chosen)
        same = (label[:, None] == label[None]) | (told[:, None] == told[None])
        same.fill_diagonal_(False)
        scores = scores.masked_fill(same, -1e4)
        target = torch.arange(batch)
        loss = (F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)) / 2
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()
        if step % 200 == 0:
            print(f"step {step} loss {loss.item():.3f}", flush=True)
    net.keep_names(encoder([name.lower() for name in json.loads((out / "audioset.json").read_text())]))
    save_file(packed(net.state_dict()), out / "clap.safetensors")
    weigh(clips, net, out)
    return MiniClap.load(out)


def weigh(clips: ClipSet, net: MiniClapNet, out: Path) -> None:
    """Chooses the weights of the parts, first that of the words, and writes `clap.json`."""
    words = choose_words(clips, net)
    weight = choose_weight(clips, net, words)
    (out / "clap.json").write_text(json.dumps({"semantic_weight": weight, "word_weight": words}))


def choose_words(clips: ClipSet, net: MiniClapNet) -> float:
    """The share of the classes' names with the best recall at 10, text → audio, of the distinct captions of validation
    clips."""
    pool = {
        info.caption: i
        for i, info in enumerate(clips.info)
        if info.split == "validation" and info.caption and info.source >= 0
    }
    best, chosen = -1.0, 0.0
    for words in (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8):
        clap = MiniClap(net, 1.0, words)
        similar = clap.text(list(pool)) @ clips.clap_vectors(clap, pool.values()).T
        recall = float(((similar > np.diag(similar)[:, None]).sum(1) < 10).mean())
        print(f"share of names {words}: recall at 10 {recall:.3f} of {len(pool)} validation captions", flush=True)
        if recall > best:
            best, chosen = recall, words
    return chosen


def choose_weight(clips: ClipSet, net: MiniClapNet, words: float) -> float:
    """The least share of meaning whose 1-nearest-neighbour label accuracy, of validation clips against training clips,
    is within a standard error of the best: meaning was learned from the labels that these have, and the sounds of
    others are told apart by what the encoder gives."""
    bank = [i for i in range(len(clips)) if clips[i].split == "train" and clips[i].label]
    labels = {clips[i].label for i in bank}
    queries = [i for i in range(len(clips)) if clips[i].split == "validation" and clips[i].label in labels]
    found: dict[float, float] = {}
    for weight in (0.0, 0.2, 0.35, 0.5, 0.65, 0.8):
        clap = MiniClap(net, weight, words)
        nearest = (clips.clap_vectors(clap, queries) @ clips.clap_vectors(clap, bank).T).argmax(1)
        accuracy = float(
            np.mean([clips[q].label == clips[bank[n]].label for q, n in zip(queries, nearest, strict=True)])
        )
        print(f"weight of meaning {weight}: 1-NN {accuracy:.3f} on {len(queries)} validation clips", flush=True)
        found[weight] = accuracy
    best = max(found.values())
    error = (best * (1 - best) / len(queries)) ** 0.5
    return min(weight for weight, accuracy in found.items() if accuracy >= best - error)
