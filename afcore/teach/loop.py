"""What the engine does for a project: embed its clips, predict them, keep the queue's predictions fresh.

The engine is shared with everybody else, so each clip, or batch of short ones, waits for its own turn, and what was
done is stored before the next is taken: a stop or a kill loses at most one batch's work, and starting again goes on
from there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from afcore.audio.recording import MAX_SECONDS, Clip, Recording, open_recording
from afcore.engine import memory
from afcore.engine.results import Heard
from afcore.errors import AudioError, BadRequest, Cancelled
from afcore.jobs import Job
from afcore.teach.predict import Examples, classify, hear, hear_many, model_name, stored
from afcore.teach.project import Project
from afcore.teach.review import ReviewQueue
from afcore.teach.schema import EXAMPLE, OPEN, SKIPPED, Prediction, ProjectClip, Settings

if TYPE_CHECKING:
    import numpy as np

    from afcore.audio.notices import Notice
    from afcore.engine.engine import Engine

Progress = Callable[[int, int], None]
"""Hears (clips done, clips in all)."""
_FIRST = 20  # clips of the queue that are predicted before anything else is done
_TOGETHER, _TOGETHER_SECONDS = 16, 30.0  # clips, and seconds of sound, that are embedded at once
_LOOK_AGAIN = 8  # clips predicted before the queue's order, and who holds what, are looked at again


class Loop:
    """A project and the engine that works for it. Cheap to make; any number may work on one project.

    ``settings``: taken instead of the project's.
    """

    def __init__(self, project: Project, engine: Engine, settings: Settings | None = None):
        self.project, self.engine, self.queue = project, engine, ReviewQueue(project)
        self._settings = settings
        self._snapshot: tuple[tuple[int, int, str], Examples] | None = None
        self._recording: Recording | None = None  # the last one opened: a long one's segments come one after another

    @property
    def settings(self) -> Settings:
        """By which it works."""
        return self._settings or self.project.settings

    # Embedding

    def embed(
        self, progress: Progress | None = None, stop: threading.Event | None = None, limit: int | None = None
    ) -> int:
        """Embeds clips that lack it, at most ``limit``; returns how many were done. A clip that cannot be heard gets
        `ProjectClip.fault`, the others go on. ``progress`` hears of all that lack it; ``stop`` ends it within a
        batch."""
        missing = self.unembedded()
        wanted = missing if limit is None else missing[:limit]
        done = 0
        for batch in _batches(wanted):
            try:
                if stop is not None and stop.is_set():
                    return done
                self._embed(batch, stop)
            except Cancelled:
                return done
            done += len(batch)
            if progress is not None:
                progress(done, len(missing))
        memory.trim()  # what passes through the encoder take and leave would stay with the process
        return done

    def _embed(self, items: Sequence[ProjectClip], stop: threading.Event | None) -> None:
        """Embeds ``items`` together, and stores all of them at once."""
        cut: list[tuple[ProjectClip, Clip, tuple[Notice, ...]]] = []
        for item in items:
            try:
                cut.append((item, *self._clip(item)))
            except AudioError as error:
                self.project.set_fault(item.id, str(error))
        if cut:
            heard = hear_many(self.engine, [clip for _, clip, _ in cut], stop)
            rows = [self._row(item, one, told) for (item, _, told), one in zip(cut, heard, strict=True)]
            self.project.set_embeddings(rows)

    def unembedded(self, *states: str) -> list[ProjectClip]:
        """Clips in these states (by default those in use) that are still to be embedded."""
        mark = self.settings.mark
        return self.project.unembedded(self.engine.features_name + mark, self.engine.clap.name + mark, *states)

    def hear(self, item: ProjectClip) -> Heard:
        """A clip as it was heard, embedded now if it was not. Raises AudioError."""
        return stored(self.engine, self.project, item, self.settings.mark) or self._hear(item, None)

    def _hear(self, item: ProjectClip, stop: threading.Event | None) -> Heard:
        clip, notices = self._clip(item)
        heard = hear(self.engine, clip, stop)
        self.project.set_embeddings([self._row(item, heard, notices)])
        return heard

    def _clip(self, item: ProjectClip) -> tuple[Clip, tuple[Notice, ...]]:
        """What is to be heard of it, and what is unusual about its file. Raises AudioError."""
        recording, settings = self._recording, self.settings
        try:
            if recording is None or (recording.sha256, recording.heard.rule) != (item.sha256, settings.channels):
                path = self.project.sound_path(item)
                recording = self._recording = open_recording(path, item.name, settings.channels)
            clip = recording.clip(item.start, min(item.seconds, MAX_SECONDS))
        except BadRequest as error:
            raise AudioError(str(error)) from error
        if clip.silent and item.state in (OPEN, SKIPPED):  # what a person labelled is theirs
            raise AudioError(f"There is nothing to hear in “{item.name}”.")
        return clip, recording.notices

    def _row(
        self, item: ProjectClip, heard: Heard, notices: tuple[Notice, ...]
    ) -> tuple[int, dict[tuple[str, str], np.ndarray], tuple[Notice, ...] | None]:
        """As `Project.set_embeddings` takes it."""
        engine, mark = self.engine, self.settings.mark
        arrays = {
            (engine.features_name + mark, "features"): heard.features.numpy(),
            (engine.clap.name + mark, "clap"): heard.vector,
        }
        return item.id, arrays, None if self._settings else notices

    # Predicting

    def examples(self) -> Examples:
        """The project's examples as they are now, each embedded."""
        return self._now(None)[0]

    def predict(
        self, item: ProjectClip, method: str | None = None, k: int | None = None, stop: threading.Event | None = None
    ) -> Prediction:
        """What ``method`` with ``k`` shots, by default the project's settings, says about a clip; nothing is stored.

        Never with the clip itself among its shots. Raises BadRequest, AudioError, MissingPart, Cancelled.
        """
        settings = self.settings
        settings = replace(settings, method=method or settings.method, k=settings.k if k is None else k)
        examples, basis = self._now(settings)
        return self._predict(item, self.hear(item), examples, settings, basis, stop)

    def refresh(
        self, limit: int | None = _FIRST, progress: Progress | None = None, stop: threading.Event | None = None
    ) -> int:
        """Predicts afresh and stores what is stale among the clips in somebody's hands and the next ``limit`` of the
        queue (None: all of it); returns how many it were. An example that is added meanwhile makes it begin again at
        the front."""
        done = 0
        try:
            while True:
                settings = self.settings
                examples, basis = self._now(settings)
                waiting = self.queue.stale(basis, limit)
                if not waiting:
                    return done
                for item in waiting[:_LOOK_AGAIN]:
                    if stop is not None and stop.is_set():
                        return done
                    if self.basis() != basis:
                        break
                    self._refresh_one(item, examples, settings, basis, stop)
                    done += 1
                    if progress is not None:
                        progress(done, done + len(waiting) - 1)
        except Cancelled:
            return done

    def _refresh_one(
        self, item: ProjectClip, examples: Examples, settings: Settings, basis: str, stop: threading.Event | None
    ) -> None:
        try:
            heard = self.hear(item)
        except AudioError as error:
            self.project.set_fault(item.id, str(error))
            return
        self.project.set_prediction(item.id, self._predict(item, heard, examples, settings, basis, stop))

    def stale(self) -> int:
        """How many waiting clips have no prediction or one that no longer counts."""
        return len(self.queue.stale(self.basis(), None))

    def is_fresh(self, prediction: Prediction) -> bool:
        """Whether a prediction would come out the same if it were made now."""
        return prediction.basis == self.basis()

    def basis(self) -> str:
        """What a prediction made now would depend on."""
        return self.project.basis(model_name(self.engine), self._settings)

    def _now(self, settings: Settings | None) -> tuple[Examples, str]:
        """The examples, all embedded, and the basis of one moment; the same object while nothing has changed."""
        project, engine = self.project, self.engine
        while True:
            with project.db.read():
                lacking, mark = self.unembedded(EXAMPLE), self.settings.mark
                if not lacking:
                    key = project.revision, project.version("labels"), mark
                    if self._snapshot is None or self._snapshot[0] != key:
                        self._snapshot = key, Examples(project, engine, mark)
                    return self._snapshot[1], project.basis(model_name(engine), settings or self._settings)
            for item in lacking:
                try:
                    self._hear(item, None)
                except AudioError as error:
                    project.set_fault(item.id, str(error))

    def _predict(
        self,
        item: ProjectClip,
        heard: Heard,
        examples: Examples,
        settings: Settings,
        basis: str,
        stop: threading.Event | None,
    ) -> Prediction:
        exclude, previous = examples.sharing_sound(item), self.project.prediction(item.id)
        found = classify(self.engine, heard, examples, settings.method, settings.k, exclude, previous, stop)
        return replace(found, basis=basis, clip_id=item.id)

    # In the background

    def start(self) -> Job:
        """Embeds and predicts in a thread of its own until nothing is stale, first what comes next in the queue. There
        is one per project and engine: called again, for instance after each judgement, it tells the one that runs that
        there is more to do."""
        key = (str(self.project.folder), id(self.engine))
        with _lock:
            running = _running.get(key)
            if running is not None and not running.job.stopping.is_set():
                running.asked += 1
                return running.job
            running = _Running()
            running.job = Job(lambda job: self._work(job, key, running), key=key, kind="teach review")
            _running[key] = running
        return running.job.start()

    def _work(self, job: Job, key: tuple[str, int], running: _Running) -> int:
        done, most = 0, 1

        def listening(n: int, of: int) -> None:
            nonlocal most
            most = max(most, of)
            job.report("Listening to the clips", 1 - (of - n) / most)

        def predict(limit: int | None) -> int:
            if not self.project.labels:
                return 0
            return self.refresh(limit, lambda n, of: job.report("Predicting labels", n / of), job.stopping)

        try:
            while True:
                asked = running.asked
                done += predict(_FIRST)  # nobody shall wait until a thousand clips have been heard
                heard = self.embed(listening, job.stopping, _TOGETHER)
                done += heard
                if heard == _TOGETHER:
                    continue
                done += predict(None)
                with _lock:  # or somebody might ask for more between the question and the end
                    if job.stopping.is_set() or running.asked == asked:
                        _forget(key, running)
                        return done
        finally:
            with _lock:
                _forget(key, running)


def _batches(items: Iterable[ProjectClip]) -> Iterator[list[ProjectClip]]:
    """``items`` in order, a few at a time; one that is long goes alone."""
    batch: list[ProjectClip] = []
    for item in items:
        if batch and (len(batch) == _TOGETHER or sum(one.seconds for one in (*batch, item)) > _TOGETHER_SECONDS):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


@dataclass
class _Running:
    job: Job = None  # type: ignore[assignment]
    asked: int = 0


_lock = threading.Lock()
_running: dict[tuple[str, int], _Running] = {}


def _forget(key: tuple[str, int], running: _Running) -> None:
    if _running.get(key) is running:
        del _running[key]
