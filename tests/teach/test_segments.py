"""Long recordings: spans cover what they should, energy agrees with librosa, neighbours of one label become one."""

import threading

import librosa
import numpy as np
import pytest

from afcore.audio.recording import MAX_SECONDS, from_samples
from afcore.errors import BadRequest, Cancelled
from afcore.teach import segments
from afcore.teach.segments import Segment

RATE = 8_000


def bursts(*spans, seconds=12.0):
    """Noise in the given spans, near silence elsewhere."""
    rng = np.random.default_rng(0)
    samples = 1e-4 * rng.normal(size=round(seconds * RATE))
    for start, end in spans:
        samples[round(start * RATE) : round(end * RATE)] = rng.uniform(
            -0.5, 0.5, round(end * RATE) - round(start * RATE)
        )
    return samples.astype(np.float32)


@pytest.mark.parametrize(
    ("duration", "seconds", "hop", "expected"),
    [
        (12, 5, None, [(0, 5), (5, 10), (10, 12)]),
        (10, 5, None, [(0, 5), (5, 10)]),
        (10.3, 5, None, [(0, 5), (5, 10.3)]),
        (3, 5, None, [(0, 3)]),
        (8, 4, 2, [(0, 4), (2, 6), (4, 8)]),
    ],
)
def test_fixed_spans_cover_everything(duration, seconds, hop, expected):
    assert segments.fixed(duration, seconds, hop) == [pytest.approx(span) for span in expected]


@pytest.mark.parametrize(("seconds", "hop"), [(0, None), (MAX_SECONDS + 1, None), (5, 6), (5, 0)])
def test_lengths_that_cannot_be(seconds, hop):
    with pytest.raises(BadRequest):
        segments.fixed(60, seconds, hop)


def test_energy_is_that_of_librosa_however_it_is_read(monkeypatch):
    samples = bursts((1, 2), (4.5, 5.1), (9, 11.7))
    recording = from_samples(samples, RATE)
    monkeypatch.setattr(segments, "STRETCH", 3)
    found = segments.by_energy(recording, gap=0, margin=0, shortest=0)
    expected = librosa.effects.split(samples, top_db=30, frame_length=4 * segments.HOP, hop_length=segments.HOP) / RATE
    np.testing.assert_allclose(found, expected)
    assert len(found) == 3 and found[0] == pytest.approx((1, 2), abs=0.2), "frames last 256 ms at this rate"


def test_near_bursts_are_one_and_long_ones_are_cut():
    recording = from_samples(bursts((1, 1.5), (1.8, 2.3), (10, 80), seconds=90), RATE)
    spans = segments.by_energy(recording, gap=0.4, margin=0.1)
    assert spans[0][0] < 1 and spans[0][1] > 2.3 and len(spans) == 4
    assert all(end - start <= MAX_SECONDS for start, end in spans)
    assert [a[1] for a in spans[1:-1]] == [b[0] for b in spans[2:]], "a long sound is cut without gaps"


def test_silence_has_no_spans():
    assert segments.by_energy(from_samples(np.zeros(RATE, np.float32), RATE)) == []


def test_labelling_hears_each_span_and_can_be_stopped():
    recording = from_samples(bursts((0, 4), seconds=10), RATE)
    stop, heard = threading.Event(), []

    def predict(clip):
        heard.append((clip.start, clip.duration))
        if len(heard) == 2:
            stop.set()
        return "loud" if np.abs(clip.samples).max() > 0.1 else None, 0.8

    running = segments.label_spans(recording, segments.fixed(10, 4), predict, stop)
    assert [next(running), next(running)] == [Segment(0, 4, "loud", 0.8), Segment(4, 8, None, 0.8)]
    with pytest.raises(Cancelled):
        next(running)
    assert heard == [(0, 4), (4, 4)]


def test_silence_is_not_asked_about_and_joins_no_other():
    samples = bursts((0, 4))
    samples[4 * RATE :] = 0
    recording = from_samples(samples, RATE)
    found = list(segments.label_spans(recording, segments.fixed(12, 4), lambda clip: (None, 0.5)))
    assert [segment.silent for segment in found] == [False, True, True] and found[1].label is None
    assert segments.merge(found) == [found[0], Segment(4, 12, None, 0.0, silent=True)]


def test_equal_neighbours_become_one():
    dogs = [Segment(4, 6, "dog", 0.2), Segment(0, 4, "dog", 0.8)]
    nothing = [Segment(n, n + 1, None, n / 10) for n in (6, 7, 9)]
    parts = dogs + nothing
    joined = [Segment(0, 6, "dog", pytest.approx(0.6)), Segment(6, 8, None, pytest.approx(0.65)), nothing[2]]
    assert segments.merge(parts) == joined
    assert len(segments.merge(parts, gap=1)) == 2 and segments.merge([]) == []
