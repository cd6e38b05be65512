"""Figures: the right data at the right place, few points, no theme's background, and text that is not markup."""

import csv
import io
import itertools
from types import SimpleNamespace

import numpy as np
import plotly.graph_objects as go
import pytest

from afcore.app import plots, teach_plots
from afcore.audio.envelope import envelope_of
from afcore.audio.recording import Clip
from afcore.audio.spectrum import mel_decibels
from afcore.audio.windows import MINI


def _clip(samples, rate=32_000, start=0.0):
    return Clip(np.asarray(samples, np.float32), rate, start, "sound", "key")


def _noise(seconds, rate=1000):
    return np.random.default_rng(0).uniform(-0.5, 0.5, round(seconds * rate)).astype(np.float32)


def _waveform(seconds, start=0.0, **more):
    end = min(seconds, start + MINI.max_seconds)
    times = [(start + a, start + b) for a, b in MINI.times(round((end - start) * MINI.rate))]
    return plots.waveform(envelope_of(_noise(seconds), 4000), seconds, times, start, MINI.max_seconds, **more), times


def _points(figure: go.Figure) -> int:
    return sum(len(trace.x) for trace in figure.data if trace.x is not None)


def _traces(figure, name):
    return [trace for trace in figure.data if trace.name == name]


@pytest.mark.parametrize("seconds", [0.01, 5, 7, 10, 33.25, 60, 99, 300, 7200])
def test_every_window_is_numbered_at_its_time_and_no_two_touch_in_a_lane(seconds):
    figure, times = _waveform(seconds)
    (bars,) = _traces(figure, "windows")
    assert [text.strip("</b>") for text in bars.text] == [str(i + 1) for i in range(len(times))]
    np.testing.assert_allclose(bars.base, [a for a, _ in times])
    np.testing.assert_allclose(np.add(bars.base, bars.x), [b for _, b in times])
    for lane in set(bars.y):
        spans = [span for span, y in zip(times, bars.y, strict=True) if y == lane]
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
    assert figure.layout.yaxis.domain[0] >= getattr(figure.layout, f"yaxis{bars.yaxis[1:]}").domain[1], (
        "below, not over"
    )


@pytest.mark.parametrize("seconds", [33.25, 90, 7200])
def test_waveforms_stay_small(seconds):
    figure, _ = _waveform(seconds, heard_samples=_noise(33.25))
    assert _points(figure) < 13_000
    assert len(figure.to_json()) < 250_000


def test_all_is_heard_in_a_short_recording():
    figure, _ = _waveform(20)
    assert not _traces(figure, "not heard") and not figure.layout.annotations
    (heard,) = _traces(figure, "heard")
    assert min(heard.x) == 0 and max(heard.x) == 20


def test_what_is_not_heard_is_grey_and_says_so():
    figure, _ = _waveform(90, start=20)
    (heard,), (before, after) = _traces(figure, "heard"), _traces(figure, "not heard")
    assert (min(heard.x), max(heard.x)) == (20, 53.25)
    assert (min(before.x), max(before.x), min(after.x), max(after.x)) == (0, 20, 53.25, 90)
    assert heard.fillcolor != before.fillcolor == after.fillcolor
    assert [note.text for note in figure.layout.annotations] == ["not heard"] * 2


def test_a_long_recording_shows_its_heard_part_large():
    figure, _ = _waveform(7200, start=600, heard_samples=_noise(33.25))
    overview, detail = _traces(figure, "heard")
    assert overview.yaxis != detail.yaxis
    assert len(detail.x) > 1000 > len(overview.x), "drawn from its own samples"
    assert (min(detail.x), max(detail.x)) == (600, 633.25)
    assert tuple(figure.layout.xaxis2.range) == tuple(figure.layout.xaxis3.range) == (600, 633.25)


