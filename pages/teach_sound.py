"""Teach: players and waveforms of a project's clips, decoded once."""

import streamlit as st

from afcore.app import plots
from afcore.app.clip_part import ClipPart, clip_part
from afcore.audio.recording import Recording, open_recording
from afcore.audio.windows import WindowPlan
from afcore.errors import AfcoreError
from afcore.teach.project import Project
from afcore.teach.schema import ProjectClip
from pages import common


@st.cache_resource(show_spinner=False, max_entries=2)
def recording(path: str, name: str, channels: str | int) -> Recording:
    """An opened file: the segments of a long one come one after another. ``channels``: which is heard."""
    return open_recording(path, name, channels)


@st.cache_data(show_spinner=False, max_entries=64)
def _part(path: str, name: str, channels: str | int, start: float, seconds: float) -> ClipPart:
    return clip_part(recording(path, name, channels), start, seconds)


def player(project: Project, item: ProjectClip, autoplay: bool = False) -> ClipPart | None:
    """Plays what the model hears of a clip; draws a sentence and returns None where it cannot be heard."""
    try:
        rule = project.settings.channels
        part = _part(str(project.sound_path(item)), item.name, rule, item.start, item.seconds)
    except AfcoreError as error:
        st.warning(str(error), icon=":material/volume_off:")
        return None
    st.audio(part.wav, format="audio/wav", autoplay=autoplay)
    common.notices(part.notices, small=True)
    return part


def waveform(part: ClipPart, plan: WindowPlan, name: str, key: str) -> None:
    """The waveform with the windows of ``plan`` that the model hears."""
    windows = plan.times(round(part.duration * plan.rate))
    common.figure(
        plots.waveform(part.envelope, part.duration, windows, 0.0, plan.max_seconds),
        key,
        f"Waveform of {name} with {len(windows)} windows marked",
        csv=False,
    )
