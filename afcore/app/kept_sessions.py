"""Sessions that outlive a reload of the page: kept on the server for a day under an id that nobody can guess.

The id stands in the page's address. Whoever opens an address gets a copy with an id of its own: a reload goes on with
what was there, and the same address opened elsewhere never shows, or changes, what the first one does next.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from afcore.app.secret_ids import is_id, new_id
from afcore.app.session_file import restore, saved
from afcore.app.session_format import SavedSession, description, of_parts
from afcore.errors import BadRequest
from afcore.hashing import sha256_of
from afcore.teach.media import keep_sound, sound_file, write_whole
from afcore.teach.schema import storage

if TYPE_CHECKING:
    from afcore.app.session import BrowserSession
    from afcore.retrieval.bank import Bank

DAY = 24 * 3600.0
_SWEEP_EVERY = 600.0  # seconds


class KeptSessions:
    """The sessions in ``folder``; a file that nobody has written to for ``seconds`` is removed with its sound."""

    def __init__(self, folder: Path, seconds: float = DAY, now: Callable[[], float] = time.time) -> None:
        self.folder, self.seconds, self._now = folder, seconds, now
        self._lock = threading.Lock()
        self._swept = 0.0
        self._written: dict[str, str] = {}

    def keep(self, session: BrowserSession) -> str:
        """Write down what ``session`` is now, unless nothing has changed; returns its id, '' where it has no sound.
        Raises NoSpace."""
        if session.recording is None:
            return ""
        session.kept_as = session.kept_as or new_id()
        now = saved(session)
        text = description(now)
        mark = sha256_of(text)
        if self._written.get(session.kept_as) != mark:
            with storage("this session"):
                self.folder.mkdir(parents=True, exist_ok=True)
                keep_sound(self.folder, now.sound)
                write_whole(self._file(session.kept_as), text)
            self._written[session.kept_as] = mark
        self.sweep()
        return session.kept_as

    def find(self, kept_as: str) -> SavedSession | None:
        """What is kept under that id; None where there is nothing (any more)."""
        if not is_id(kept_as):
            return None
        file = self._file(kept_as)
        try:
            if self._now() - file.stat().st_mtime > self.seconds:
                return None
            text = file.read_bytes()
            return of_parts(text, sound_file(self.folder, json.loads(text)["sha256"]).read_bytes())
        except (OSError, ValueError, KeyError, BadRequest):
            return None

    def resume(self, session: BrowserSession, kept_as: str, bank: Bank) -> bool:
        """Make ``session`` a copy of what is kept under that id; returns whether there was anything."""
        found = self.find(kept_as)
        if found is None:
            return False
        restore(session, found, bank)
        return True

    def forget(self, session: BrowserSession) -> None:
        """Remove what is kept of ``session``, and let it go of its sound."""
        if session.kept_as:
            self._file(session.kept_as).unlink(missing_ok=True)
            self._written.pop(session.kept_as, None)
        session.kept_as = ""
        session.forget()
        self.sweep(at_once=True)

    def sweep(self, at_once: bool = False) -> None:
        """Remove what is too old, and sounds that no session has; now and then, or ``at_once``."""
        with self._lock:
            if not at_once and self._now() - self._swept < _SWEEP_EVERY:
                return
            self._swept, wanted = self._now(), set()
            for file in self.folder.glob("*.json"):
                try:
                    if self._now() - file.stat().st_mtime > self.seconds:
                        file.unlink()
                        self._written.pop(file.stem, None)
                    else:
                        wanted.add(json.loads(file.read_bytes())["sha256"])
                except (OSError, ValueError, KeyError):
                    continue
            for sound in (self.folder / "audio").glob("*/*"):
                # A new sound is written before the session that has it.
                if sound.name not in wanted and (at_once or self._now() - sound.stat().st_mtime > _SWEEP_EVERY):
                    sound.unlink(missing_ok=True)

    def _file(self, kept_as: str) -> Path:
        return self.folder / f"{kept_as}.json"
