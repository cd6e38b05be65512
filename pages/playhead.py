"""A line that runs over a figure while a sound plays, and the bars under it light up."""

from collections.abc import Sequence

import streamlit as st

_SCRIPT = """
export default function ({ data }) {
  let line = null, frame = 0, lit = -1;
  const within = (key, what) => document.querySelector(`.st-key-${key} ${what}`);
  const tick = () => {
    frame = requestAnimationFrame(tick);
    const audio = within(data.player, 'audio'), plot = within(data.chart, '.js-plotly-plot');
    const axis = plot?._fullLayout?.[data.axis];
    if (!audio || !axis) return;
    const now = audio.currentTime + data.offset;
    const going = audio.currentTime > 0 && (!audio.ended);
    if (!line || line.parentElement !== plot) {
      line = document.createElement('div');
      line.className = 'playhead';
      Object.assign(line.style, { position: 'absolute', width: '2px', background: '#e69f00', pointerEvents: 'none' });
      plot.style.position = 'relative';
      plot.appendChild(line);
    }
    const [first, last] = axis.range, size = plot._fullLayout._size;
    line.style.display = going && now >= first && now <= last ? 'block' : 'none';
    line.style.left = `${axis._offset + (now - first) / (last - first) * axis._length}px`;
    line.style.top = `${size.t}px`;
    line.style.height = `${size.h}px`;
    const step = going ? Math.round(now * 10) : -1;
    if (step === lit) return;
    lit = step;
    plot.querySelectorAll('.bars .point path').forEach((path, number) => {
      const span = data.spans[number];
      const on = going && span && span[0] <= now && now < span[1];
      path.style.filter = on ? 'brightness(1.35) saturate(1.4)' : '';
      path.style.stroke = on ? '#e69f00' : '';
      path.style.strokeWidth = on ? '3px' : '';
    });
  };
  tick();
  return () => { cancelAnimationFrame(frame); line?.remove(); };
}
"""

_follow = st.components.v2.component("playhead", js=_SCRIPT)


def follow(
    key: str, player: str, chart: str, spans: Sequence[tuple[float, float]], offset: float = 0.0, axis: str = "xaxis"
) -> None:
    """Follow the player in the container ``player`` on the figure ``chart`` (both keys).

    ``spans``: start and end in seconds of each of the figure's bars, in the order in which they are drawn. ``offset``:
    where the player's sound begins on the figure's time ``axis``, in seconds.
    """
    data = {"player": player, "chart": chart, "spans": [list(span) for span in spans], "offset": offset, "axis": axis}
    _follow(key=key, data=data)