def test_a_waveform_reaches_the_extremes_of_its_envelope():
    envelope = np.array([[-0.1, 0.1]] * 5000, np.float32)
    envelope[1234] = [-0.9, 0.8]  # one slice among those that are drawn together
    (heard,) = _traces(plots.waveform(envelope, 10, [(0, 7)]), "heard")
    assert (min(heard.y), max(heard.y)) == (np.float32(-0.9), np.float32(0.8))
    peak = list(heard.y).index(np.float32(0.8))
    assert heard.x[peak] == pytest.approx(10 * 1234.5 / 5000, abs=10 / plots.MAX_POINTS)


def test_silence_has_a_waveform_and_a_spectrogram():
    figure = plots.waveform(np.zeros((100, 2), np.float32), 5, [(0, 5)])
    assert figure.layout.yaxis.range[0] < 0 < figure.layout.yaxis.range[1]
    (heat,) = plots.mel(_clip(np.zeros(32_000))).data
    assert np.all(np.asarray(heat.z) == -80)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("rate", [1000, 4000, 8000, 16_000, 44_100, 192_000])
@pytest.mark.parametrize("seconds", [0.01, 2])
def test_a_tone_lies_in_its_mel_band_at_any_rate(rate, seconds):
    tone = rate / 5
    t = np.arange(round(rate * seconds)) / rate
    decibels, centres, times = mel_decibels(np.sin(2 * np.pi * tone * t).astype(np.float32), rate, 64, 300)
    assert decibels.shape == (len(centres), len(times)) and decibels.min() >= -80 and decibels.max() == 0
    assert times[0] > 0 and times[-1] < seconds
    if tone < 20_000 and seconds > 1:
        at = decibels.mean(axis=1).argmax()
        assert centres[max(0, at - 1)] <= tone <= centres[min(at + 1, len(centres) - 1)]


def test_a_click_in_a_long_clip_keeps_its_place_in_the_spectrogram():
    samples = np.zeros(33 * 32_000, np.float32)
    samples[20 * 32_000] = 1
    decibels, _, times = mel_decibels(samples, 32_000, 64, 300)
    assert decibels.shape[1] == 300
    assert times[decibels.max(axis=0).argmax()] == pytest.approx(20, abs=0.15)


def test_spectrogram_times_are_those_of_the_recording():
    figure = plots.mel(_clip(_noise(20, 32_000), start=60.0))
    assert tuple(figure.layout.xaxis.range) == (60, 80)
    assert 60 < figure.data[0].x[0] < figure.data[0].x[-1] < 80
    assert figure.layout.xaxis.ticktext[0] == "1:00"


def test_tags_keep_their_order_and_show_percent():
    figure = plots.tags([("Speech", 0.83), ("Dog", 0.051), ("Bark", 0.001)])
    (bars,) = figure.data
    assert list(figure.layout.yaxis.ticktext) == ["Speech", "Dog", "Bark"]
    assert list(bars.text) == ["83 %", "5 %", "under 1 %"]
    assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1], "the first is on top"


def test_probabilities_are_sorted_and_cut():
    figure = plots.probabilities({f"label {i}": i / 55 for i in range(11)}, most=3)
    assert list(figure.layout.yaxis.ticktext) == ["label 10", "label 9", "label 8"]


def test_compare_groups_three_answers_by_label_and_not_by_colour_alone():
    answers = {
        "No shots": {"dog": 0.2, "cat": 0.8},
        "These": {"dog": 0.9, "cat": 0.1},
        "Shuffled": {"cat": 1.0, "dog": 0.0},
    }
    figure = plots.compare(answers)
    assert [bar.name for bar in figure.data] == list(answers)
    labels = list(figure.layout.yaxis.ticktext)
    assert labels == ["cat", "dog"]
    for bar, by_label in zip(figure.data, answers.values(), strict=True):
        assert list(bar.x) == [by_label[label] for label in labels]
    assert len({bar.marker.color for bar in figure.data}) == 3
    assert figure.layout.showlegend and figure.data[2].marker.pattern.shape


def test_labels_are_text_and_never_markup():
    figure = plots.probabilities({'<a href="javascript:x">dog</a>': 1.0})
    assert "<a" not in "".join(figure.layout.yaxis.ticktext) + "".join(figure.data[0].customdata)


