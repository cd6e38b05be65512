"""A shared result as one page of HTML that prints well: its pictures are inside, and it asks nobody for anything."""

from __future__ import annotations

import base64
import html
import time
from collections.abc import Sequence
from io import BytesIO

import numpy as np
import plotly.colors
from PIL import Image

from afcore.app.shares import CHAT, CLIP, PROOF, Share, SharedAnswer
from afcore.audio.clock import exact_text
from afcore.audio.envelope import envelope_of
from afcore.audio.recording import Clip, open_recording
from afcore.audio.spectrum import mel_decibels

TITLES = {CLIP: "What the model hears", CHAT: "A chat about a sound", PROOF: "Does it work on these sounds?"}
WIDTH = 720
_ACCENT, _QUIET = "#a8264f", "#6b6672"
_HEAT = plotly.colors.sequential.Magma
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #2b2530; background: #fff; max-width: 46rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.1rem; margin: 1.4rem 0 0.3rem; }
p { margin: 0.3rem 0; } .small { color: #6b6672; font-size: 0.85rem; }
svg, img { display: block; max-width: 100%; height: auto; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f7f4f5; padding: 0.5rem; font-size: 0.75rem; }
table { border-collapse: collapse; font-size: 0.85rem; } td { padding: 0.1rem 1rem 0.1rem 0; vertical-align: top; }
section { break-inside: avoid; }
@page { margin: 15mm; } @media print { body { margin: 0; max-width: none; } }
"""


def to_html(share: Share, wav: bytes = b"") -> str:
    """The report of ``share``; ``wav``: the file of what was heard, for the pictures. Raises AudioError."""
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(share.made))
    parts = [f"<h1>{html.escape(share.title)}</h1>", f'<p class="small">{TITLES[share.kind]} · {made}</p>']
    if wav:
        parts.append(_sound(share, open_recording(wav, "heard.wav").clip()))
    for answer in share.answers:
        parts.append(_answer(answer))
    if share.scores:
        values = [(score.title, score.accuracy, score.low, score.high) for score in share.scores]
        parts.append(f"<section><h2>Clips labelled rightly</h2>{bars(values)}")
        parts.append(f'<p class="small">Lines: 95 % intervals.</p><p>{html.escape(share.says)}</p></section>')
    if share.tags:
        parts.append(f"<section><h2>Sound tags</h2>{bars([(name, p) for name, p in share.tags[:6]])}</section>")
    rows = [("Model", share.model), ("Weights", share.weights), *share.facts]
    cells = "".join(f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>" for name, value in rows)
    parts.append(f"<section><h2>How it was made</h2><table>{cells}</table></section>")
    prompts = [answer for answer in share.answers if answer.prompt]
    if prompts:
        texts = "".join(f"<p>{html.escape(one.question)}</p><pre>{html.escape(one.prompt)}</pre>" for one in prompts)
        parts.append(f"<section><h2>The exact prompts</h2>{texts}</section>")
    parts.append('<p class="small">The model can be wrong: check what it says by ear.</p>')
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f"<title>{html.escape(share.title)}</title><style>{_STYLE}</style>"
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def bars(values: Sequence[tuple]) -> str:
    """An SVG of bars: (name, share from 0 to 1) each, perhaps with the ends of an interval."""
    rows, left, wide = [], 220, WIDTH - 220 - 70
    for number, (name, value, *interval) in enumerate(values):
        y, length = 24 * number, max(1.0, wide * value)
        shown = name if len(name) <= 32 else f"{name[:31]}…"
        rows.append(f'<text x="{left - 8}" y="{y + 16}" text-anchor="end">{html.escape(shown)}</text>')
        rows.append(f'<rect x="{left}" y="{y + 3}" width="{length:.1f}" height="17" rx="3" fill="{_ACCENT}"/>')
        end = length
        if interval:
            low, high = (left + wide * edge for edge in interval)
            end = max(end, wide * interval[1])
            line = f'x1="{low:.1f}" x2="{high:.1f}" y1="{y + 11.5}" y2="{y + 11.5}"'
            rows.append(f'<line {line} stroke="#2b2530" stroke-width="2"/>')
        rows.append(f'<text x="{left + end + 6:.1f}" y="{y + 16}">{100 * value:.0f} %</text>')
    return _svg(24 * len(values), "".join(rows), "Bars")


def waveform(clip: Clip, windows: Sequence[tuple[float, float]]) -> str:
    """An SVG of the clip's waveform with its windows, numbered, below."""
    parts = [_outline(envelope_of(clip.samples))]
    lanes = min(4, max(1, len(windows)))
    for number, (start, end) in enumerate(windows):
        x, wide = (WIDTH * seconds / clip.duration for seconds in (start - clip.start, end - start))
        y = 96 + 20 * (number % lanes)
        parts.append(f'<rect x="{x:.1f}" y="{y}" width="{wide:.1f}" height="16" rx="4" fill="{_QUIET}"/>')
        parts.append(f'<text x="{x + wide / 2:.1f}" y="{y + 13}" text-anchor="middle" fill="#fff">{number + 1}</text>')
    return _svg(96 + 20 * lanes, "".join(parts), f"Waveform with {len(windows)} windows")


def thumbnail(envelope: np.ndarray, name: str) -> str:
    """A small picture of a whole recording's waveform, as wide as its place; ``envelope``: (n, 2),
    `Recording.envelope`. Its SVG stands in an ``img``: Streamlit takes an SVG by itself out of a page."""
    says = html.escape(f"Waveform of {name}", quote=True)
    size = f'viewBox="0 0 {WIDTH} 90" width="{WIDTH}" height="90" preserveAspectRatio="none"'
    drawn = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{_outline(envelope)}</svg>'
    source = f"data:image/svg+xml;base64,{base64.b64encode(drawn.encode()).decode()}"
    return f'<img src="{source}" alt="{says}" style="display: block; width: 100%; height: 44px">'


def _outline(envelope: np.ndarray) -> str:
    edges = np.unique(np.linspace(0, len(envelope), min(WIDTH, len(envelope)) + 1).astype(int)[:-1])
    low, high = np.minimum.reduceat(envelope[:, 0], edges), np.maximum.reduceat(envelope[:, 1], edges)
    peak = float(np.abs(envelope).max(initial=0.0)) or 1.0
    across = np.linspace(0, WIDTH, len(edges))
    top = [f"{x:.1f},{45 - 42 * y / peak:.1f}" for x, y in zip(across, high, strict=True)]
    bottom = [f"{x:.1f},{45 - 42 * y / peak:.1f}" for x, y in zip(across[::-1], low[::-1], strict=True)]
    return f'<polygon points="{" ".join([*top, *bottom])}" fill="{_ACCENT}" stroke="{_ACCENT}"/>'


def spectrogram(clip: Clip) -> str:
    """An image of the clip's mel spectrogram, inside the page."""
    decibels, _, _ = mel_decibels(clip.samples, clip.rate, 64, 360)
    colours = np.array([[int(colour[place : place + 2], 16) for place in (1, 3, 5)] for colour in _HEAT], np.float32)
    place = (decibels[::-1] + 80) / 80 * (len(colours) - 1)
    lower = np.clip(np.floor(place).astype(int), 0, len(colours) - 2)
    share = (place - lower)[..., None]
    pixels = (colours[lower] * (1 - share) + colours[lower + 1] * share).round().astype(np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).resize((WIDTH, 160)).save(file, "PNG", optimize=True)
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="Mel spectrogram" width="{WIDTH}" height="160" src="data:image/png;base64,{data}">'


def _sound(share: Share, clip: Clip) -> str:
    start = share.start
    # The file begins where the heard part does; windows have the recording's times.
    windows = [(first - start, last - start) for first, last in share.windows]
    says = f"{exact_text(start)} to {exact_text(start + clip.duration)}, heard in {len(windows)} windows"
    return f'<section>{waveform(clip, windows)}<p class="small">{says}</p>{spectrogram(clip)}</section>'


def _answer(answer: SharedAnswer) -> str:
    parts = [f"<section><h2>{html.escape(answer.question)}</h2><p>{html.escape(answer.answer) or '(no answer)'}</p>"]
    if answer.labels:
        parts.append(bars(answer.labels))
    if answer.note:
        parts.append(f'<p class="small">{html.escape(answer.note)}</p>')
    if answer.examples:
        shown = ", ".join(f"{label} ({similarity:.2f})" for label, similarity in answer.examples)
        parts.append(f'<p class="small">Examples in the prompt, with their similarity: {html.escape(shown)}</p>')
    return "".join([*parts, "</section>"])


def _svg(height: int, inside: str, says: str) -> str:
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    return f'<svg {size} role="img" aria-label="{says}" font-size="13" fill="#2b2530">{inside}</svg>'
