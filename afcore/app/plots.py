"""Figures, as pure functions of data: nothing here reads a file or knows a page.

One look for all of them: a transparent background and colours that can be read on white and on black, colours that
stay apart for colour-blind eyes (Okabe and Ito's palette, and lightness), no fixed width. A page's theme may replace
the template's greys.
"""

from __future__ import annotations

import csv
import html
import io
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.colors
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from afcore.audio.clock import minutes_text
from afcore.audio.envelope import envelope_of
from afcore.audio.recording import Clip
from afcore.audio.spectrum import mel_decibels
from afcore.audio.windows import WindowPlan

if TYPE_CHECKING:
    from afcore.app.benchmark_runs import Measure
    from afcore.app.model_facts import Gate, Moved
    from afcore.evaluation.attention_cost import Cost

ACCENT = "#c43a69"
"""What the model hears."""
QUIET = "#8f8b96"
"""What it does not hear; text and lines."""
SERIES = ("#8f8b96", "#c43a69", "#e69f00", "#56b4e9", "#009e73", "#0072b2")
PATTERNS = ("", "", "/", "x", ".", "\\")

# Magma's own darkest colour, #000004, is one that Streamlit's theme takes for a placeholder and replaces by pink.
_HEAT = ["#010106", *plotly.colors.sequential.Magma[1:]]

MAX_POINTS = 1500
"""Slices of a waveform that are drawn; a wide screen has fewer pixels."""
LANES = 4
"""Windows of 7 s every 1.75 s: the fifth begins where the first ends."""

