"""The slow work of the Teach page: each function makes the work of a `Job`, which reports how far it is.

What a work depends on is its key, so that a page can tell whether its result still counts.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from afcore.errors import BadRequest, Cancelled
from afcore.jobs import Job
from afcore.teach import audiofolder, imports, segments, threshold
from afcore.teach import proof as proofs
from afcore.teach.explain import Why, of_prediction
from afcore.teach.exports import LabelledSpan
from afcore.teach.ingest import Added, add_files, cut
from afcore.teach.loop import Loop
from afcore.teach.predict import classify, hear, model_name
from afcore.teach.proof import Proof
from afcore.teach.schema import CUT, OPEN, SKIPPED, Prediction, ProjectClip
from afcore.teach.threshold import Threshold

if TYPE_CHECKING:
    from afcore.audio.recording import Clip, Recording
    from afcore.retrieval.bank import Bank
    from afcore.teach.project import Project
    from afcore.teach.segments import Span


def adding(action: Callable[..., Added]) -> Callable[[Job], Added]:
    """Add sounds to a project by ``action(progress=, stop=)``."""

    def work(job: Job) -> Added:
        def progress(done: int, total: int) -> None:
            job.report(f"Reading {done} of {total}", done / total)

        return action(progress=progress, stop=job.stopping)

    return work


def importing(
    project: Project, files: Sequence[tuple[str, bytes]], who: str
) -> Callable[[Job], tuple[int, list[dict[str, str]]]]:
    """Take the labels of ``files`` (name, content), label files and audiofolder zips. The result: how many were taken,
    and a row with file, times, label and reason for each that was not."""

    def work(job: Job) -> tuple[int, list[dict[str, str]]]:
        done: list[LabelledSpan] = []
        for number, (name, data) in enumerate(files):
            job.report(f"Reading {name}", number / len(files))
            try:
                if data[:4] == b"PK\x03\x04":
                    done += audiofolder.read(project, data, who, f"“{name}”")
                else:
                    done += imports.apply(project, imports.read(data, name), who)
            except BadRequest as error:
                done.append(LabelledSpan(name, 0.0, 0.0, None, error=str(error)))
        left = [
            {"file": row.file, "start (s)": f"{row.start:g}", "label": row.label or "", "why not": row.error}
            for row in done
            if row.error
        ]
        return len(done) - len(left), left

    return work


def proof_key(loop: Loop) -> Hashable:
    """What a proof depends on: examples, labels, test clips, model."""
    project = loop.project
    return project.revision, project.version("labels"), project.counts().test, model_name(loop.engine)


def proof(loop: Loop) -> Callable[[Job], Proof | None]:
    """Label the clips whose label is known by every method. A stop keeps what is known by then; None: nothing yet."""

    def work(job: Job) -> Proof | None:
        job.report("Listening to the clips", 0.0)
        loop.embed(lambda done, total: job.report(f"Listening to clip {done} of {total}", done / total), job.stopping)
        tally = None
        try:
            for tally in proofs.of_project(loop.project, loop.engine, stop=job.stopping):
                job.report(f"Testing, {tally.done} of {tally.total} clips", tally.done / tally.total)
        except Cancelled:
            pass
        return tally.result() if tally is not None else None

    return work


def limit_key(loop: Loop) -> Hashable:
    """What the limit for "none of these" depends on: all that a proof does, and the method."""
    settings = loop.project.settings
    return proof_key(loop), settings.method, settings.k


def limit(loop: Loop, bank: Bank) -> Callable[[Job], Threshold]:
    """Look for the limit below which a clip is none of the labels, with sounds of ``bank`` as strangers."""

    def work(job: Job) -> Threshold:
        def progress(done: int, total: int) -> None:
            job.report(f"Trying {done} of {total}", done / total)

        job.report("Trying", 0.0)
        return threshold.of_project(loop, bank, progress=progress, stop=job.stopping)

    return work


def explanation(loop: Loop, item: ProjectClip, prediction: Prediction) -> Callable[[Job], Why | None]:
    """Ask about ``item`` again, without each example and without each window. A stop keeps what is known by then."""

    def work(job: Job) -> Why | None:
        why = None
        for why in of_prediction(loop.engine, loop.hear(item), loop.examples(), prediction, job.stopping):
            job.report(f"Asking again, {why.done} of {why.total}", why.done / why.total)
        return why

    return work


@dataclass(frozen=True)
class Cutting:
    """How a long recording is cut into segments."""

    seconds: float | None = None
    """Length of equal pieces; None: cut where something sounds."""
    below_db: float = 30.0
    """How far below the loudest place a sound still counts, where the pieces are not equal."""

    def spans(self, recording: Recording) -> list[Span]:
        """(start, end) of each segment, in seconds."""
        if self.seconds is None:
            return segments.by_energy(recording, self.below_db)
        return segments.fixed(recording.duration, self.seconds)


def segment_labels(loop: Loop, recording: Recording, cutting: Cutting) -> Callable[[Job], None]:
    """Label the segments of ``recording``; they are the job's items, in order of time."""
    project, engine = loop.project, loop.engine

    def work(job: Job) -> None:
        job.report("Looking for segments", 0.0)
        spans = cutting.spans(recording)
        examples, settings = loop.examples(), project.settings

        def predict(clip: Clip) -> tuple[str | None, float]:
            same = examples.same_sound(recording.sha256, clip.start, clip.duration)
            heard = hear(engine, clip, job.stopping)
            found = classify(engine, heard, examples, settings.method, settings.k, same, stop=job.stopping)
            return found.verdict(settings.reject_below, settings.reject_similarity), found.top[0][1]

        for done, segment in enumerate(segments.label_spans(recording, spans, predict, job.stopping), 1):
            job.show(segment)
            job.report(f"Labelling segment {done} of {len(spans)}", done / len(spans))

    return work


def send_to_review(project: Project, recording: Recording, spans: Sequence[Span], who: str) -> int:
    """Put segments of ``recording`` into the queue of ``project``, and the recording itself if it is not there yet.

    Returns how many were added. Raises BadRequest where the recording has a label of its own.
    """
    add_files(project, [(recording.name, io.BytesIO(recording.data))], who)
    whole = next((item for item in project.items(OPEN, SKIPPED, CUT) if item.key == recording.sha256), None)
    if whole is None:
        raise BadRequest(f"“{recording.name}” is in the project with a label of its own, so it cannot be cut.")
    return len(cut(project, whole.id, spans, who).clips)
