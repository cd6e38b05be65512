"""Many sessions at once, as the app holds them, with mini: what memory does, how soon a stop stops, and whether closed
tabs free the model."""

from __future__ import annotations

import gc
import random
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from afcore.app.session import BrowserSession
from afcore.audio.recording import Recording, from_samples
from afcore.engine import memory
from afcore.jobs import Job

if TYPE_CHECKING:
    from afcore.engine.engine import Engine

RATE = 16_000  # Hz
SOUNDS = 8  # that one person comes back to
GROWTH = 10.0  # per cent that memory may grow once each session has had `WARM` rounds: what is kept to answer faster
WARM = 2
STOP = 1.0  # seconds within which a stop ends an answer
PATIENCE = 600.0  # seconds for one answer, on a machine that is busy
QUESTIONS = ("What do you hear?", "Is someone speaking?", "Where could this be?", "Describe the sound in detail.")


@dataclass
class Seen:
    """What all sessions have seen so far."""

    rounds: int = 0
    stops: list[float] = field(default_factory=list)
    """Seconds from each stop to its answer's end."""
    failed: list[str] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    """MB after each round."""
    lock: threading.Lock = field(default_factory=threading.Lock)


def soak(
    sessions: int,
    rounds: int,
    progress: Callable[[str], None] = lambda said: None,
    engine: Engine | None = None,
) -> dict[str, Any]:
    """``rounds`` in all by ``sessions`` people: open a sound, have it described, ask, stop every third answer.

    ``engine``: mini where none is given. Returns figures and what broke.
    """
    if engine is None:
        from afcore.engine.loading import load_engine

        engine = load_engine("mini")
    seen, begun = Seen(), time.perf_counter()
    people = [BrowserSession() for _ in range(sessions)]
    threads = []
    for number, session in enumerate(people):
        share = rounds // sessions + (number < rounds % sessions)
        one = threading.Thread(target=_visit, args=(engine, session, number, share, seen, progress), daemon=True)
        threads.append(one)
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    freed = _close_tabs(engine, people, seen)
    early = seen.memory[min(len(seen.memory), WARM * sessions) - 1] if seen.memory else 0.0
    late = float(np.median(seen.memory[-max(1, len(seen.memory) // 10) :])) if seen.memory else 0.0
    growth = 100 * (late - early) / early if early else 0.0
    slow = [f"a stop took {seconds:.2f} s" for seconds in seen.stops if seconds > STOP]
    grown = [f"memory grew by {growth:.1f} %"] if growth > GROWTH else []
    kept = [] if freed is not None else ["closed tabs kept the model busy"]
    return {
        "sessions": sessions,
        "rounds": seen.rounds,
        "seconds": round(time.perf_counter() - begun, 1),
        f"memory after {WARM} rounds each, MB": round(early),
        "memory at the end, MB": round(late),
        "growth, %": round(growth, 1),
        "stops": len(seen.stops),
        "median stop, s": round(float(np.median(seen.stops)), 2) if seen.stops else None,
        "slowest stop, s": round(max(seen.stops), 2) if seen.stops else None,
        "closed tabs free the model after, s": freed,
        "failed": seen.failed,
        "broken": [*seen.failed, *slow, *grown, *kept],
    }


def _visit(
    engine: Engine, session: BrowserSession, number: int, rounds: int, seen: Seen, progress: Callable[[str], None]
) -> None:
    rng = random.Random(number)
    sounds = [_sound(100 * number + n) for n in range(min(SOUNDS, rounds))]
    for turn in range(rounds):
        try:
            session.open(sounds[turn % len(sounds)], "upload")
            session.follow_model(engine)
            heard = ended(session.hear(engine)).result
            ended(session.caption(engine, heard))
            answer = session.ask(engine, heard, rng.choice(QUESTIONS)).job
            assert answer is not None, "it was asked just now"
            if turn % 3 == 0:
                _stop(answer, rng.uniform(0, 0.5), seen)
            else:
                ended(answer)
        except Exception as error:  # whatever it is, it is a figure here
            with seen.lock:
                seen.failed.append(f"{type(error).__name__}: {error}")
        with seen.lock:
            seen.rounds += 1
            seen.memory.append(_megabytes())
            if seen.rounds % 10 == 0:
                progress(f"{seen.rounds} rounds, {seen.memory[-1]:.0f} MB")


def _stop(answer: Job, after: float, seen: Seen) -> None:
    """Stops an answer that is being given, or waits for its turn."""
    answer.wait(after)
    if answer.done:
        return
    asked = time.perf_counter()
    answer.stop()
    answer.wait(PATIENCE)
    with seen.lock:
        seen.stops.append(time.perf_counter() - asked)


def ended(job: Job) -> Job:
    """``job``, when it has ended. Raises TimeoutError after `PATIENCE`, RuntimeError where it failed."""
    if not job.wait(PATIENCE):
        raise TimeoutError("no answer came")
    if job.error is not None:
        raise RuntimeError(job.error)
    return job


def _close_tabs(engine: Engine, people: list[BrowserSession], seen: Seen) -> float | None:
    """Seconds until the model is free, after everybody has asked and closed their tab; None: it stays busy."""
    left = [weakref.ref(session) for session in people]
    for session in people:
        heard = session.jobs["hear"].result if "hear" in session.jobs else None
        if heard is not None:
            session.ask(engine, heard, QUESTIONS[-1])
    closed = time.perf_counter()
    people.clear()
    del session
    if any(one() is not None for one in left):
        gc.collect()
    while len(engine.turns) and time.perf_counter() - closed < PATIENCE:
        time.sleep(0.01)
    freed = None if len(engine.turns) else round(time.perf_counter() - closed, 2)
    memory.release()
    return freed


def _sound(seed: int) -> Recording:
    """Two to eight seconds, no two alike."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(rng.uniform(2, 8) * RATE)) / RATE
    tone = np.sin(2 * np.pi * rng.uniform(100, 3000) * t) * (0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.5, 4) * t))
    noise = rng.uniform(0, 0.2) * rng.normal(size=len(t))
    return from_samples((0.5 * tone + noise).astype(np.float32).clip(-1, 1), RATE, f"sound {seed}.wav")


def _megabytes() -> float:
    return psutil.Process().memory_info().rss / 2**20
