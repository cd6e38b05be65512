"""The shelf: the sounds of one browser session, what each is said to be, which of them hold something, and two beside
each other."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from afcore import prompts
from afcore.audio.notices import NOTHING_SENTENCE, in_one_cell
from afcore.audio.recording import MAX_SECONDS, Recording
from afcore.errors import AfcoreError
from afcore.jobs import Job
from afcore.knowledge.table import ancestors, by_name
from afcore.teach.exports import guarded

if TYPE_CHECKING:
    from afcore.engine.engine import Engine
    from afcore.engine.results import Heard

MOST = 60
"""Sounds on one shelf; the oldest go first."""
MOST_BYTES = 300 * 2**20
TAGS = 5
MUSIC = "Music"


@dataclass
class OnShelf:
    """One sound, and what is said of it once it was described."""

    recording: Recording
    caption: str = ""
    tags: tuple[tuple[str, float], ...] = ()
    """(name, probability), best first."""
    model: str = ""
    """Who described it; '' before."""
    prompt: str = ""
    """The exact text that it was described by."""
    error: str = ""
    """Why it could not be described, in a sentence."""

    @property
    def words(self) -> str:
        """Everything in words that can be looked for."""
        names = [name for name, p in self.tags if p >= 0.1]
        above = [top for name in names if name in by_name() for top in ancestors(name)]
        return " ".join([self.recording.name, self.caption, *names, *above]).lower()

    @property
    def musical(self) -> tuple[str, ...]:
        """Instruments and genres among its tags, the likeliest first; empty where it is no music."""
        kinds = ("instrument", "music")
        return tuple(
            name for name, p in self.tags if p >= 0.05 and name in by_name() and set(by_name()[name].kinds) & set(kinds)
        )


@dataclass
class Shelf:
    """Sounds by content, the newest last."""

    sounds: dict[str, OnShelf] = field(default_factory=dict)

    def add(self, recording: Recording) -> None:
        """Put a sound on it, or move it to its end; what is too much goes."""
        found = self.sounds.pop(recording.sha256, None)
        self.sounds[recording.sha256] = found or OnShelf(recording)
        while len(self.sounds) > 1 and (
            len(self.sounds) > MOST or sum(len(one.recording.data) for one in self.sounds.values()) > MOST_BYTES
        ):
            del self.sounds[next(iter(self.sounds))]

    def remove(self, sha256: str) -> None:
        """Take a sound off it."""
        self.sounds.pop(sha256, None)

    def containing(self, words: str, music: bool = False) -> list[OnShelf]:
        """The sounds that hold all of ``words``, in name, sentence, tags or what these are kinds of; with ``music``
        only music. The newest first."""
        wanted = words.lower().split()
        return [
            one
            for one in reversed(self.sounds.values())
            if all(word in one.words for word in wanted) and (not music or one.musical)
        ]

    def open_questions(self, engine: Engine) -> list[OnShelf]:
        """The sounds that ``engine`` has not described."""
        return [one for one in self.sounds.values() if one.model != engine.name]

    def describe(self, job: Job, engine: Engine) -> None:
        """The work of a job: a sentence and tags for each sound that has none, a turn in the queue for each."""
        waiting = self.open_questions(engine)
        for number, one in enumerate(waiting):
            job.report(f"Describing {number + 1} of {len(waiting)}", number / len(waiting))
            with engine.turns.wait(stop=job.stopping, background=True):
                try:
                    heard = engine.hear(one.recording.clip(0.0, MAX_SECONDS))
                    one.tags = tuple(heard.tags[:TAGS])
                    silent = heard.silent  # nothing to hear is never given a name
                    said = Said(NOTHING_SENTENCE) if silent else _asked(job, engine, heard, prompts.CAPTION)
                    one.caption, one.prompt, one.error = said.text, said.prompt, ""
                except AfcoreError as error:
                    one.error = str(error)
            if not job.stopping.is_set():
                one.model = engine.name


@dataclass(frozen=True)
class Said:
    """An answer, and the exact text that it answers; '' where nothing was asked."""

    text: str
    prompt: str = ""


def _asked(job: Job, engine: Engine, heard: Heard, question: str) -> Said:
    answer = engine.ask(heard, question, stop=job.stopping)
    return Said(answer.text, answer.prompt.text)


def compare(job: Job, engine: Engine, sounds: Sequence[OnShelf], question: str) -> list[Said]:
    """The work of a job: the same question about each of the sounds; answers come as its items. Of silence nothing is
    asked."""
    answers: list[Said] = []
    for one in sounds:
        with engine.turns.wait(stop=job.stopping):
            heard = engine.hear(one.recording.clip(0.0, MAX_SECONDS))
            silent = heard.silent
            answers.append(Said(NOTHING_SENTENCE) if silent else _asked(job, engine, heard, question))
            job.show(answers[-1])
    return answers


def to_csv(sounds: Sequence[OnShelf]) -> str:
    """name, seconds, sentence, tags with probabilities, instruments and genres; a row for each sound."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(("file", "seconds", "caption", "tags", "music", "model", "error", "notices"))
    for one in sounds:
        tags = "; ".join(f"{name} {p:.2f}" for name, p in one.tags)
        row = (one.recording.name, f"{one.recording.duration:.2f}", one.caption, tags, "; ".join(one.musical))
        told = in_one_cell(one.recording.notices)
        writer.writerow([guarded(text) for text in (*row, one.model, one.error, told)])
    return out.getvalue()
