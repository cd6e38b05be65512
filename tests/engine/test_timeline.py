"""A whole recording, window by window: over an engine that hears loud windows as one thing and faint ones as
another."""

import itertools
import threading

import numpy as np
import pytest
import torch
from fakes import FakeEngine

from afcore.audio.recording import from_samples
from afcore.engine import timeline
from afcore.engine.timeline import Window
from afcore.errors import BadRequest, Cancelled
from afcore.retrieval.bank import Bank

RATE = 8_000


@pytest.fixture
def engine(tmp_path):
    return FakeEngine(Bank(tmp_path / "bank", create=True))


def _noise(seconds: float, gain: float = 0.2, seed: int = 0) -> np.ndarray:
    return (gain * np.random.default_rng(seed).normal(size=round(seconds * RATE))).clip(-1, 1).astype(np.float32)


def _window(start: float, label: str, probability: float = 0.5, vector: np.ndarray | None = None) -> Window:
    return Window(start, start + 7.0, label, probability, ((label, probability),), vector, {label: probability})


@pytest.mark.parametrize("duration, count, last", [(3.0, 1, 0.0), (7.0, 1, 0.0), (20.0, 5, 13.0), (700.0, 100, 693.0)])
def test_windows_cover_all_of_it_and_the_last_ends_with_it(duration, count, last):
    found = timeline.starts(duration)
    assert len(found) == count and found[0] == 0.0 and found[-1] == last
    assert all(0 < b - a <= timeline.SECONDS for a, b in itertools.pairwise(found))


def test_each_window_is_heard_and_what_is_faint_gets_no_label(engine):
    samples = np.concatenate([_noise(14.0), _noise(14.0, 1e-4)])
    windows = list(timeline.listen(engine, from_samples(samples, RATE)))
    assert [window.start for window in windows] == [0.0, 3.5, 7.0, 10.5, 14.0, 17.5, 21.0]
    assert [window.quiet for window in windows] == [False] * 4 + [True] * 3
    assert windows[0].tags[0] == ("Dog", pytest.approx(0.91)) and windows[0].of_classes["Car"] == pytest.approx(0.02)
    assert len(engine.ear) == 0  # others' clips are not pushed out


def test_a_stop_ends_it_after_the_window_that_is_heard(engine):
    stop, seen = threading.Event(), 0
    with pytest.raises(Cancelled):
        for _ in timeline.listen(engine, from_samples(_noise(30.0), RATE), stop):
            seen += 1
            stop.set()
    assert seen == 1


def test_a_dog_is_the_better_label_of_an_animal(engine, monkeypatch):
    def tags(features):
        return torch.tensor([0.3, 0.9, 0.1, 0.0, 0.4, 0.0])  # in the order of the fake encoder's labels

    monkeypatch.setattr(engine.encoder, "tags", tags)
    [window] = timeline.listen(engine, from_samples(_noise(5.0), RATE))
    assert window.label == "Dog" and window.tags[0][0] == "Animal"


def test_neighbours_of_one_label_are_joined_in_the_middle_between_windows():
    windows = [_window(0.0, "Dog"), _window(3.5, "Dog", 0.8), _window(7.0, "Rain")]
    first, second = timeline.stretches(windows)
    assert (first.start, first.end, first.label, first.probability) == (0.0, 8.75, "Dog", 0.8)
    assert (second.start, second.end, second.label) == (8.75, 14.0, "Rain")


def test_words_are_found_where_they_fit_best_and_places_that_overlap_once(engine):
    dog, rain = engine.clap.text(["dog", "rain"])
    windows = [_window(0.0, "Rain", vector=rain), _window(3.5, "Dog", vector=dog), _window(7.0, "Dog", vector=dog)]
    windows.append(_window(14.0, "Rain", vector=rain))
    found = timeline.find(engine, windows, "dog", {"Dog"})
    assert [place.window.start for place in found] == [3.5, 14.0]
    assert found[0].fits and found[0].score == pytest.approx(1.5) and found[1].score < found[0].score
    with pytest.raises(BadRequest):
        timeline.find(engine, windows, "  ")


def test_where_nothing_was_measured_nothing_is_said_of_fitting(engine):
    engine.name = "another"
    [place] = timeline.find(engine, [_window(0.0, "Dog", vector=engine.clap.text(["dog"])[0])], "dog")
    assert place.fits is None


def test_the_summary_is_three_sentences_of_what_is_there():
    labels = ["Rain", "Rain", "Rain", "Dog", "Applause", "Rain", "Rain", "Siren"]
    windows = [_window(3.5 * number, label) for number, label in enumerate(labels)]
    text = timeline.summary(windows)
    assert text.count(".") == 3 and "rain" in text.lower() and "siren" in text.lower() and "dog" in text
    assert "0:12" in text  # where the dog begins
    quiet = [
        _window(0.0, "Dog"),
        Window(3.5, 10.5, "", 0.0, (), np.zeros(1)),
        Window(7.0, 14.0, "", 0.0, (), np.zeros(1)),
    ]
    assert "quiet from 0:05 to 0:14" in timeline.summary(quiet)
    assert timeline.summary(windows[:3]) == "Rain: heard all through these 0:14."
    assert "nothing is heard clearly" in timeline.summary(quiet[1:]) and timeline.summary([]) == ""
