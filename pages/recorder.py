"""The recorder, in the app's look, for Listen and Teach: streamlit-audiorecorder, or Streamlit's own without ffmpeg."""

import shutil
from collections.abc import MutableSet
from urllib.parse import urlparse

import streamlit as st

_BUTTON = {
    "backgroundColor": "#c2325f",
    "color": "#ffffff",
    "border": "none",
    "borderRadius": "0.6rem",
    "padding": "0.5rem 1rem",
    "fontSize": "1rem",
    "fontFamily": "Source Sans, sans-serif",
}
_STOP = {**_BUTTON, "backgroundColor": "#2b2530"}


_TIMER = """
export default function ({ parentElement }) {
  const shown = parentElement.querySelector('p');
  let begun = null;
  const look = setInterval(() => {
    const frame = document.querySelector('iframe[title*="audiorecorder"]');
    const words = frame?.contentDocument?.body?.innerText ?? '';
    begun = /Stop/.test(words) ? begun ?? Date.now() : null;
    const seconds = begun === null ? 0 : Math.floor((Date.now() - begun) / 1000);
    shown.textContent = begun === null ? '' :
      `● ${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
  }, 250);
  return () => clearInterval(look);
}
"""
"""Counts while the recorder's button says Stop; the recorder has no clock of its own."""

_timer = st.components.v2.component(
    "recorder_timer",
    html='<p role="timer" aria-live="off"></p>',
    css="p { margin: 0; min-height: 1.4em; font: 600 0.95rem var(--st-font); color: var(--st-primary-color); }",
    js=_TIMER,
)


def record(key: str, seen: MutableSet[str]) -> bytes | None:
    """Draws the recorder; returns a WAV file once for each recording. ``seen`` remembers which were taken."""
    address = urlparse(st.context.url or "")
    if address.scheme == "http" and address.hostname not in ("localhost", "127.0.0.1", "::1", None):
        st.warning(
            "Browsers allow the microphone only on https pages or on the machine itself, so recording will be refused "
            "at this address. Uploading works.",
            icon=":material/mic_off:",
        )
    return _recorder(key, seen) if shutil.which("ffmpeg") and shutil.which("ffprobe") else _built_in(key, seen)


def _built_in(key: str, seen: MutableSet[str]) -> bytes | None:
    file = st.audio_input("Record a sound", sample_rate=48_000, key=f"{key}-microphone")
    st.caption("This is Streamlit's own recorder: ffmpeg, which streamlit-audiorecorder needs, is not installed here.")
    if file is None or file.file_id in seen:
        return None
    seen.add(file.file_id)
    return file.getvalue()


def _recorder(key: str, seen: MutableSet[str]) -> bytes | None:
    from audiorecorder import audiorecorder  # imports pydub, which complains where ffmpeg is missing
    from pydub.exceptions import CouldntDecodeError

    try:
        segment = audiorecorder(
            "Record",
            "Stop",
            custom_style={"color": "#c2325f", "backgroundColor": "transparent"},
            start_style=_BUTTON,
            stop_style=_STOP,
            show_visualizer=True,  # the level
            key=f"{key}-recorder",
        )
    except CouldntDecodeError:
        st.error("The recording could not be read, so please record it again.", icon=":material/error:")
        return None
    _timer(key=f"{key}-timer")
    # The component hands the same recording over again each time the page is drawn.
    mark = f"recorder-{hash(segment.raw_data)}"
    if len(segment) == 0 or mark in seen:
        return None
    seen.add(mark)
    return segment.export(format="wav").read()
