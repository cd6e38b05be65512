"""Figures of the Teach page, as pure functions of data, with the look of `afcore.app.plots`."""

import html
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from afcore.app import plots
from afcore.app.plots import ACCENT, PATTERNS, QUIET, SERIES
from afcore.teach.explain import PartEffect, Why
from afcore.teach.exports import shown
from afcore.teach.proof import Proof, Score
from afcore.teach.segments import Segment

CLAP = "#56b4e9"
"""Plain CLAP, beside the model."""
_LIGHTS = [[0.0, "rgba(196,58,105,0)"], [1.0, ACCENT]]
MOST_SEGMENTS = 2000
"""Bars of a timeline that a browser draws without effort."""


def accuracy(proof: Proof) -> go.Figure:
    """A bar for each method in its order, with its 95 % interval; a line marks chance, words the suggested method."""
    figure = go.Figure()
    for name, mine in (("The model", True), ("Plain CLAP", False)):
        scores = [(place, s) for place, s in enumerate(proof.scores) if s.method.language_model is mine]
        if scores:
            figure.add_trace(_accuracies(name, scores, ACCENT if mine else CLAP, "" if mine else "/"))
    titles = [
        plots.wrapped(score.method.title, 14) + (" <br><b>suggested</b>" if score.method == proof.suggested else "")
        for score in proof.scores
    ]
    if proof.labels:
        figure.add_hline(
            1 / len(proof.labels),
            line={"color": QUIET, "width": 1, "dash": "dot"},
            annotation_text="chance",
            annotation_position="top right",
        )
    figure.update_xaxes(
        tickvals=list(range(len(titles))), ticktext=titles, showgrid=False, range=[-0.6, len(titles) - 0.4]
    )
    figure.update_yaxes(range=[0, 1.12], tickformat=".0%", tickvals=[0, 0.25, 0.5, 0.75, 1])
    return plots.finished(figure, height=360, showlegend=True, bargap=0.3)


def _accuracies(name: str, scores: Sequence[tuple[int, Score]], colour: str, pattern: str) -> go.Bar:
    above = [score.interval[1] - score.accuracy for _, score in scores]
    below = [score.accuracy - score.interval[0] for _, score in scores]
    said = [
        f"{score.method.title}: {score.right} right, {_range(score.interval)}; mean over labels {score.macro:.0%}"
        for _, score in scores
    ]
    return go.Bar(
        x=[place for place, _ in scores],
        y=[score.accuracy for _, score in scores],
        name=name,
        text=[f"<b>{score.accuracy:.0%}</b>" for _, score in scores],
        textposition="inside",
        insidetextanchor="start",
        textfont={"color": "#2b2530" if pattern else "white"},
        error_y={"type": "data", "array": above, "arrayminus": below, "color": QUIET, "thickness": 2, "width": 6},
        marker={"color": colour, "cornerradius": 4, "pattern": {"shape": pattern, "solidity": 0.2}},
        hovertemplate="%{customdata}<extra></extra>",
        customdata=said,
    )


def label_gains(proof: Proof, score: Score) -> go.Figure:
    """For each label, how much more of it ``score``'s method finds than the first one, greatest first."""
    gains = dict(sorted(proof.label_gains(score).items(), key=lambda pair: -pair[1]))
    said = [f"{html.escape(label)}: {gain:+.0%}" for label, gain in gains.items()]
    return _signed(list(gains), list(gains.values()), said)