def test_nothing_to_show_is_an_empty_figure():
    for figure in (plots.tags([]), plots.probabilities({}), plots.compare({})):
        assert isinstance(figure, go.Figure) and _points(figure) == 0


def test_map_of_neighbours_keeps_near_things_near():
    rng = np.random.default_rng(0)
    groups = rng.normal(size=(2, 32))
    vectors = np.concatenate([group + 0.05 * rng.normal(size=(50, 32)) for group in groups])
    figure = plots.neighbours(vectors, ["a"] * 50 + ["b"] * 50, groups[1], shots=[60, 61])
    bank, shots, query = figure.data
    here = np.array([query.x[0], query.y[0]])
    far = np.linalg.norm(np.stack([bank.x, bank.y], 1) - here, axis=1)
    assert far[50:].max() < far[:50].min()
    assert list(shots.text) == ["b", "b"] and sorted(shots.textposition) == ["bottom center", "top center"]


def test_figures_have_no_background_and_no_fixed_width():
    figures = [_waveform(10)[0], _waveform(200)[0], plots.mel(_clip(_noise(1, 32_000))), plots.tags([("Dog", 0.5)])]
    for figure in figures:
        layout = figure.layout.template.layout
        assert layout.paper_bgcolor == layout.plot_bgcolor == "rgba(0,0,0,0)"
        assert figure.layout.width is None and figure.layout.autosize and figure.layout.height


def _rows(figure):
    return list(csv.reader(io.StringIO(plots.to_csv(figure))))


def test_the_numbers_of_a_figure_come_as_csv():
    rows = _rows(plots.compare({"A & B": {"=x": 0.25, "dog": 0.5}, "C": {"dog": 1.0}}))
    assert rows[0] == ["series", "label", "value"] and ["A & B", "dog", "0.5"] in rows
    assert ["A & B", "'=x", "0.25"] in rows and ["C", "dog", "1.0"] in rows
    chart, spans = plots.heard_when([(0.0, 7.0, "Dog", 0.5), (7.0, 9.0, "Rain", 0.2)], 9.0, [(1.0, 8.0)])
    assert spans == [(1.0, 8.0), (0.0, 7.0), (7.0, 9.0)]  # as the bars are drawn: what is looked for, then by length
    assert _rows(chart)[0] == ["series", "label", "value", "from"] and ["Rain", "Rain", "2.0", "7.0"] in _rows(chart)


def test_the_numbers_of_lines_points_and_cells_come_as_csv():
    rows = _rows(plots.loss([(1, 0.9), (2, 0.5)]))
    assert rows == [
        ["series", "label", "value"],
        ["each step", "1", "0.9"],
        ["each step", "2", "0.5"],
        ["mean of ten", "1", "0.9"],
        ["mean of ten", "2", "0.86"],
    ]
    run = SimpleNamespace(value=0.5, low=0.4, high=0.7, n=20)
    measure = SimpleNamespace(scores=[("mini", run)], published=[("the paper", 0.461)], metric="CIDEr")
    rows = _rows(plots.measured(measure))
    assert rows[0] == ["series", "label", "value", "low", "high"]
    assert rows[1:] == [
        ["runs, with 95 % interval", "mini, n = 20", "0.5", "0.4", "0.7"],
        ["the paper: 0.461", "", "0.461", "", ""],
    ]
    assert ["cat", "dog", "2.0"] in _rows(teach_plots.confusion(["cat", "dog"], np.array([[3, 2], [0, 4]])))


def test_a_name_of_several_lines_keeps_the_space_between_its_words():
    figure = plots.shares({"kinds it was trained on": 0.7, "a <b> c": 0.5})
    names = figure.layout.yaxis.ticktext
    assert names[0] == "kinds it was trained <br>on" and names[1] == "a &lt;b&gt; c"
    assert ",kinds it was trained on,0.7" in plots.to_csv(figure)
    assert ",a,0.724\n" in plots.to_csv(plots.shares({"a": 72.4 / 100})), "72.4 / 100 is not quite 0.724"
