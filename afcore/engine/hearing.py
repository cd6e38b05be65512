"""What an engine makes of a sound: window features, CLAP embedding, tags, each kept for the next time."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from afcore.audio.recording import Clip, from_samples, normalise
from afcore.clap import embed_sound
from afcore.engine.results import Heard

if TYPE_CHECKING:
    from afcore.audio.windows import WindowPlan
    from afcore.clap import Clap
    from afcore.encoders import AudioEncoder

HEARD_KEPT = 256  # clips whose features stay in memory, some 60 kB each
TOP_TAGS = 10
SILENCE_RATE = 48_000  # Hz, at which no encoder listens: so that warming up with silence includes resampling


def listen(encoder: AudioEncoder, clip: Clip) -> tuple[np.ndarray, Tensor]:
    """What ``encoder`` is given of ``clip``, (T,) float32 samples at its rate, and what it makes of them: window
    features (n, E) float32 on the CPU."""
    samples = normalise(clip.resampled(encoder.plan.rate).samples)[: encoder.plan.max_samples]
    return samples, encoder.embed(samples).float().cpu()


def silent_clip(plan: WindowPlan) -> Clip:
    """One window of nothing."""
    samples = np.zeros(round(plan.seconds * SILENCE_RATE), np.float32)
    return from_samples(samples, SILENCE_RATE, "silence").clip()


class Ear:
    """An encoder and a CLAP; a clip is heard once per content and then remembered.

    ``finder``: the CLAP that finds neighbours, where that is not ``clap``, the model's own.
    """

    def __init__(self, encoder: AudioEncoder, clap: Clap, finder: Clap | None = None):
        self.encoder, self.clap, self.finder = encoder, clap, finder
        self._heard: OrderedDict[str, Heard] = OrderedDict()

    def __len__(self) -> int:
        """How many clips are remembered."""
        return len(self._heard)

    def forget(self) -> None:
        """Drop what is remembered."""
        self._heard.clear()

    def hear(self, clip: Clip, remember: bool = True) -> Heard:
        """Window features, CLAP embedding and tags of ``clip``; without ``remember`` it is not kept for the next
        time."""
        if clip.key in self._heard:
            self._heard.move_to_end(clip.key)
            # The same stretch may come from a file of another name; nothing was computed for it this time.
            return replace(self._heard[clip.key], clip=clip, timings={"encode": 0.0})
        begun = time.perf_counter()
        samples, features = listen(self.encoder, clip)
        heard = Heard(
            clip=clip,
            features=features,
            times=[(clip.start + start, clip.start + end) for start, end in self.encoder.plan.times(len(samples))],
            vector=embed_sound(self.clap, clip, features),
            tags=top_tags(self.encoder, features),
            timings={},
            near=None if self.finder is None else embed_sound(self.finder, clip, features),
        )
        heard.timings["encode"] = time.perf_counter() - begun
        if not remember:
            return heard
        self._heard[clip.key] = heard
        if len(self._heard) > HEARD_KEPT:
            self._heard.popitem(last=False)
        return heard


def top_tags(encoder: AudioEncoder, features: Tensor, most: int = TOP_TAGS) -> list[tuple[str, float]]:
    """The most probable classes that ``encoder`` hears in window ``features`` (n, E): (name, probability), best
    first."""
    if not encoder.names_tags():
        return []
    probabilities = encoder.tags(features)
    best = probabilities.topk(min(most, len(probabilities)))
    return [(encoder.labels[i], p) for p, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)]
