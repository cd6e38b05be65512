"""One password for the whole app, where the variable AFCORE_PASSWORD sets one.

It keeps strangers out of a demo; who is who, it does not know: for that there is single sign-on (SECURITY.md).
"""

from __future__ import annotations

import hmac
import os
import threading
import time
from collections import deque
from collections.abc import Callable

from afcore.errors import BadRequest
from afcore.hashing import sha256_of

MOST, WITHIN = 10, 60.0
"""Wrong answers that are taken in so many seconds, from everybody together: addresses can be forged or shared."""


def wanted() -> str:
    """The password; '' where none is set, and then everybody may come in."""
    return os.environ.get("AFCORE_PASSWORD", "")


class Gate:
    """Compares answers with the password, and counts wrong ones. One for the process."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._lock = now, threading.Lock()
        self._wrong: deque[float] = deque(maxlen=MOST)

    def admits(self, answer: str) -> bool:
        """Whether ``answer`` is the password; how long it takes tells nothing about it.

        Raises BadRequest, without looking at the answer, after too many wrong ones.
        """
        with self._lock:
            if len(self._wrong) == MOST and self._now() - self._wrong[0] < WITHIN:
                raise BadRequest("There were too many wrong answers; please wait a minute.")
            # Hashes, since the comparison tells lengths apart.
            right = hmac.compare_digest(sha256_of(answer), sha256_of(wanted()))
            if not right:
                self._wrong.append(self._now())
            return right
