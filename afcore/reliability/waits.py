"""How long a person waits for each action, on the machine as it is and beside processes that keep its cores busy."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from afcore import threads
from afcore.app import closed_question
from afcore.app.session import BrowserSession
from afcore.audio.recording import Recording, from_samples
from afcore.reliability.soak import ended
from afcore.teach.ingest import add_files
from afcore.teach.loop import Loop
from afcore.teach.project import Project
from afcore.teach.store import Store

if TYPE_CHECKING:
    from afcore.engine.engine import Engine

RATE, SECONDS = 16_000, 6.0  # of every sound, so that all rounds have as much to do
MOST = 3.0  # times as long beside busy processes
QUESTION, WHO = "What do you hear?", "waits"
CAPTION, CHAT, CLOSED, TEACH = "first caption", "chat turn", "closed question", "Teach suggestion"
ACTIONS = (CAPTION, CHAT, CLOSED, TEACH)
_KINDS = {"hum": 110.0, "whistle": 2500.0}  # Teach's labels, and the Hz of their tones
_EXAMPLES = 4  # of each label
_SPIN = "while True: pass"


def measure(
    rounds: int,
    busy: int | None = None,
    progress: Callable[[str], None] = lambda said: None,
    engine: Engine | None = None,
) -> dict[str, Any]:
    """``rounds`` of each action as the machine is, then as many beside ``busy`` processes that compute without end (by
    default one for each core; 0: none).

    ``engine``: mini where none is given. Returns the medians in seconds, and in ``broken`` what took more than `MOST`
    times as long.
    """
    busy = threads.cores() if busy is None else busy
    found: dict[str, Any] = {
        "rounds": rounds,
        "cores": threads.cores(),
        "busy processes": busy,
        "load average of the minute before": round(psutil.getloadavg()[0], 2),
        "broken": [],
    }
    if engine is None:
        from afcore.engine.loading import load_engine

        engine = load_engine("mini")
    with TemporaryDirectory() as folder:
        store = Store(Path(folder))
        try:
            loop = Loop(_project(store, 2 * rounds + 1), engine)
            loop.embed()
            _round(engine, loop, 0)  # what is made once, at the first question, is no part of an action
            quiet = _medians(engine, loop, range(1, rounds + 1), progress)
            found |= {f"{name}, s": round(seconds, 2) for name, seconds in quiet.items()}
            if busy:
                with _beside(busy):
                    slow = _medians(engine, loop, range(rounds + 1, 2 * rounds + 1), progress)
                for name, seconds in slow.items():
                    times = round(seconds / max(quiet[name], 1e-6), 2)
                    found[f"{name} beside busy processes, s"] = round(seconds, 2)
                    found[f"{name}, times as long"] = times
                    if times > MOST:
                        found["broken"].append(f"{name} took {times:.1f} times as long")
        finally:
            store.close()
    return found


def _medians(engine: Engine, loop: Loop, numbers: range, progress: Callable[[str], None]) -> dict[str, float]:
    """The median seconds of each action."""
    times: dict[str, list[float]] = {name: [] for name in ACTIONS}
    for number in numbers:
        for name, seconds in _round(engine, loop, number).items():
            times[name].append(seconds)
        progress(f"round {number}: " + ", ".join(f"{name} {times[name][-1]:.2f} s" for name in ACTIONS))
    return {name: float(np.median(seconds)) for name, seconds in times.items()}


def _round(engine: Engine, loop: Loop, number: int) -> dict[str, float]:
    """Seconds of each action, by a visitor who comes with a sound that nobody has brought before."""
    session, seconds = BrowserSession(), {}
    recording = _sound(number, 300.0 + 10 * number)
    begun = time.perf_counter()
    session.open(recording, "upload")
    session.follow_model(engine)
    heard = ended(session.hear(engine)).result
    ended(session.caption(engine, heard))
    seconds[CAPTION] = time.perf_counter() - begun

    begun = time.perf_counter()
    answer = session.ask(engine, heard, QUESTION).job
    assert answer is not None, "it was asked just now"
    ended(answer)
    seconds[CHAT] = time.perf_counter() - begun

    labels = closed_question.chosen([*closed_question.likely_labels(engine, heard), *_KINDS])
    begun = time.perf_counter()
    ended(closed_question.ask(session, engine, heard, labels))
    seconds[CLOSED] = time.perf_counter() - begun

    clips = [clip for clip in loop.project.items() if clip.label is None]
    begun = time.perf_counter()
    loop.predict(clips[number])
    seconds[TEACH] = time.perf_counter() - begun
    return seconds


@contextmanager
def _beside(count: int) -> Iterator[None]:
    """``count`` processes that keep a core each busy."""
    spinning = [subprocess.Popen([sys.executable, "-c", _SPIN]) for _ in range(count)]
    try:
        time.sleep(1.0)  # they have begun
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def _project(store: Store, waiting: int) -> Project:
    """Two labels with examples, and ``waiting`` clips without a label."""
    project = store.create("Waits", list(_KINDS), WHO)
    for row, (label, hertz) in enumerate(_KINDS.items()):
        given = [_sound(1000 * (row + 1) + n, hertz) for n in range(_EXAMPLES)]
        add_files(project, [(one.name, BytesIO(one.data)) for one in given], WHO, label)
    rest = [_sound(5000 + n, list(_KINDS.values())[n % len(_KINDS)]) for n in range(waiting)]
    add_files(project, [(one.name, BytesIO(one.data)) for one in rest], WHO)
    return project


def _sound(seed: int, hertz: float) -> Recording:
    rng, t = np.random.default_rng(seed), np.arange(round(SECONDS * RATE)) / RATE
    samples = 0.4 * np.sin(2 * np.pi * hertz * t) + 0.05 * rng.normal(size=len(t))
    return from_samples(samples.astype(np.float32), RATE, f"sound {seed}.wav")
