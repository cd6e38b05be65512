"""Listen's "what is heard when?": the windows of a whole recording as they come, and where something is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from afcore.engine import timeline
from afcore.engine.timeline import Place, Window
from afcore.errors import BadRequest
from afcore.evaluation.mentions import classes_named
from afcore.jobs import Job

if TYPE_CHECKING:
    from afcore.app.session import BrowserSession
    from afcore.engine.engine import Engine

JOB = "timeline"
AT_ONCE = 60.0
"""Seconds: shorter recordings are gone through without being asked for."""


def key_of(session: BrowserSession, engine: Engine) -> tuple[str, str, str]:
    """What a timeline depends on. Raises BadRequest where there is no sound."""
    recording, _ = session.sound()
    return engine.name, recording.sha256, f"{recording.track} {recording.heard}"


def listen(session: BrowserSession, engine: Engine) -> Job:
    """The job whose items are the windows of the present recording, in order; windows that are there stay if it is
    stopped, and the next one goes on after them."""
    recording, _ = session.sound()
    before = present(session, engine)
    there: list[Window] = list(before.items) if before is not None and before.stopped else []

    def work(job: Job) -> None:
        count = len(timeline.starts(recording.duration))
        for window in there:
            job.show(window)
        rest = timeline.listen(engine, recording, job.stopping, len(there))
        for number, window in enumerate(rest, len(there) + 1):
            job.show(window)
            job.report(f"Listening to window {number} of {count}", number / count)

    return session.run(JOB, key_of(session, engine), work, None)


def present(session: BrowserSession, engine: Engine) -> Job | None:
    """The job of `listen` for the present recording, if there is one."""
    job = session.jobs.get(JOB)
    return job if job is not None and job.key == key_of(session, engine) else None


def places(engine: Engine, windows: Sequence[Window], words: str) -> list[Place]:
    """Where ``words`` are, the best place first. Raises BadRequest."""
    if len(words) > 200:
        raise BadRequest("Look for a few words, 200 characters at most.")
    return timeline.find(engine, windows, words, classes_named(words))


def sentence(found: Sequence[Place], words: str) -> str:
    """What was found, in a sentence, as sure as it is."""
    if not found:
        return "There is nothing to hear in it."
    sure = [place for place in found if place.fits]
    if sure:
        return f"“{words}” is heard in {len(sure)} place{'s' * (len(sure) > 1)}, the best first."
    if found[0].fits is None:
        return f"Nearest to “{words}”, the best first:"
    return f"“{words}” is nowhere heard clearly. It would most likely be here:"
