"""What a page shows of a clip: the part that the model hears, to be played and drawn."""

from dataclasses import dataclass, field

import numpy as np

from afcore.audio.envelope import envelope_of
from afcore.audio.notices import Notice
from afcore.audio.recording import MAX_SECONDS, Recording
from afcore.audio.wav import player_wav


@dataclass(frozen=True)
class ClipPart:
    """What the model hears of a clip."""

    wav: bytes = field(repr=False)
    """A file for a player."""
    envelope: np.ndarray = field(repr=False)
    """(n, 2) least and greatest sample in each of n slices."""
    duration: float
    """Seconds."""
    notices: tuple[Notice, ...] = ()
    """What is unusual about it."""


def clip_part(recording: Recording, start: float, seconds: float) -> ClipPart:
    """Decode ``recording`` from ``start`` for ``seconds`` (both in s), at most as long as the model hears.

    Raises AudioError, or BadRequest where nothing would be left.
    """
    clip = recording.clip(start, min(seconds, MAX_SECONDS))
    return ClipPart(player_wav(clip), envelope_of(clip.samples), clip.duration, clip.notices)
