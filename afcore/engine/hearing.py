"""What an engine makes of a sound: window features, CLAP embedding, tags, each kept for the next time."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from afcore.audio.recording import Clip, from_samples, normalise, open_recording
from afcore.clap import Clap, embed_sound
from afcore.engine.results import Heard, StoredClip

if TYPE_CHECKING:
    from afcore.encoders import AudioEncoder
    from afcore.retrieval.bank import Bank, Example

HEARD_KEPT = 256  # clips whose features stay in memory, some 60 kB each
TOP_TAGS = 10
SILENCE_RATE = 48_000  # Hz, at which no encoder listens: so that warming up with silence includes resampling


def listen(encoder: AudioEncoder, clip: Clip) -> tuple[np.ndarray, Tensor]:
    """What ``encoder`` is given of ``clip``, (T,) float32 samples at its rate, and what it makes of them: window features
    (n, E) float32 on the CPU."""
    samples = normalise(clip.resampled(encoder.plan.rate).samples)[: encoder.plan.max_samples]
    return samples, encoder.embed(samples).float().cpu()


class Hearing:
    """The part of `Engine` that listens."""

    encoder: AudioEncoder
    features_name: str
    clap: Clap
    _heard: OrderedDict[str, Heard]

    def hear(self, clip: Clip) -> Heard:
        """Window features, CLAP embedding and tags of ``clip``; heard once per content and then remembered.

        Raises OutOfMemory where the GPU has too little.
        """
        with self._working():
            if clip.key in self._heard:
                self._heard.move_to_end(clip.key)
                known = self._heard[clip.key]
                # The same stretch may come from a file of another name; nothing was computed for it this time.
                return replace(known, clip=clip, timings={"encode": 0.0})
            begun = time.perf_counter()
            samples, features = listen(self.encoder, clip)
            heard = Heard(
                clip=clip,
                features=features,
                times=[(clip.start + start, clip.start + end) for start, end in self.encoder.plan.times(len(samples))],
                vector=embed_sound(self.clap, clip, features),
                tags=self._tags(features),
                timings={},
            )
            heard.timings["encode"] = time.perf_counter() - begun
            self._heard[clip.key] = heard
            if len(self._heard) > HEARD_KEPT:
                self._heard.popitem(last=False)
            return heard

    def recall(self, bank: Bank, example: Example, vector: np.ndarray | None = None) -> Heard:
        """An embedded example of `bank` as heard when it was embedded, with its CLAP embedding ``vector`` where that is at hand."""
        features = torch.as_tensor(bank.features(example.id, self.features_name))
        return Heard(StoredClip(example.sha256, example.sha256), features, [], vector, [], {})

    def silence(self) -> Heard:
        """One window of nothing, as heard."""
        samples = np.zeros(round(self.encoder.plan.seconds * SILENCE_RATE), np.float32)
        return self.hear(from_samples(samples, SILENCE_RATE, "silence").clip())

    def hear_file(self, source, name: str | None = None, start: float = 0.0) -> Heard:
        """As `hear`, for a sound file (path, bytes or open file) from ``start`` in seconds; raises AudioError, BadRequest."""
        begun = time.perf_counter()
        clip = open_recording(source, name).clip(start)
        decoded = time.perf_counter() - begun
        heard = self.hear(clip)
        return replace(heard, timings={"decode_audio": decoded, **heard.timings})

    def _tags(self, features: Tensor) -> list[tuple[str, float]]:
        if not hasattr(self.encoder, "tags"):
            return []
        probabilities = self.encoder.tags(features)
        best = probabilities.topk(min(TOP_TAGS, len(probabilities)))
        return [(self.encoder.labels[i], p) for p, i in zip(best.values.tolist(), best.indices.tolist())]
