"""One at a time: the queue in which everybody who shares a model waits for it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from afcore.errors import Cancelled

_POLL = 0.05  # seconds between looks at a ``stop`` event, which cannot wake the one who waits


class TurnQueue:
    """First come, first served, across all threads of the process; background work lets people pass."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._queue: deque[object] = deque()
        self._background: set[object] = set()
        """Those in the queue who let people pass."""
        self._holder: int | None = None

    def __len__(self) -> int:
        """How many hold the turn or wait for it."""
        return len(self._queue)

    @contextmanager
    def wait(
        self,
        on_wait: Callable[[int], None] | None = None,
        stop: threading.Event | None = None,
        background: bool = False,
    ) -> Iterator[None]:
        """Hold the turn while in the context; a thread that has it already goes straight in.

        ``background``: work that nobody waits for; whoever comes later without this goes before it.

        ``on_wait`` hears how many are ahead, on every change; 0 when the turn has come. ``stop`` ends the wait:
        raises Cancelled. However the context is left, the turn goes to the next.
        """
        me = threading.get_ident()
        if self._holder == me:
            yield
            return
        ticket = object()
        with self._news:
            self._enter(ticket, background)
        try:
            self._reach_the_front(ticket, on_wait, stop)
            self._holder = me
            yield
        finally:
            with self._news:
                if self._holder == me:
                    self._holder = None
                self._queue.remove(ticket)
                self._background.discard(ticket)
                self._news.notify_all()

    def _enter(self, ticket: object, background: bool) -> None:
        if background:
            self._background.add(ticket)
            self._queue.append(ticket)
            return
        # The first has the turn, or is about to take it.
        place = next((n for n, other in enumerate(self._queue) if n and other in self._background), len(self._queue))
        self._queue.insert(place, ticket)
        self._news.notify_all()  # those behind have one more before them

    def _reach_the_front(
        self, ticket: object, on_wait: Callable[[int], None] | None, stop: threading.Event | None
    ) -> None:
        told = None
        while True:
            if stop is not None and stop.is_set():
                raise Cancelled()
            with self._news:
                ahead = self._queue.index(ticket)
                if ahead == told and ahead > 0:
                    self._news.wait(None if stop is None else _POLL)
                    continue
            # Outside the lock, since a page may take its time to draw.
            if on_wait is not None:
                on_wait(ahead)
            told = ahead
            if ahead == 0:
                return
