"""Figures of the Teach page: the right numbers at the right place, and text that is not markup."""

from types import SimpleNamespace

import numpy as np
import pytest

from afcore.app import teach_plots
from afcore.retrieval.nearest import Shot
from afcore.teach import proof
from afcore.teach.explain import ShotEffect, Why, WindowEffect
from afcore.teach.proof import Method, Trial
from afcore.teach.segments import Segment

LABELS = ("dog", "<b>cat</b>")
MARKUP = ("<b>cat", "<i>")


@pytest.fixture(scope="module")
def found():
    trials = [Trial(n, LABELS[n % 2]) for n in range(8)]

    def say(label):
        return {other: float(other == label) for other in LABELS}

    def predict(heard, labels, k):
        return say("dog" if k == 0 or heard == 1 else LABELS[heard % 2])

    nearest = {Method("clap-nn", 0, "CLAP, nearest example"): lambda heard, labels: say("<b>cat</b>")}
    return list(proof.run(trials, LABELS, predict, nearest, shots=(0, 4)))[-1].result()


def test_accuracy_has_a_bar_an_interval_and_a_name_for_each_method(found):
    figure = teach_plots.accuracy(found)
    model, clap = figure.data
    assert list(model.y) == [0.5, 7 / 8] and list(clap.y) == [0.5] and list(model.x) + list(clap.x) == [0, 1, 2]
    for bars, scores in ((model, found.scores[:2]), (clap, found.scores[2:])):
        np.testing.assert_allclose(np.add(bars.y, bars.error_y.array), [s.interval[1] for s in scores])
        np.testing.assert_allclose(np.subtract(bars.y, bars.error_y.arrayminus), [s.interval[0] for s in scores])
    suggested = [text for text in figure.layout.xaxis.ticktext if "suggested" in text]
    assert len(suggested) == 1 and suggested[0].startswith("4 examples")
    assert figure.layout.shapes[0].y0 == 0.5, "chance"
    assert model.marker.color != clap.marker.color and clap.marker.pattern.shape, "not by colour alone"


def test_confusion_has_the_true_label_in_rows(found):
    (heat,) = teach_plots.confusion(found.labels, found.scores[1].confusion).data
    assert [list(row) for row in heat.text] == [["4", ""], ["1", "3"]]
    np.testing.assert_allclose(heat.z, [[1, 0], [0.25, 0.75]])
    assert heat.customdata[1][0].endswith("taken for dog")


def test_a_label_that_was_not_tried_has_an_empty_row():
    (heat,) = teach_plots.confusion(["a", "b"], np.array([[2, 0], [0, 0]])).data
    assert np.isfinite(np.asarray(heat.z)).all() and list(heat.text[1]) == ["", ""]


def test_gains_are_signed_and_sorted(found):
    figure = teach_plots.label_gains(found, found.scores[1])
    (bars,) = figure.data
    assert list(bars.x) == [0.75, 0] and list(bars.text) == ["+75.0", "+0.0"]
    assert figure.layout.yaxis.ticktext[1] == "dog"


def test_a_timeline_has_a_lane_for_each_label():
    owls = [Segment(0, 4, "owl", 0.9), Segment(7200, 7210, "owl", 1.0)]
    parts = [owls[0], Segment(4, 6, None, 0.2), Segment(6, 7200, "dog", 0.5), owls[1]]
    figure = teach_plots.timeline(parts, 7300)
    assert list(figure.layout.yaxis.ticktext) == ["dog", "owl", "(none of these)"]
    _, owl, none = figure.data
    assert list(owl.base) == [0, 7200] and list(np.add(owl.base, owl.x)) == [4, 7210]
    assert owl.marker.opacity[0] < owl.marker.opacity[1] and set(none.y) == {2}
    assert tuple(figure.layout.xaxis.range) == (0, 7300) and "2:00:00" in figure.layout.xaxis.ticktext


def test_a_long_timeline_stays_small():
    parts = [Segment(n, n + 1 + (n == 77), "dog" if n % 2 else None, 0.5) for n in range(7200)]
    figure = teach_plots.timeline(parts, 7201)
    assert sum(len(bars.x) for bars in figure.data) == teach_plots.MOST_SEGMENTS
    assert any(77 in bars.base for bars in figure.data), "the longest is among them"


def test_what_shots_and_windows_changed():
    why = Why({"dog": 0.7, "cat": 0.3})
    shot = Shot(SimpleNamespace(label="<i>dog", id=1), 0.91)
    why.shots = [ShotEffect({"dog": 0.5, "cat": 0.5}, {"dog": 0.2, "cat": -0.2}, shot)]
    why.windows = [WindowEffect({"dog": 0.8, "cat": 0.2}, {"dog": -0.1, "cat": 0.1}, 1.75, 8.75)]
    shots, windows = teach_plots.shot_effects(why), teach_plots.window_effects(why)
    assert list(shots.data[0].x) == [0.2] and list(windows.data[0].x) == [-0.1]
    assert shots.data[0].customdata[0] == "“dog” 50% without it, 70% with it"
    assert list(windows.layout.yaxis.ticktext) == ["1.8 to 8.8 s"]
    assert shots.layout.yaxis.ticktext[0].startswith("&lt;i&gt;dog")


def test_text_is_never_markup_and_nothing_has_a_background(found):
    figures = [
        teach_plots.accuracy(found),
        teach_plots.label_gains(found, found.scores[1]),
        teach_plots.confusion(found.labels, found.scores[1].confusion),
        teach_plots.timeline([Segment(0, 1, LABELS[1], 1.0)], 2),
    ]
    for figure in figures:
        assert not any(mark in str(figure.to_dict()) for mark in MARKUP)
        layout = figure.layout.template.layout
        assert layout.paper_bgcolor == layout.plot_bgcolor == "rgba(0,0,0,0)" and figure.layout.width is None


def test_nothing_to_show_is_an_empty_figure():
    why = Why({"dog": 1.0})
    for figure in (teach_plots.timeline([], 10), teach_plots.shot_effects(why), teach_plots.window_effects(why)):
        assert figure.layout.height and sum(len(trace.x or ()) for trace in figure.data) == 0