_GRID = "rgba(143,139,150,0.25)"
_TEMPLATE = go.layout.Template(
    layout={
        "font": {"size": 14, "color": "#807c88"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "colorway": list(SERIES),
        "margin": {"l": 18, "r": 18, "t": 8, "b": 8},  # half a time's width: labels past the edge would be left out
        "hoverlabel": {"font": {"size": 14}},
        "xaxis": {"gridcolor": _GRID, "zeroline": False, "automargin": True},
        "yaxis": {"gridcolor": _GRID, "zeroline": False, "automargin": True},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    }
)


def waveform(
    envelope: np.ndarray,
    duration: float,
    windows: Sequence[tuple[float, float]],
    heard_start: float = 0.0,
    max_seconds: float = 33.25,
    heard_samples: np.ndarray | None = None,
) -> go.Figure:
    """The waveform with the windows that the model hears numbered in lanes below it.

    ``envelope``: (n, 2) least and greatest sample per slice of the whole recording of ``duration`` seconds.
    ``windows``: start and end of each window in seconds of the recording. ``heard_start``: where the heard part
    begins; it lasts ``max_seconds`` at most. What is not heard is grey and says so. Where the heard part is small in a
    long recording, it is drawn large below an overview, from ``heard_samples`` (T,) where they are given.
    """
    heard_end = min(heard_start + max_seconds, duration)
    magnified = duration > 3 * max_seconds
    lanes = 6 + 27 * min(len(windows), LANES)
    # Heights in pixels from the top: the overview and its times, the waveform, the lanes of windows.
    heights, gaps = ([80, 180, lanes], [44, 4]) if magnified else ([220, lanes], [4])
    figure = _stack(heights, gaps)
    peak = float(np.abs(envelope).max(initial=0)) or 1.0
    for first, last, heard in [(0.0, heard_start, False), (heard_start, heard_end, True), (heard_end, duration, False)]:
        if last > first:
            figure.add_trace(_outline(envelope, duration, first, last, heard), row=1, col=1)
            if not heard and last - first > 0.12 * duration:
                _label(figure, (first + last) / 2, peak, "not heard", row=1)
    figure.update_yaxes(range=[-1.25 * peak, 1.25 * peak], visible=False, fixedrange=True, row=1, col=1)
    if magnified:
        figure.add_vrect(
            heard_start, heard_end, line={"color": ACCENT, "width": 2}, fillcolor=ACCENT, opacity=0.35, row=1, col=1
        )
        figure.update_xaxes(range=[0, duration], row=1, col=1)
        clock_ticks(figure, 0.0, duration, row=1)
        if heard_samples is None:
            detail = _outline(envelope, duration, heard_start, heard_end, True)
        else:
            fine, length = envelope_of(heard_samples), heard_end - heard_start
            detail = _outline(fine, length, 0, length, True, shift=heard_start)
        figure.add_trace(detail, row=2, col=1)
        loudest = float(np.nanmax(np.abs(np.asarray(detail.y, dtype=float)), initial=0)) or 1.0
        figure.update_yaxes(range=[-1.15 * loudest, 1.15 * loudest], visible=False, fixedrange=True, row=2, col=1)
    last = len(heights)
    _add_windows(figure, windows, row=last)
    shown = (heard_start, heard_end) if magnified else (0.0, duration)
    for row in (last - 1, last):  # the waveform and its windows share their times
        clock_ticks(figure, *shown, row=row)
        figure.update_xaxes(range=list(shown), showticklabels=row == last, row=row, col=1)
    return finished(figure, height=sum(heights) + sum(gaps) + 40, barmode="overlay", showlegend=False)


def window_times(clip: Clip, plan: WindowPlan) -> list[tuple[float, float]]:
    """Start and end of each window of ``clip``, in seconds of the recording."""
    return [(clip.start + start, clip.start + end) for start, end in plan.times(round(clip.duration * plan.rate))]


def mel(clip: Clip, bands: int = 64, columns: int = 300) -> go.Figure:
    """The mel spectrogram of a clip in dB below its loudest place, at most ``columns`` wide; time in seconds of the
    recording. The highest frequency is half the sampling rate, 20 kHz at most."""
    decibels, centres, seconds = mel_decibels(clip.samples, clip.rate, bands, columns)
    rows = np.arange(len(centres))
    marks = [f for f in (250, 500, 1000, 2000, 4000, 8000, 16000) if centres[0] <= f <= centres[-1]]
    figure = go.Figure(
        go.Heatmap(
            # Whole numbers of dB in bytes: a quarter of the size on the way to the browser.
            z=np.round(decibels).astype(np.int8),
            x=clip.start + seconds,
            y=rows,
            zmin=-80,
            zmax=0,
            colorscale=_HEAT,
            colorbar={"title": "dB", "thickness": 12, "len": 1, "ticks": "", "tickvals": [0, -20, -40, -60, -80]},
            hovertemplate="%{x:.2f} s, %{z} dB<extra></extra>",
        )
    )
    end = clip.start + clip.duration
    figure.update_xaxes(range=[clip.start, end], showgrid=False)
    clock_ticks(figure, clip.start, end)
    figure.update_yaxes(
        tickvals=np.interp(marks, centres, rows), ticktext=[_hertz(f) for f in marks], showgrid=False, fixedrange=True
    )
    return finished(figure, height=300)


MOST_LANES = 8
"""Labels that the picture of a long recording shows, the most heard first."""
FOUND_COLOUR = "#e69f00"


def heard_when(
    parts: Sequence[tuple[float, float, str, float]],
    duration: float,
    found: Sequence[tuple[float, float]] = (),
) -> tuple[go.Figure, list[tuple[float, float]]]:
    """What is heard when in a recording of ``duration`` seconds, a lane for each of the most heard labels.

    ``parts``: start and end in seconds, label and probability each; fainter where less sure. ``found``: places that
    were looked for, in a lane of their own at the top. Returns the figure, whose bars' ``customdata`` begin with their
    start in seconds, and start and end of every bar in the order in which they are drawn.
    """
    length: dict[str, float] = {}
    for start, end, label, _ in parts:
        length[label] = length.get(label, 0.0) + end - start
    lanes = sorted(length, key=lambda label: -length[label])[:MOST_LANES]
    figure, spans = go.Figure(), []
    rows: list[tuple[str, list[tuple[float, float, str, float]], str]] = []
    if found:
        rows.append(("What you look for", [(start, end, "", 1.0) for start, end in found], FOUND_COLOUR))
    rows += [(label, [part for part in parts if part[2] == label], ACCENT) for label in lanes]
    for lane, (name, mine, colour) in enumerate(rows):
        spans += [(start, end) for start, end, _, _ in mine]
        figure.add_trace(
            go.Bar(
                orientation="h",
                base=[start for start, *_ in mine],
                x=[end - start for start, end, *_ in mine],
                y=[lane] * len(mine),
                width=0.72,
                marker={
                    "color": colour,
                    "opacity": [0.35 + 0.65 * min(1.0, p**0.5) for *_, p in mine],
                    "cornerradius": 4,
                },
                customdata=[[start, end, _percent(p)] for start, end, _, p in mine],
                hovertemplate=f"{html.escape(name)}: %{{customdata[0]:.1f}} to %{{customdata[1]:.1f}} s"
                + ("" if found and lane == 0 else ", %{customdata[2]}")
                + "<extra></extra>",
                name=html.escape(name),
                selected={"marker": {"opacity": 1}},
                unselected={"marker": {"opacity": 0.55}},
            )
        )
    names = [wrapped(name, 18) for name, *_ in rows]
    figure.update_xaxes(range=[0, duration])
    clock_ticks(figure, 0.0, duration)
    figure.update_yaxes(
        tickvals=list(range(len(rows))), ticktext=names, range=[len(rows) - 0.5, -0.5], showgrid=False, fixedrange=True
    )
    return finished(figure, height=60 + 38 * max(1, len(rows)), barmode="overlay", showlegend=False), spans


def tags(found: Sequence[tuple[str, float]]) -> go.Figure:
    """Bars of (name, probability), in the order given from the top."""
    return _bars([name for name, _ in found], {"": [value for _, value in found]})


def probabilities(by_label: Mapping[str, float], most: int = 10) -> go.Figure:
    """Bars of label -> probability, likeliest first, at most ``most`` of them."""
    labels = _likeliest([by_label], most)
    return _bars(labels, {"": [by_label[label] for label in labels]})


def compare(answers: Mapping[str, Mapping[str, float]], most: int = 8) -> go.Figure:
    """Grouped bars: for each answer (its title), label -> probability. Labels are in order of their greatest
    probability in any answer, at most ``most`` of them; colour and hatching tell the answers apart."""
    labels = _likeliest(answers.values(), most)
    return _bars(labels, {title: [by_label.get(label, 0.0) for label in labels] for title, by_label in answers.items()})


def neighbours(
    vectors: np.ndarray, labels: Sequence[str], query: np.ndarray, shots: Sequence[int] = (), most: int = 2000
) -> go.Figure:
    """A map of the bank: CLAP embeddings ``vectors`` (n, d) and the clip's ``query`` (d,), flattened by principal
    components; ``shots`` are rows to name. Distances on the map are only a shadow of those in d dimensions."""
    rows = np.unique(
        np.concatenate([np.linspace(0, len(vectors) - 1, min(most, len(vectors))).astype(int), np.array(shots, int)])
    )
    centre = vectors.mean(axis=0)
    axes = np.linalg.svd(vectors[rows] - centre, full_matrices=False)[2][:2]
    places, here = (vectors - centre) @ axes.T, (query - centre) @ axes.T
    names = [html.escape(label) for label in labels]
    figure = go.Figure()
    figure.add_trace(
        _dots(places[rows], [names[i] for i in rows], "the bank", {"color": QUIET, "size": 6, "opacity": 0.5})
    )
    if len(shots):
        dots = _dots(places[list(shots)], [names[i] for i in shots], "nearest examples", {"color": ACCENT, "size": 11})
        # Names of dots that stand side by side would run into each other: above and below in turn, from left to right.
        rank = np.argsort(np.argsort(places[list(shots), 0]))
        above = np.where(rank % 2, "bottom center", "top center").tolist()
        figure.add_trace(dots.update(mode="markers+text", textposition=above, cliponaxis=False))
    figure.add_trace(
        _dots(here[None], ["your sound"], "your sound", {"color": "#e69f00", "size": 18, "symbol": "star"})
    )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return finished(figure, height=380)


def loss(points: Sequence[Sequence[float]]) -> go.Figure:
    """Loss over optimiser steps, (step, loss) each, with a running mean of ten beside it."""
    steps, values = zip(*points, strict=True)
    mean = np.convolve(np.pad(np.asarray(values, float), (9, 0), mode="edge"), np.full(10, 0.1), "valid")
    figure = go.Figure()
    figure.add_trace(go.Scatter(x=steps, y=values, mode="lines", name="each step", line={"color": QUIET, "width": 1}))
    figure.add_trace(go.Scatter(x=steps, y=mean, mode="lines", name="mean of ten", line={"color": ACCENT, "width": 2}))
    figure.update_xaxes(title="step")
    figure.update_yaxes(title="loss", rangemode="tozero")
    return finished(figure, height=260)


def _stack(heights: Sequence[int], gaps: Sequence[int]) -> go.Figure:
    """Plots below one another, ``heights`` and the ``gaps`` between them in pixels (shares of what is there)."""
    figure = make_subplots(rows=len(heights), cols=1)
    total = sum(heights) + sum(gaps)
    top = total
    for row, (height, gap) in enumerate(zip(heights, [*gaps, 0], strict=True), 1):
        figure.update_yaxes(domain=[max(0, (top - height) / total), min(1, top / total)], row=row, col=1)
        top -= height + gap
    return figure


def _outline(
    envelope: np.ndarray, duration: float, first: float, last: float, heard: bool, shift: float = 0.0
) -> go.Scatter:
    """The filled shape of the waveform from ``first`` to ``last`` seconds."""
    n = len(envelope)
    begin = min(int(first / duration * n), n - 1)
    end = max(begin + 1, int(np.ceil(last / duration * n)))
    part = envelope[begin:end]
    edges = np.unique(np.linspace(0, len(part), min(MAX_POINTS, len(part)) + 1).astype(int)[:-1])
    low, high = np.minimum.reduceat(part[:, 0], edges), np.maximum.reduceat(part[:, 1], edges)
    # A slice stands at its middle; the shape reaches from end to end, even where it is a single slice.
    middles = (begin + edges + np.diff([*edges, len(part)]) / 2) / n * duration
    times = np.clip(np.concatenate([[first], middles, [last]]), first, last) + shift
    low, high = (np.concatenate([side[:1], side, side[-1:]]) for side in (low, high))
    colour = ACCENT if heard else QUIET
    return go.Scatter(
        x=np.concatenate([times, times[::-1]]),
        y=np.concatenate([high, low[::-1]]),
        fill="toself",
        fillcolor=colour,
        line={"color": colour, "width": 1},
        mode="lines",
        opacity=1 if heard else 0.45,
        name="heard" if heard else "not heard",
        hoverinfo="skip",
    )


def _add_windows(figure: go.Figure, windows: Sequence[tuple[float, float]], row: int) -> None:
    starts, ends = np.array(windows, dtype=float).reshape(-1, 2).T
    numbers = np.arange(len(starts))
    figure.add_trace(
        go.Bar(
            orientation="h",
            base=starts.tolist(),
            x=(ends - starts).tolist(),
            y=numbers % LANES,
            width=0.78,
            text=[f"<b>{i + 1}</b>" for i in numbers],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            textfont={"color": "white", "size": 14},
            constraintext="none",
            marker={"color": ACCENT, "line": {"color": "rgba(0,0,0,0)", "width": 2}, "cornerradius": 6},
            customdata=np.stack([numbers + 1, starts, ends], axis=1),
            hovertemplate="Window %{customdata[0]}: %{customdata[1]:.2f} to %{customdata[2]:.2f} s<extra></extra>",
            name="windows",
        ),
        row=row,
        col=1,
    )
    used = min(len(starts), LANES)
    figure.update_yaxes(range=[used - 0.4, -0.6], visible=False, fixedrange=True, row=row, col=1)


def shares(of: Mapping[str, float]) -> go.Figure:
    """A bar for each share, 0 to 1, on a scale that ends at 100 %, so that charts can be compared."""
    figure = _bars(list(of), {"": list(of.values())})
    return figure.update_xaxes(range=[0, 1.32])


def measured(measure: Measure) -> go.Figure:
    """A measure of several runs with their 95 % intervals, and a line for each published number; the paper's is drawn
    through."""
    names = [wrapped(f"{name}, n = {score.n}", 26) for name, score in measure.scores]
    values = [score.value for _, score in measure.scores]
    figure = go.Figure(
        go.Scatter(
            x=values,
            y=list(range(len(names))),
            mode="markers",
            marker={"size": 12, "color": ACCENT},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [score.high - score.value for _, score in measure.scores],
                "arrayminus": [score.value - score.low for _, score in measure.scores],
                "color": ACCENT,
                "thickness": 2,
            },
            customdata=[[score.low, score.high] for _, score in measure.scores],
            hovertemplate="%{x:.3f} (%{customdata[0]:.3f} to %{customdata[1]:.3f})<extra></extra>",
            name="runs, with 95 % interval",
            showlegend=False,
        )
    )
    for number, (method, value) in enumerate(measure.published):
        figure.add_trace(
            go.Scatter(
                x=[value, value],
                y=[-0.5, len(names) - 0.5],
                mode="lines",
                line={
                    "color": SERIES[2 + number % (len(SERIES) - 2)],
                    "width": 3 if number == 0 else 2,
                    "dash": "solid" if number == 0 else "dash",
                },
                name=f"{html.escape(method)}: {value:.3f}",
                hoverinfo="name",
            )
        )
    highest = max([*values, *(score.high for _, score in measure.scores), *(value for _, value in measure.published)])
    figure.update_xaxes(range=[0, 1.05 * highest or 1.0], title=measure.metric)
    figure.update_yaxes(
        tickvals=list(range(len(names))), ticktext=names, range=[len(names) - 0.5, -0.5], showgrid=False
    )
    rows = 26 * ((len(measure.published) + 1) // 2)
    return finished(figure, height=120 + 56 * len(names) + rows, showlegend=bool(measure.published))


def wrapped(text: str, width: int) -> str:
    """``text`` as a label of several lines. A space stands before each break: whoever has the figure read out, or
    copies from it, would hear the words on both sides of it as one."""
    return " <br>".join(map(html.escape, textwrap.wrap(text, width)))


def amounts(of: Mapping[str, float], unit: str, scale: float = 1.0) -> go.Figure:
    """A bar for each amount, in ``unit``, after division by ``scale``."""
    figure = _bars(list(of), {"": [value / scale for value in of.values()]})
    return figure.update_traces(text=[f"{value / scale:.3g} {unit}" for value in of.values()])


def gates(found: Sequence[Gate]) -> go.Figure:
    """Two lines of points over the decoder's layers: how far attention and feed-forward are open, -1 to 1."""
    figure = go.Figure()
    layers = [gate.layer for gate in found]
    series = {"attention": [g.attention for g in found], "feed-forward": [g.feed_forward for g in found]}
    for number, (name, values) in enumerate(series.items()):
        line = {"color": SERIES[number], "dash": "solid" if number == 0 else "dot"}
        figure.add_trace(go.Scatter(x=layers, y=values, mode="lines+markers", name=name, line=line))
    figure.update_xaxes(title="decoder layer", dtick=max(1, len(layers) // 10))
    figure.update_yaxes(title="open")
    return finished(figure, height=260, showlegend=True)


def costs(found: Sequence[Cost]) -> go.Figure:
    """Milliseconds until sound and prompt are read, over the number of windows: a line for each way."""
    figure = go.Figure()
    for number, way in enumerate(dict.fromkeys(cost.way for cost in reversed(found))):
        own = [cost for cost in found if cost.way == way]
        line = {"color": SERIES[number], "dash": "dot" if number == 0 else "solid"}
        times = [1000 * cost.read_s for cost in own]
        figure.add_trace(go.Scatter(x=[c.windows for c in own], y=times, mode="lines+markers", name=way, line=line))
    figure.update_xaxes(title="windows of the sound")
    figure.update_yaxes(title="ms", rangemode="tozero")
    return finished(figure, height=300, showlegend=True)


def moved(found: Sequence[Moved]) -> go.Figure:
    """A bar for each window and example, in the order given: to the right what spoke for the answer."""
    figure = _bars([one.what for one in found], {"": [one.nats for one in found]})
    most = max([1e-3, *(abs(one.nats) for one in found)])
    figure.update_traces(text=[f"{one.nats:+.2f}" for one in found])
    return figure.update_xaxes(range=[-1.4 * most if any(o.nats < 0 for o in found) else 0, 1.4 * most])


def _bars(labels: Sequence[str], series: Mapping[str, Sequence[float]]) -> go.Figure:
    figure = go.Figure()
    names = [wrapped(label, 22) for label in labels]
    for number, (title, values) in enumerate(series.items()):
        alone = len(series) == 1
        figure.add_trace(
            go.Bar(
                orientation="h",
                x=list(values),
                y=list(range(len(names))),
                name=html.escape(title),
                text=[_percent(value) for value in values],
                textposition="outside",
                cliponaxis=False,
                marker={
                    "color": ACCENT if alone else SERIES[number % len(SERIES)],
                    "pattern": {"shape": "" if alone else PATTERNS[number % len(PATTERNS)], "solidity": 0.35},
                    "cornerradius": 4,
                },
                hovertemplate="%{customdata}: %{text}<extra></extra>",
                customdata=[html.escape(label) for label in labels],
            )
        )
    figure.update_xaxes(
        visible=False, range=[0, 1.32 * max([1e-9, *(v for values in series.values() for v in values)])]
    )
    figure.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=names,
        range=[len(names) - 0.5, -0.5],
        showgrid=False,
        ticklabelstandoff=6,
    )
    figure.update_layout(bargap=0.25)
    named = any(series)
    thickness = 34 if len(series) == 1 else 14 + 22 * len(series)
    return finished(figure, height=24 + thickness * max(1, len(names)) + 44 * named, showlegend=named, barmode="group")


def _dots(places: np.ndarray, names: Sequence[str], title: str, marker: dict) -> go.Scatter:
    return go.Scatter(
        x=places[:, 0],
        y=places[:, 1],
        text=list(names),
        name=title,
        marker=marker,
        mode="markers",
        hovertemplate="%{text}<extra></extra>",
    )


def _label(figure: go.Figure, x: float, y: float, text: str, row: int) -> None:
    figure.add_annotation(x=x, y=y, text=text, showarrow=False, yanchor="bottom", font={"size": 13}, row=row, col=1)


def clock_ticks(figure: go.Figure, first: float, last: float, row: int | None = None) -> None:
    """Ticks at round times: milliseconds or seconds in a short span, minutes and seconds in a long one."""
    steps = (
        0.001,
        0.002,
        0.005,
        0.01,
        0.02,
        0.05,
        0.1,
        0.2,
        0.5,
        1,
        2,
        5,
        10,
        15,
        30,
        60,
        120,
        300,
        600,
        1200,
        1800,
        3600,
        7200,
    )
    step = next((s for s in steps if (last - first) / s <= 6), (last - first) / 6)
    ticks = np.arange(int(np.ceil(first / step - 1e-9)), int(last / step + 1e-9) + 1) * step
    if last >= 60 and step >= 1:
        texts = [minutes_text(round(t)) for t in ticks]
    elif last < 0.5:
        texts = [f"{1000 * t:.4g} ms" for t in ticks]
    else:
        texts = [f"{t:.4g} s" for t in ticks]
    place = {} if row is None else {"row": row, "col": 1}
    figure.update_xaxes(tickvals=ticks, ticktext=texts, **place)


def _hertz(frequency: float) -> str:
    return f"{frequency / 1000:g} kHz" if frequency >= 1000 else f"{frequency:g} Hz"


def _percent(value: float) -> str:
    return "under 1 %" if 0 < value < 0.005 else f"{100 * value:.0f} %"


def _likeliest(answers: Iterable[Mapping[str, float]], most: int) -> list[str]:
    """Labels of several label -> probability by their greatest probability; equal ones keep their order."""
    best: dict[str, float] = {}
    for by_label in answers:
        for label, value in by_label.items():
            best[label] = max(best.get(label, 0.0), value)
    return sorted(best, key=lambda label: -best[label])[:most]


def to_csv(figure: go.Figure) -> str:
    """The numbers of a figure of bars, points, lines or cells: a row for each, with the name of its series, its label
    (of a line, where it stands) and its value. Bars that do not begin at 0 have their beginning in a column *from*;
    where there are intervals, *low* and *high* are their ends. Of cells, the value is what is written in them."""
    rows = [row for trace in figure.data for row in _numbers(trace, figure.layout)]
    columns = ["series", "label", "value", *(name for name in ("from", "low", "high") if any(name in r for r in rows))]
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _numbers(trace: Any, layout: go.Layout) -> Iterator[dict[str, Any]]:
    """The rows of `to_csv` for one trace."""
    if trace.type == "heatmap":
        for place, line in zip(trace.y, trace.text, strict=True):
            for other, count in zip(trace.x, line, strict=True):
                yield {
                    "series": _named(place, layout.yaxis),
                    "label": _named(other, layout.xaxis),
                    "value": float(count or 0),
                }
        return
    lying = trace.orientation == "h" or (trace.type == "scatter" and layout.yaxis.ticktext is not None)
    values, places = (trace.x, trace.y) if lying else (trace.y, trace.x)
    axis, spread = (layout.yaxis, trace.error_x) if lying else (layout.xaxis, trace.error_y)
    series = _cell(trace.name or "")
    if trace.type == "scatter" and lying and trace.mode == "lines":  # one number, drawn through all rows
        yield {"series": series, "label": "", "value": _rounded(values[0])}
        return
    for number, (value, place) in enumerate(zip(values, places, strict=True)):
        row: dict[str, Any] = {"series": series, "label": _named(place, axis), "value": _rounded(value)}
        if trace.type == "bar" and trace.base is not None:
            row["from"] = trace.base[number]
        if spread.array is not None:
            row |= {"low": _rounded(value - spread.arrayminus[number]), "high": _rounded(value + spread.array[number])}
        yield row


def _named(place: Any, axis: Any) -> str:
    """What stands at ``place`` of an axis."""
    ticks, names = ([] if found is None else list(found) for found in (axis.tickvals, axis.ticktext))
    text = re.sub(r"<[^>]+>", " ", str(dict(zip(ticks, names, strict=False)).get(place, place)))
    return _cell(" ".join(text.split()))


def _cell(text: str) -> str:
    """As a cell that no spreadsheet takes for a formula."""
    text = html.unescape(text)
    return f"'{text}" if text[:1] in tuple("=+-@") else text


def _rounded(value: float) -> float:
    return round(float(value), 6)


def finished(figure: go.Figure, height: int, **layout: Any) -> go.Figure:
    """``figure`` with the look that all have; ``height`` in px, the width is that of its place."""
    return figure.update_layout(template=_TEMPLATE, height=height, autosize=True, dragmode=False, **layout)
