"""What an engine makes of a sound: window features, CLAP embedding, tags, each kept for the next time."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
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
    return listen_together(encoder, [clip])[0]


def listen_together(encoder: AudioEncoder, clips: Sequence[Clip]) -> list[tuple[np.ndarray, Tensor]]:
    """As `listen` for each of ``clips``."""
    sounds = [normalise(clip.resampled(encoder.plan.rate).samples)[: encoder.plan.max_samples] for clip in clips]
    return [(one, made.float().cpu()) for one, made in zip(sounds, encoder.embed_many(sounds), strict=True)]


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
        return self.hear_many([clip], remember)[0]

    def hear_many(self, clips: Sequence[Clip], remember: bool = True) -> list[Heard]:
        """As `hear` for each of ``clips``, the new ones together; their timings share the time equally."""
        begun = time.perf_counter()
        new = {clip.key: clip for clip in clips if clip.key not in self._heard}
        heard = listen_together(self.encoder, list(new.values())) if new else []
        made = {
            clip.key: Heard(
                clip=clip,
                features=features,
                times=[(clip.start + start, clip.start + end) for start, end in self.encoder.plan.times(len(samples))],
                vector=embed_sound(self.clap, clip, features),
                tags=top_tags(self.encoder, features),
                timings={},
                near=None if self.finder is None else embed_sound(self.finder, clip, features),
            )
            for clip, (samples, features) in zip(new.values(), heard, strict=True)
        }
        taken = (time.perf_counter() - begun) / max(1, len(made))
        found = []
        for clip in clips:
            one = made.get(clip.key)
            if one is not None and one.clip is clip:
                one.timings["encode"] = taken
                found.append(one)
                continue
            if one is None:
                self._heard.move_to_end(clip.key)
                one = self._heard[clip.key]
            # The same stretch may come from a file of another name; nothing was computed for it this time.
            found.append(replace(one, clip=clip, timings={"encode": 0.0}))
        if remember:
            self._heard |= made
            while len(self._heard) > HEARD_KEPT:
                self._heard.popitem(last=False)
        return found


def top_tags(encoder: AudioEncoder, features: Tensor, most: int = TOP_TAGS) -> list[tuple[str, float]]:
    """The most probable classes that ``encoder`` hears in window ``features`` (n, E): (name, probability), best
    first."""
    if not encoder.names_tags():
        return []
    probabilities = encoder.tags(features)
    best = probabilities.topk(min(most, len(probabilities)))
    return [(encoder.labels[i], p) for p, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)]
