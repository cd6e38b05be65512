"""The one model that a process holds: loaded in a thread, exchanged for another, its files fetched meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from afcore.engine.loading import MODELS, LoadEngine, load_engine
from afcore.errors import BadRequest, Cancelled
from afcore.jobs import Job
from afcore.published import folders

if TYPE_CHECKING:
    from afcore.engine.engine import Engine


class ModelHost:
    """Two published models rarely fit beside each other, so everybody who uses the process uses the same one.

    ``load``: where an engine comes from.
    """

    def __init__(self, name: str, load: LoadEngine = load_engine) -> None:
        self._load_engine = load
        self._lock = threading.Lock()
        self._old: list[Job] = []
        """Loadings whose engines are still to be put away."""
        self.name = name
        self.getting: dict[str, Job] = {}
        """What is or was being fetched, by the model's name."""
        self.loading = self._load(name)
        """Its result is the engine."""

    @staticmethod
    def is_here(name: str) -> bool:
        """Whether the model's files are on this machine; mini's always are."""
        kinds = dict(zip(folders.NAMES, folders.KINDS, strict=True))
        return name not in kinds or folders.is_ready(kinds[name])

    def choose(self, name: str) -> None:
        """Put the present model away, after the answer that it is giving, and load another.

        A second call goes before the first. Choosing the model that failed to load tries again.

        Raises BadRequest for a name that is unknown, or of files that are not here.
        """
        if name not in MODELS:
            raise BadRequest(f"There is no model “{name}”.")
        if not self.is_here(name):
            raise BadRequest(f"The files of {name} are not on this machine yet.")
        with self._lock:
            if name == self.name and self.loading.error is None:
                return
            self._old.append(self.loading)
            self.name, self.loading = name, self._load(name)

    def get(self, name: str) -> Job:
        """Fetch the files of a published model, whose licences the person has agreed to; stopping the job ends that."""

        def work(job: Job) -> str:
            from afcore.published import download

            return download.get(name, agreed=True, progress=job.report, stop=job.stopping)

        with self._lock:
            job = self.getting.get(name)
            if job is None or job.done:
                job = self.getting[name] = Job(work).start()
            return job

    def _load(self, name: str) -> Job:
        def work(job: Job) -> Engine:
            def report(stage: str, fraction: float) -> None:
                if job.stopping.is_set():  # yet another was chosen
                    raise Cancelled()
                job.report(stage, fraction)

            self._put_away(report)
            return self._load_engine(name, progress=report)

        return Job(work).start()

    def _put_away(self, report: Callable[[str, float], None]) -> None:
        """Free what earlier loadings hold. One of them may be at this very thing, so each is waited for."""
        while self._old:
            old = self._old[-1]
            if not old.done:
                report("Ending what is under way", 0.0)
                old.stop()
                old.wait()
            report("Putting the other model away", 0.0)
            engine = old.take()
            if engine is not None:
                engine.close()
                del engine  # its memory is free before the next is loaded
            self._old.remove(old)


def device_name(device: Any) -> str:
    """``CPU`` or ``GPU (cuda:0)``, as people say it."""
    kind = str(device)
    return "CPU" if kind == "cpu" else f"GPU ({kind})"
