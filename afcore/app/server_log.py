"""What the server's log says: lines of JSON where AFCORE_LOG=json asks for them, and never a visitor's sound or words.

Of an error there are its type and the places in the code; not its message, which may quote what somebody wrote.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import traceback
from collections import deque
from pathlib import Path
from typing import Any

RECENT = 200


class JsonLines(logging.Formatter):
    """A record as one line: time (UTC), level, logger, event, and of a job its kind, outcome and seconds."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without the text that a message was filled with."""
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": str(record.msg),  # as the program has it, not filled in
        }
        line |= getattr(record, "job", {})
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            frames = traceback.extract_tb(record.exc_info[2])
            line["at"] = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames[-6:]]
        return json.dumps(line)


class Recent(logging.Handler):
    """Keeps the last jobs, for the Server page."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.jobs: deque[dict[str, Any]] = deque(maxlen=RECENT)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a job's figures."""
        if job := getattr(record, "job", None):
            self.jobs.append({"at": record.created, **job})


recent = Recent()


def settle() -> None:
    """Set up the log of this process; a second call does nothing."""
    own = logging.getLogger("afcore")
    if recent in own.handlers:
        return
    own.addHandler(recent)
    logging.getLogger("afcore.jobs").setLevel(logging.INFO)
    if os.environ.get("AFCORE_LOG") == "json":
        lines = logging.StreamHandler(sys.stderr)
        lines.setFormatter(JsonLines())
        own.addHandler(lines)
        own.propagate = False


def timings() -> list[dict[str, Any]]:
    """For each kind of work: how often, how it ended, and its median and longest seconds."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for job in list(recent.jobs):
        kinds.setdefault(job["kind"], []).append(job)
    rows = []
    for kind, jobs in sorted(kinds.items()):
        seconds = sorted(job["seconds"] for job in jobs)
        ends = {end: sum(job["outcome"] == end for job in jobs) for end in ("done", "stopped", "refused", "failed")}
        rows.append(
            {"kind": kind, "jobs": len(jobs), **ends, "median s": seconds[len(seconds) // 2], "longest s": seconds[-1]}
        )
    return rows
