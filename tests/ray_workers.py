"""What Ray's workers run in tests. Workers find it by `PYTHONPATH`; a module of tests that stands in a folder they
would look for in another package called tests."""

import os
import signal
from pathlib import Path

from tiny import tiny_engine


def make_engine_that_dies_once(place: str, driver: int):
    """The tiny engine; the first process that hears a third sound kills itself. Runs in Ray's workers."""
    engine, count = tiny_engine(Path(place) / str(os.getpid()), bank=False), []
    hear = engine.hear

    def counting(clip):
        count.append(clip.name)
        flag = Path(place) / "killed"
        if os.getpid() != driver and len(count) == 3 and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return hear(clip)

    engine.hear = counting
    return engine
