"""Step `distil`: mini's audio encoder, trained from scratch to give the teacher's embedding and tags.

`prepare` makes a fixed set of cuts (one to three sounds mixed, with level, filter, speed, room and noise varied), and asks the
teacher about each cut *as it stands*, mixture included; `train` then fits the student on them. Only the training split is used.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch.nn import functional as F

from afcore.checkpoints.rows import packed
from afcore.corpus.teacher import load_teacher
from afcore.encoders.mini import EMBEDDING, N_MELS, RATE, TAGS, LogMel, MiniEncoderNet

SECONDS = (1.0, 1.5, 2.0, 3.0, 5.0)  # lengths of cuts
FRAMES = int(SECONDS[-1] * 100)


class Sounds:
    """The decoded corpus: one flat int16 memmap at 32 kHz and an index line per piece of a file."""

    def __init__(self, folder: str | Path):
        folder = Path(folder)
        self.index = [json.loads(line) for line in open(folder / "index.jsonl")]
        self.audio = np.memmap(folder / "audio.i16", np.int16, "r")

    def samples(self, i: int) -> np.ndarray:
        """float32 (T,) in −1 … 1, peak-normalised; silence stays zero."""
        row = self.index[i]
        x = self.audio[row["offset"] : row["offset"] + row["length"]].astype(np.float32)
        peak = np.abs(x).max(initial=0)
        return x / peak if peak else x


def room(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A simple room: exponentially decaying noise as impulse response (0.1 … 0.9 s to −60 dB)."""
    from scipy.signal import fftconvolve

    decay = rng.uniform(0.1, 0.9)
    t = np.arange(int(decay * RATE)) / RATE
    response = rng.standard_normal(len(t)).astype(np.float32) * np.exp(-6.9 * t / decay).astype(np.float32)
    response *= rng.uniform(0.1, 0.6) / np.sqrt((response**2).sum())
    response[0] += 1.0
    return fftconvolve(x, response)[: len(x)].astype(np.float32)


def coloured_noise(n: int, rng: np.random.Generator) -> np.ndarray:
    """Noise with a 1/f^a power spectrum, a in 0 … 2; peak 1."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    spectrum[1:] *= np.arange(1, len(spectrum)) ** (-rng.uniform(0, 1))
    x = np.fft.irfft(spectrum, n)
    return (x / np.abs(x).max()).astype(np.float32)


def tilt(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A microphone's colour: one random shelf or band limit."""
    from scipy.signal import butter, sosfilt

    kind, corner = rng.choice([("lowpass", rng.uniform(3000, 12000)), ("highpass", rng.uniform(60, 400))])
    return sosfilt(butter(1, float(corner), kind, fs=RATE, output="sos"), x).astype(np.float32)


