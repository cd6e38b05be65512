"""Long recordings: cut into segments, each labelled by itself, equal neighbours joined.

Nothing here holds a whole recording in memory: two hours are decoded a few minutes at a time.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import librosa
import numpy as np

from afcore.audio.recording import MAX_SECONDS, Clip, Recording
from afcore.errors import BadRequest, Cancelled

SHORTEST = 0.1  # s
STRETCH = 120  # s that are decoded at a time
HOP = 512  # samples, and frames of four hops, as by default in librosa

Span = tuple[float, float]
"""Start and end in seconds."""


@dataclass(frozen=True)
class Segment:
    """A stretch of a recording and what it was taken for."""

    start: float
    end: float
    label: str | None
    """None: none of these."""
    probability: float
    silent: bool = False
    """There is nothing to hear in it: ``label`` is None and means nothing."""


def fixed(duration: float, seconds: float = 5.0, hop: float | None = None) -> list[Span]:
    """Spans of ``seconds`` every ``hop`` (default: end to end) over ``duration`` seconds.

    The last ends with the recording; a rest under a tenth of ``seconds`` belongs to the one before. Raises BadRequest
    for lengths that cannot be.
    """
    hop = seconds if hop is None else hop
    if not SHORTEST <= seconds <= MAX_SECONDS:
        raise BadRequest(f"A segment lasts from {SHORTEST:g} to {MAX_SECONDS:g} s, the most that the model hears.")
    if not SHORTEST <= hop <= seconds:
        raise BadRequest("Segments must follow each other without gaps: choose a step no longer than the segment.")
    starts = np.arange(max(1, int(np.ceil((duration - seconds) / hop - 1e-9)) + 1)) * hop
    spans = [(float(start), float(min(start + seconds, duration))) for start in starts]
    covered = spans[-2][1] if len(spans) > 1 else 0.0
    if len(spans) > 1 and duration - covered < seconds / 10 and duration - spans[-2][0] <= MAX_SECONDS:
        spans[-2:] = [(spans[-2][0], duration)]
    return spans


def by_energy(
    recording: Recording, top_db: float = 30.0, gap: float = 0.3, margin: float = 0.1, shortest: float = SHORTEST
) -> list[Span]:
    """Where something sounds: frames less than ``top_db`` below the loudest, as `librosa.effects.split` finds them.

    Spans less than ``gap`` s apart are joined, those under ``shortest`` s left out, each is widened by ``margin`` s on
    both sides and cut where it is longer than the model hears. An empty list for silence.
    """
    rate, duration = recording.rate, recording.duration
    level = librosa.amplitude_to_db(_rms(recording), ref=np.max, top_db=None)
    if not recording.envelope.any():
        return []
    loud = np.concatenate([[False], level > -top_db, [False]])
    edges = librosa.frames_to_samples(np.flatnonzero(np.diff(loud)), hop_length=HOP).reshape(-1, 2) / rate
    spans: list[Span] = []
    for start, end in np.minimum(edges, duration).tolist():
        if spans and start - spans[-1][1] < gap:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    spans = [(max(0.0, a - margin), min(duration, b + margin)) for a, b in spans if b - a >= shortest]
    return [piece for span in spans for piece in _pieces(span)]


def label_spans(
    recording: Recording,
    spans: Sequence[Span],
    predict: Callable[[Clip], tuple[str | None, float]],
    stop: threading.Event | None = None,
) -> Iterator[Segment]:
    """Yields each span with what ``predict`` says of it: (label, probability); it is not asked about silence. Raises
    Cancelled once ``stop`` is set."""
    for start, end in spans:
        if stop is not None and stop.is_set():
            raise Cancelled()
        clip = recording.clip(start, end - start)
        if clip.silent:
            yield Segment(start, end, None, 0.0, silent=True)
            continue
        label, probability = predict(clip)
        yield Segment(start, end, label, probability)


def merge(segments: Sequence[Segment], gap: float = 0.0) -> list[Segment]:
    """In order of time, neighbours of one label that overlap, touch or lie at most ``gap`` s apart joined to one.

    The probability of what was joined is the mean over its parts, each by its length.
    """
    merged: list[Segment] = []
    weight = 0.0  # seconds of the parts of the last one
    for segment in sorted(segments, key=lambda s: (s.start, s.end)):
        last, seconds = merged[-1] if merged else None, segment.end - segment.start
        alike = last is not None and (last.label, last.silent) == (segment.label, segment.silent)
        if last is not None and alike and segment.start - last.end <= gap + 1e-6:
            probability = (last.probability * weight + segment.probability * seconds) / (weight + seconds)
            merged[-1] = replace(last, end=max(last.end, segment.end), probability=probability)
            weight += seconds
        else:
            merged.append(segment)
            weight = seconds
    return merged


def _pieces(span: Span) -> list[Span]:
    """The span in equal parts that the model can hear whole."""
    count = int(np.ceil((span[1] - span[0]) / MAX_SECONDS - 1e-9)) or 1
    edges = np.linspace(*span, count + 1).tolist()
    return list(itertools.pairwise(edges))


def _rms(recording: Recording) -> np.ndarray:
    """Root mean square of centred frames of four hops, (1 + T // HOP,): `librosa.feature.rms` a stretch at a time.

    A frame's power is the mean over its hops', and those can be taken a stretch at a time.
    """
    powers, step = [], STRETCH * recording.rate // HOP * HOP
    for first in range(0, recording.length, step):
        samples = recording.clip(first / recording.rate, step / recording.rate).samples
        padded = np.pad(samples, (0, -len(samples) % HOP)).reshape(-1, HOP)
        powers.append((padded.astype(np.float64) ** 2).mean(1))
    hops = np.concatenate([[0.0, 0.0], *powers, [0.0, 0.0]])
    return np.sqrt(np.convolve(hops, np.full(4, 0.25), "valid"))[: 1 + recording.length // HOP]
