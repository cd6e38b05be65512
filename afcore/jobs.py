"""One piece of slow work in a thread of its own: its text so far, its place in the queue, its end, and a way to stop
it.

A page is drawn again whenever somebody touches it, and each drawing may be cut off by the next. So nothing slow may
run in the drawing itself: it runs in a ``Job``, which outlives any drawing and keeps what was already answered.
"""

import atexit
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Protocol

from afcore.errors import AfcoreError, Cancelled

_log = logging.getLogger(__name__)

UNEXPECTED = "Something went wrong here, not with your sound; your sound and chat are kept, so please try again."
"""Shown for a defect of the program; its traceback goes to the server's log."""

_unfinished: "weakref.WeakSet[Job]" = weakref.WeakSet()


class Turns(Protocol):
    """Whoever shares the model waits in one, for instance ``Engine.turns``."""

    def wait(
        self, on_wait: Callable[[int], None] | None = None, stop: threading.Event | None = None
    ) -> AbstractContextManager[Any]:
        """Hold the turn while in the context; ``on_wait`` hears how many are ahead, ``Cancelled`` ends the wait."""


class Job:
    """Runs ``work(job)`` in a daemon thread, after its turn in ``queue`` if one is given.

    The work may publish as it goes: ``say(piece)`` appends to ``text``, ``report(stage, fraction)`` sets ``stage`` and
    ``fraction``, ``show(item)`` appends to ``items``. ``stop`` sets ``stopping``, which the work hands to whatever it
    calls. ``key`` is what the work is about, so that its owner can tell whether it still fits.
    """

    def __init__(self, work: Callable[["Job"], Any], queue: Turns | None = None, key: Any = None, kind: str = "other"):
        self.key = key
        self.kind = kind
        """In the server's log: which kind of work it is."""
        self.text = ""
        self.items: list[Any] = []
        self.stage = ""
        self.fraction: float | None = None
        self.ahead: int | None = None
        """How many wait before this job; None while there is nobody to wait for or once it runs."""
        self.running = False
        self.result: Any = None
        self.error: str | None = None
        """One sentence, once the work has failed."""
        self.stopping = threading.Event()
        self.seconds = 0.0
        self._work: Callable[[Job], Any] | None = work
        self._queue = queue
        self._news = threading.Condition()
        self._finished = False
        self._thread = threading.Thread(target=self._run, name="afcore-job", daemon=True)

    def start(self) -> "Job":
        """Start the thread; returns the job itself."""
        _unfinished.add(self)
        self._thread.start()
        return self

    @property
    def done(self) -> bool:
        """True once the work has ended, however it ended."""
        return self._finished

    @property
    def stopped(self) -> bool:
        """True once the work has ended because somebody stopped it; ``text`` holds what was there by then."""
        return self._finished and self.stopping.is_set() and self.error is None

    def stop(self) -> None:
        """Ask the work to end soon; what it has said is kept. Nothing happens to work that has ended: it was not
        stopped."""
        with self._news:
            if not self._finished:
                self.stopping.set()
            self._news.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait up to ``timeout`` seconds for the end; returns ``done``."""
        with self._news:
            self._news.wait_for(lambda: self._finished, timeout)
        return self._finished

    def say(self, piece: str) -> None:
        """Append ``piece`` to the text."""
        with self._news:
            self.text += piece
            self._news.notify_all()

    def show(self, item: Any) -> None:
        """Append ``item`` to the items."""
        with self._news:
            self.items.append(item)
            self._news.notify_all()

    def report(self, stage: str, fraction: float | None = None) -> None:
        """Set what the work is doing now and, if known, how much of it is done, 0 to 1."""
        with self._news:
            self.stage, self.fraction = stage, fraction
            self._news.notify_all()

    def follow(self, tick: float = 0.2) -> Iterator[str]:
        """Yield the text from its beginning, then each new piece until the end.

        Yields an empty piece at least every ``tick`` seconds, so that the one who draws can be interrupted.
        """
        seen = 0
        while True:
            with self._news:
                self._news.wait_for(partial(self._has_more_than, seen), tick)
                piece, finished = self.text[seen:], self._finished
            seen += len(piece)
            yield piece
            if finished and seen >= len(self.text):
                return

    def _has_more_than(self, seen: int) -> bool:
        return len(self.text) > seen or self._finished

    def _place(self, ahead: int) -> None:
        with self._news:
            self.ahead = ahead or None
            self._news.notify_all()

    def take(self) -> Any:
        """The result, which the job then no longer holds."""
        result, self.result = self.result, None
        return result

    def _run(self) -> None:
        turn = nullcontext() if self._queue is None else self._queue.wait(on_wait=self._place, stop=self.stopping)
        begun = time.perf_counter()
        try:
            with turn:
                self.ahead, self.running = None, True
                begun = time.perf_counter()
                if not self.stopping.is_set():
                    assert self._work is not None, "a job runs once"
                    self.result = self._work(self)
        except Cancelled:
            self.stopping.set()
        except AfcoreError as error:
            self.error = str(error)
        except Exception:
            _log.exception("A job failed")
            self.error = UNEXPECTED
        finally:
            with self._news:
                self.seconds = time.perf_counter() - begun
                self._work = None  # it may hold the model, which is to go when another is chosen
                self.running, self.ahead, self._finished = False, None, True
                self._news.notify_all()
            self._note()

    def _note(self) -> None:
        """A line for the server's log; nothing of what was heard or said."""
        failed = "failed" if self.error == UNEXPECTED else "refused"
        outcome = failed if self.error else "stopped" if self.stopping.is_set() else "done"
        about = {"kind": self.kind, "outcome": outcome, "seconds": round(self.seconds, 3)}
        _log.info("A job ended", extra={"job": about})


@atexit.register
def _stop_all() -> None:
    # A thread that computes while the interpreter goes away ends the process with an abort.
    left = [job for job in _unfinished if not job.done]
    for job in left:
        job.stop()
    for job in left:
        job.wait(2)