def cut(x: np.ndarray, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """`seconds` of `x`, zero-padded when it is shorter (at the end, now and then with a lead-in)."""
    n = int(seconds * RATE)
    if len(x) >= n:
        start = rng.integers(0, len(x) - n + 1)
        return x[start : start + n]
    lead = rng.integers(0, n - len(x) + 1) if rng.random() < 0.3 else 0
    return np.pad(x, (lead, n - len(x) - lead))


def speed(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Plays `x` 0.85 to 1.18 times as fast (pitch moves along)."""
    factor = float(np.exp(rng.uniform(-0.16, 0.16)))
    positions = np.arange(0, len(x) - 1, factor)
    return np.interp(positions, np.arange(len(x)), x).astype(np.float32)


def sample_cut(sounds: Sounds, pick, rng: np.random.Generator, plain: float = 0.45) -> np.ndarray:
    """One augmented cut, peak-normalised, of one of the lengths in `SECONDS`. `pick()` draws an index."""
    x = sounds.samples(pick())
    if rng.random() < 0.4 and len(x) > 2:
        x = speed(x, rng)
    seconds = max((s for s in SECONDS if s * RATE <= len(x)), default=SECONDS[0])
    mixed = rng.random() > plain
    if mixed and rng.random() < 0.7:
        seconds = max(seconds, float(rng.choice(SECONDS)))
    y = cut(x, seconds, rng).copy()
    if mixed:
        for _ in range(1 if rng.random() < 0.8 else 2):
            other = cut(sounds.samples(pick()), seconds, rng)
            y += other * 10 ** (rng.uniform(-18, 6) / 20)
    if rng.random() < 0.25:
        y = room(y, rng)
    if rng.random() < 0.25:
        y = tilt(y, rng)
    y /= max(np.abs(y).max(), 1e-6)
    if rng.random() < 0.3:
        y += coloured_noise(len(y), rng) * 10 ** (rng.uniform(-50, -12) / 20)
        y /= np.abs(y).max()
    return y * 10 ** (-rng.uniform(0, 15) / 20) if rng.random() < 0.3 else y


def _teach(job):
    """Worker: makes cuts start … stop of the set and the teacher's answers to them, written in place."""
    corpus, teacher, out, ids, weights, start, stop, seed, plain = job
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    sounds, (teacher_mel, net), student_mel = Sounds(corpus), load_teacher(teacher), LogMel()
    mels = open_memmap(out / "mel.npy", "r+")
    pooled, target = open_memmap(out / "pooled.npy", "r+"), open_memmap(out / "target.npy", "r+")
    cumulative = np.cumsum(weights)
    pick = lambda: int(ids[min(np.searchsorted(cumulative, rng.random() * cumulative[-1]), len(ids) - 1)])
    for first in range(start, stop, 64):
        count = min(64, stop - first)
        cuts = [sample_cut(sounds, pick, rng, plain) for _ in range(count)]
        with torch.inference_mode():
            for length in {len(c) for c in cuts}:
                rows = [i for i, c in enumerate(cuts) if len(c) == length]
                batch = torch.from_numpy(np.stack([cuts[i] for i in rows]).astype(np.float32))
                logits, embedding = net(teacher_mel(batch))
                mel = student_mel(batch)[:, 0, :, :FRAMES]
                mel = F.pad(mel, (0, FRAMES - mel.shape[-1]), value=float((math.log(1e-6) + 5) / 4))
                for j, i in enumerate(rows):
                    mels[first + i] = mel[j].half().numpy()
                    pooled[first + i] = length
                    target[first + i] = torch.cat([embedding[j], logits[j]]).half().numpy()
        print(f"cuts {first + count - start} of {stop - start}", flush=True)


def prepare(
    corpus: Path,
    teacher: Path,
    out: Path,
    ids: np.ndarray,
    weights: np.ndarray,
    count: int,
    seed: int = 0,
    workers: int = 2,
    plain: float = 0.45,
) -> None:
    """Writes `mel.npy` (count, 64, 500) float16, `pooled.npy` (count,) samples and `target.npy` (count, 911) to `out`."""
    import multiprocessing

    out.mkdir(parents=True, exist_ok=True)
    open_memmap(out / "mel.npy", "w+", np.float16, (count, N_MELS, FRAMES))
    open_memmap(out / "pooled.npy", "w+", np.int64, (count,))
    open_memmap(out / "target.npy", "w+", np.float16, (count, EMBEDDING + TAGS))
    bounds = np.linspace(0, count, workers + 1).astype(int)
    jobs = [
        (corpus, teacher, out, ids, weights, a, b, seed + i, plain) for i, (a, b) in enumerate(zip(bounds, bounds[1:]))
    ]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        pool.map(_teach, jobs, chunksize=1)


def statistics(target: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation (384,) of the teacher's embeddings over the set."""
    embeddings = target[:, :EMBEDDING].astype(np.float32)
    return torch.from_numpy(embeddings.mean(0)), torch.from_numpy(embeddings.std(0) + 1e-3)


def losses(features: torch.Tensor, target: torch.Tensor, mean: torch.Tensor, std: torch.Tensor):
    """features (N, 911) against the teacher's → embedding loss, tag loss. The student's embedding is the standardised teacher's."""
    wanted = ((target[:, :EMBEDDING] - mean) / std).clamp(-6, 6)
    got = features[:, :EMBEDDING]
    embedding = F.mse_loss(got, wanted) + 2 * (1 - F.cosine_similarity(got, wanted)).mean()
    tags = F.binary_cross_entropy_with_logits(
        features[:, EMBEDDING:], target[:, EMBEDDING:].sigmoid(), reduction="none"
    )
    return embedding, tags.sum(1).mean()


def train(
    data: Path,
    out: Path,
    minutes: float,
    batch: int = 64,
    peak: float = 2e-3,
    seed: int = 0,
    channels: tuple[int, ...] = (32, 64, 128, 256),
    blocks: tuple[int, ...] = (1, 2, 2),
    init: Path | None = None,
) -> None:
    """Fits the student for `minutes` of wall time (one-cycle learning rate over time) and writes `encoder.safetensors`."""
    from safetensors.torch import load_file

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    mels, pooled, target = (np.load(data / f"{n}.npy", mmap_mode="r") for n in ("mel", "pooled", "target"))
    mean, std = statistics(target)
    net = MiniEncoderNet(channels, blocks).to(memory_format=torch.channels_last)
    if init:
        net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in load_file(init).items()})
    decay = [p for p in net.parameters() if p.ndim > 1]
    rest = [p for p in net.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.02}, {"params": rest, "weight_decay": 0.0}], lr=peak
    )
    out.mkdir(parents=True, exist_ok=True)
    held = min(1024, len(mels) // 20)  # the last cuts watch the loss; no test sound is among them
    begin, step, running, order = time.time(), 0, np.zeros(2), np.array([], int)
    while (done := (time.time() - begin) / 60 / minutes) < 1:
        lr = peak * min(1, (done + 1e-3) / 0.04) * (0.5 * (1 + math.cos(math.pi * done)) * 0.995 + 0.005)
        for group in optimiser.param_groups:
            group["lr"] = lr
        if len(order) < batch:
            order = rng.permutation(len(mels) - held)
        rows, order = np.sort(order[:batch]), order[batch:]
        x = torch.from_numpy(mels[rows]).float()[:, None].contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            features = net(x, torch.from_numpy(pooled[rows]))
        embedding, tags = losses(features.float(), torch.from_numpy(target[rows]).float(), mean, std)
        (embedding + 0.06 * tags).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        running += (embedding.item(), tags.item())
        step += 1
        if step % 100 == 0:
            print(
                f"step {step} {(time.time() - begin) / 60:.1f} min lr {lr:.1e} embedding {running[0] / 100:.4f} tags {running[1] / 100:.3f}",
                flush=True,
            )
            running[:] = 0
        if step % 500 == 0:
            save(net, out, channels, blocks)
    net.eval()
    with torch.inference_mode():
        last = [
            losses(
                net(torch.from_numpy(mels[i : i + 64]).float()[:, None], torch.from_numpy(pooled[i : i + 64])),
                torch.from_numpy(target[i : i + 64]).float(),
                mean,
                std,
            )
            for i in range(len(mels) - held, len(mels), 64)
        ]
    print(
        f"held-out cuts: embedding {np.mean([float(a) for a, _ in last]):.4f} tags {np.mean([float(b) for _, b in last]):.3f}"
    )
    save(net, out, channels, blocks)


def save(net: MiniEncoderNet, out: Path, channels: tuple[int, ...], blocks: tuple[int, ...]) -> None:
    """In 8-bit rows but for batch-norm statistics, which lose too much in fewer bits than they have."""
    from safetensors.torch import save_file

    save_file(packed(net.state_dict(), full=("running",)), out / "encoder.safetensors")
    (out / "encoder.json").write_text(json.dumps({"channels": list(channels), "blocks": blocks}))
