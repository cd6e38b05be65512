"""A model and a project's examples, ready to label one sound file after another: in this process or on a worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from afcore.audio.notices import CROPPED
from afcore.audio.recording import MAX_SECONDS, Recording, open_recording
from afcore.errors import AudioError, BadRequest
from afcore.hashing import sha256_of
from afcore.teach import segments
from afcore.teach.exports import LabelledSpan
from afcore.teach.loop import Loop
from afcore.teach.predict import Examples, classify, hear
from afcore.teach.project import Project
from afcore.teach.schema import Settings

if TYPE_CHECKING:
    from afcore.engine.engine import Engine

MakeEngine = Callable[[], "Engine"]


@dataclass(frozen=True)
class How:
    """How each file is labelled, beside the model and the examples."""

    settings: Settings
    segments: float | None = None
    """Cut each file into pieces of so many seconds; None: its first 33.25 s are one clip."""
    track: int | None = None
    """Which of several sound tracks is heard, from 1; None: as players choose."""
    even_silence: bool = False
    """Silence gets a label too."""
    padding: str | None = None
    """How a published model pads a single sound, one of `Engine.paddings`; None: as it does by itself."""


class FileLabeller:
    """A model and a project's examples, ready to label one file after another. Raises BadRequest for a padding that
    the model has not."""

    def __init__(self, engine: Engine, examples: Examples, how: How):
        if how.padding is not None:
            engine.use_padding(how.padding)
        self.engine, self.examples, self.how = engine, examples, how

    def rows(self, data: bytes, name: str) -> list[LabelledSpan]:
        """Labels of the sound file ``data``; one row that says why, where it cannot be heard. ``LabelledSpan.file`` is
        ``name``."""
        sha256 = sha256_of(data)
        try:
            recording = open_recording(data, name, self.how.settings.channels, self.how.track)
        except (AudioError, BadRequest) as error:  # also a channel or track that this one does not have
            return [failed(name, error, sha256)]
        try:
            spans = [(0.0, min(recording.duration, MAX_SECONDS))]
            if self.how.segments:
                spans = segments.fixed(recording.duration, self.how.segments)
            return [self._row(recording, start, end, name, sha256) for start, end in spans]
        except AudioError as error:
            return [failed(name, error, sha256)]

    def _row(self, recording: Recording, start: float, end: float, name: str, sha256: str) -> LabelledSpan:
        clip = recording.clip(start, end - start)
        # Of a segment it is no news that it is a part.
        notices = [n.to_json() for n in clip.notices if not (self.how.segments and n.code == CROPPED)]
        if clip.silent and not self.how.even_silence:
            return LabelledSpan(name, start, end, None, sha256=sha256, notices=notices, silent=True)
        settings, heard = self.how.settings, hear(self.engine, clip)
        own = self.examples.same_sound(sha256, start, end - start)  # a file that is an example is not its own shot
        found = classify(self.engine, heard, self.examples, settings.method, settings.k, own)
        by = f"{settings.method}, k={settings.k}" if settings.method == "lm-shots" else settings.method
        label = found.verdict(settings.reject_below, settings.reject_similarity)
        return LabelledSpan(
            name,
            start,
            end,
            label,
            found.top[0][1],
            by,
            sha256=sha256,
            probabilities=found.probabilities,
            notices=notices,
        )


def failed(name: str, error: Exception, sha256: str = "") -> LabelledSpan:
    """A file without a label."""
    return LabelledSpan(name, 0.0, 0.0, None, None, error=str(error), sha256=sha256)


def prepared(project: Project, engine: Engine, settings: Settings) -> Examples:
    """The project's examples, each embedded as ``settings`` say. Raises BadRequest where the project has no labels."""
    if not project.labels:
        raise BadRequest(f"The project “{project.name}” has no labels yet.")
    return Loop(project, engine, settings).examples()
