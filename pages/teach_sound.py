"""Teach: players and waveforms of a project's clips, decoded once."""

from dataclasses import dataclass

import numpy as np
import streamlit as st

from afcore.app import plots
from afcore.audio.envelope import envelope_of
from afcore.audio.recording import MAX_SECONDS, Recording, open_recording
from afcore.audio.wav import wav_bytes
from afcore.errors import AfcoreError
from afcore.teach.project import Project
from afcore.teach.schema import Item
from pages import common


@dataclass
class Part:
    """What the model hears of a clip."""

    wav: bytes
    envelope: np.ndarray
    """(n, 2) least and greatest sample in each of n slices."""
    duration: float
    """Seconds."""


@st.cache_resource(show_spinner=False, max_entries=2)
def recording(path: str, name: str) -> Recording:
    """An opened file: the segments of a long one come one after another."""
    return open_recording(path, name)


@st.cache_data(show_spinner=False, max_entries=64)
def _part(path: str, name: str, start: float, seconds: float) -> Part:
    clip = recording(path, name).clip(start, seconds)
    return Part(wav_bytes(clip.samples, clip.rate), envelope_of(clip.samples), clip.duration)


def player(project: Project, item: Item, autoplay: bool = False) -> Part | None:
    """Plays what the model hears of a clip; draws a sentence and returns None where it cannot be heard."""
    try:
        part = _part(str(project.sound_path(item)), item.name, item.start, min(item.seconds, MAX_SECONDS))
    except AfcoreError as error:
        st.warning(str(error), icon=":material/volume_off:")
        return None
    st.audio(part.wav, format="audio/wav", autoplay=autoplay)
    return part


def waveform(part: Part, plan, name: str, key: str) -> None:
    """The waveform with the windows of ``plan`` that the model hears."""
    windows = plan.times(round(part.duration * plan.rate))
    common.figure(
        plots.waveform(part.envelope, part.duration, windows, 0.0, plan.max_seconds),
        key,
        f"Waveform of {name} with {len(windows)} windows marked",
    )