def confusion(labels: Sequence[str], matrix: np.ndarray) -> go.Figure:
    """Clips by true label (row) and answer (column), ``matrix`` (n, n).

    Colours are shares of the row, so that rare labels show.
    """
    counts = np.asarray(matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [plots.wrapped(label, 18) for label in labels]
    places = list(range(len(labels)))
    figure = go.Figure(
        go.Heatmap(
            z=shares,
            x=places,
            y=places,
            zmin=0,
            zmax=1,
            colorscale=_LIGHTS,
            showscale=False,
            xgap=2,
            ygap=2,
            text=[[str(count) if count else "" for count in row] for row in counts.tolist()],
            texttemplate="%{text}",
            customdata=[[f"{html.escape(true)} taken for {html.escape(said)}" for said in labels] for true in labels],
            hovertemplate="%{customdata}: %{text}<extra></extra>",
        )
    )
    figure.update_xaxes(tickvals=places, ticktext=names, title="Answer", showgrid=False, side="bottom", tickangle=-30)
    figure.update_yaxes(tickvals=places, ticktext=names, title="True label", showgrid=False, autorange="reversed")
    return plots.finished(figure, height=140 + 44 * max(3, len(labels)))


def timeline(segments: Sequence[Segment], duration: float) -> go.Figure:
    """A long recording of ``duration`` seconds: each label's segments in a lane of its own, fainter where less sure.

    "None of these" is at the bottom. Of more than `MOST_SEGMENTS` segments the longest are drawn.
    """
    drawn = sorted(sorted(segments, key=lambda s: s.start - s.end)[:MOST_SEGMENTS], key=lambda s: s.start)
    labels = sorted({s.label for s in drawn}, key=lambda label: (label is None, label or ""))
    figure = go.Figure()
    for lane, label in enumerate(labels):
        mine = [s for s in drawn if s.label == label]
        figure.add_trace(
            go.Bar(
                orientation="h",
                base=[s.start for s in mine],
                x=[s.end - s.start for s in mine],
                y=[lane] * len(mine),
                width=0.7,
                marker={
                    "color": QUIET if label is None else SERIES[1 + lane % (len(SERIES) - 1)],
                    "opacity": [0.35 + 0.65 * s.probability for s in mine],
                    "pattern": {"shape": PATTERNS[lane % len(PATTERNS)], "solidity": 0.3},
                    "cornerradius": 3,
                },
                customdata=[[html.escape(shown(label)), s.start, s.end, 100 * s.probability] for s in mine],
                hovertemplate="%{customdata[0]}, %{customdata[1]:.2f} to %{customdata[2]:.2f} s, %{customdata[3]:.0f} %"
                "<extra></extra>",
                name=html.escape(shown(label)),
            )
        )
    plots.clock_ticks(figure, 0.0, duration)
    figure.update_xaxes(range=[0, duration])
    figure.update_yaxes(
        tickvals=list(range(len(labels))),
        ticktext=[plots.wrapped(shown(label), 22) for label in labels],
        showgrid=False,
        range=[max(1, len(labels)) - 0.5, -0.5],
        fixedrange=True,
        ticklabelstandoff=6,
    )
    return plots.finished(figure, height=70 + 40 * max(1, len(labels)), barmode="overlay", showlegend=False)


def shot_effects(why: Why) -> go.Figure:
    """By how much each shot moved the answer's probability: to the right where it spoke for it."""
    names = [f"{change.shot.example.label} ({change.shot.similarity:.2f})" for change in why.shots]
    return _signed(names, *_effects(why, why.shots))


def window_effects(why: Why) -> go.Figure:
    """The same for each window of the clip, in order of time."""
    return _signed([f"{change.start:.1f} to {change.end:.1f} s" for change in why.windows], *_effects(why, why.windows))


def _effects(why: Why, changes: Sequence[PartEffect]) -> tuple[list[float], list[str]]:
    p = why.probabilities[why.label]
    said = [
        f"“{html.escape(why.label)}” {change.without[why.label]:.0%} without it, {p:.0%} with it" for change in changes
    ]
    return [change.effect[why.label] for change in changes], said


def _signed(names: Sequence[str], values: Sequence[float], said: Sequence[str]) -> go.Figure:
    """Bars to the left and right of 0, in percentage points, from the top."""
    places = list(range(len(names)))
    figure = go.Figure(
        go.Bar(
            orientation="h",
            x=list(values),
            y=places,
            text=[f"{100 * value:+.1f}" for value in values],
            textposition="outside",
            cliponaxis=False,
            marker={
                "color": [ACCENT if value >= 0 else QUIET for value in values],
                "pattern": {"shape": ["" if value >= 0 else "/" for value in values], "solidity": 0.35},
                "cornerradius": 4,
            },
            customdata=list(said),
            hovertemplate="%{customdata}<extra></extra>",
        )
    )
    reach = 1.5 * max([0.01, *(abs(value) for value in values)])
    figure.update_xaxes(range=[-reach, reach], visible=False)
    figure.add_vline(0, line={"color": QUIET, "width": 1})
    figure.update_yaxes(
        tickvals=places,
        ticktext=[plots.wrapped(name, 24) for name in names],
        range=[len(names) - 0.5, -0.5],
        showgrid=False,
        ticklabelstandoff=6,
    )
    return plots.finished(figure, height=30 + 36 * max(1, len(names)), showlegend=False, bargap=0.25)


def _range(interval: tuple[float, float]) -> str:
    return f"95 % interval {interval[0]:.0%} to {interval[1]:.0%}"
