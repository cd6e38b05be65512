"""Step `tags`: what the teacher hears in every piece of the corpus (its embedding and 527 logits), kept as
`teacher.npy`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from afcore.corpus.decoded import RATE, Sounds
from afcore.corpus.teacher import load_teacher

LONGEST = 10.0  # s, the length the teacher was trained on
SHORTEST = 1.0  # s, with silence after shorter sounds


def _pieces(job):
    corpus, teacher, rows = job
    torch.set_num_threads(1)
    sounds, (mel, net) = Sounds(corpus), load_teacher(teacher)
    out = np.zeros((len(rows), 911), np.float16)
    with torch.inference_mode():
        for n, i in enumerate(rows):
            x = sounds.samples(i)[: int(LONGEST * RATE)]
            x = np.pad(x, (0, max(0, int(SHORTEST * RATE) - len(x))))
            logits, embedding = net(mel(torch.from_numpy(x)[None]))
            out[n] = torch.cat([embedding[0], logits[0]]).half().numpy()
    return out


def tag(corpus: Path, teacher: Path, workers: int = 2) -> np.ndarray:
    """Writes and returns `corpus/teacher.npy` (pieces, 384 + 527) float16, in the index's order."""
    import multiprocessing

    count = len((corpus / "index.jsonl").read_text().splitlines())
    chunks = np.array_split(np.arange(count), workers * 8)
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        result = np.concatenate(pool.map(_pieces, [(corpus, teacher, rows) for rows in chunks], chunksize=1))
    np.save(corpus / "teacher.npy", result)
    return result


def sampling_weights(logits: np.ndarray, power: float = 0.6) -> np.ndarray:
    """(count of the piece's strongest tag)^-power: half of the corpus is speech or music, which would drown the
    rest."""
    top = logits.argmax(1)
    counts = np.bincount(top, minlength=logits.shape[1])
    return counts[top] ** -power
