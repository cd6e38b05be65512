"""What goes wrong on a server, done on purpose; after each the data is whole, by what ``afcore check`` looks at.

Each fault has a folder of its own. What must be killed, or lose its rights, is a forked process.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from afcore import paths
from afcore.app.kept_sessions import DAY, KeptSessions
from afcore.app.session import BrowserSession
from afcore.audio.recording import Recording, from_samples
from afcore.cli import check
from afcore.errors import AfcoreError
from afcore.hashing import sha256_of
from afcore.jobs import UNEXPECTED, Job
from afcore.published import hub
from afcore.retrieval.bank import Bank
from afcore.teach.ingest import add_files
from afcore.teach.project import Project
from afcore.teach.review import LEASE_SECONDS, ReviewQueue
from afcore.teach.schema import now
from afcore.teach.store import Store

RATE = 8_000  # Hz
WHO = "Mara"
KILLS = 8
NOBODY = 65_534  # the user without rights, on Linux
FILE = bytes(range(256)) * 80_000  # of the hub, 20 MB
HALF = len(FILE) // 2

Fault = Callable[[Path], str]


class Lost(Exception):
    """A promise that did not hold, in a sentence."""


def inject(only: Sequence[str] | None = None, progress: Callable[[str], None] = lambda said: None) -> dict[str, Any]:
    """Does each fault, or those named, and looks at the data afterwards; returns what was seen and what broke."""
    unknown = [name for name in only or () if name not in FAULTS]
    if unknown:
        raise SystemExit(f"There is no fault “{unknown[0]}”: choose {', '.join(FAULTS)}.")
    seen, broken = [], []
    for name, fault in FAULTS.items():
        if only and name not in only:
            continue
        begun = time.perf_counter()
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            try:
                said = fault(folder)
                wrong = [f"{one.place}: {sentence}" for one in check.of_data(folder) for sentence in one.wrong]
                if wrong:
                    raise Lost(f"The data is not whole: {wrong[0]}")
                seen.append(f"{name}: {said} ({time.perf_counter() - begun:.1f} s)")
            except Exception as error:
                why = str(error) if isinstance(error, Lost) else "".join(traceback.format_exception(error))
                broken.append(f"{name}: {why}")
        progress(f"{name}: {'BROKEN' if broken and broken[-1].startswith(name) else 'whole'}")
    return {"faults": len(seen) + len(broken), "seen": seen, "broken": broken}


# --- what faults are done to ----------------------------------------------------------------------------------------


def _tone(number: int, seconds: float = 0.5) -> Recording:
    t = np.arange(round(seconds * RATE))
    return from_samples((0.5 * np.sin(t * (0.05 + 0.01 * number))).astype(np.float32), RATE, f"tone {number}.wav")


def _files(count: int, seconds: float = 0.5) -> list[tuple[str, bytes]]:
    return [(f"tone {number}.wav", _tone(number, seconds).data) for number in range(count)]


@contextlib.contextmanager
def _store(folder: Path) -> Iterator[Store]:
    store = Store(folder / "projects")
    try:
        yield store
    finally:
        store.close()


def _with_project(folder: Path, sounds: int = 2) -> Path:
    """The folder of a project with some sounds, and beside it a kept session."""
    with _store(folder) as store:
        project = store.create("Tones", ["low", "high"], WHO)
        add_files(project, _files(sounds), WHO, "low")
        made = project.folder
    session = BrowserSession()
    session.open(_tone(0), "upload")
    KeptSessions(folder / "sessions").keep(session)
    return made


def _sounds_of(project_folder: Path) -> int:
    project = Project(project_folder)
    try:
        return len(project.items())
    finally:
        project.close()


def _forked(work: Callable[[Connection], None]) -> tuple[multiprocessing.process.BaseProcess, Connection]:
    context = multiprocessing.get_context("fork")
    mine, other = context.Pipe()
    process = context.Process(target=work, args=(other,), daemon=True)
    process.start()
    other.close()
    return process, mine


def _in_a_process(work: Callable[[], str]) -> str:
    """What ``work`` returns, or the sentence of its refusal, in a forked process."""

    def tell(pipe: Connection) -> None:
        try:
            pipe.send(("", work()))
        except AfcoreError as error:
            pipe.send(("", str(error)))
        except BaseException as error:
            pipe.send(("".join(traceback.format_exception(error)), ""))

    process, pipe = _forked(tell)
    try:
        failed, said = pipe.recv() if pipe.poll(120) else ("No answer came within two minutes.", "")
    except EOFError:
        failed, said = f"The process ended without an answer ({process.exitcode}).", ""
    process.kill()
    process.join()
    if failed:
        raise Lost(failed)
    return said


def _expect(said: str, words: str) -> str:
    if not re.search(words, said) or "\n" in said or not said.endswith("."):
        raise Lost(f"It said {said!r}, where “{words}” was to be expected.")
    return f"“{said}”"


# --- the faults -----------------------------------------------------------------------------------------------------


def killed_while_saving(folder: Path) -> str:
    """SIGKILL at any moment while sounds are added and a session is kept; what was reported is there."""
    made, rng, reported = _with_project(folder), random.Random(0), 0
    files = _files(400, 0.1)

    def work(pipe: Connection) -> None:
        project, kept, session = Project(made), KeptSessions(folder / "sessions"), BrowserSession()
        for number, (name, data) in enumerate(files):
            if add_files(project, [(name, data)], WHO, "high").clips:
                pipe.send(number)
            session.open(_tone(number, 0.1), "upload")
            kept.keep(session)

    for _ in range(KILLS):
        before = _sounds_of(made)
        process, pipe = _forked(work)
        count = 0
        for _ in range(rng.randrange(4)):  # so many sounds, and then some moment in the next
            count += bool(pipe.poll(60) and pipe.recv() is not None)
        time.sleep(rng.uniform(0, 0.1))
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        with contextlib.suppress(EOFError, OSError):
            while pipe.poll(0):
                pipe.recv()
                count += 1
        reported += count
        if _sounds_of(made) < before + count:
            raise Lost(f"{count} sounds were reported, and {_sounds_of(made) - before} are there.")
        wrong = [sentence for one in check.of_data(folder) for sentence in one.wrong]
        if wrong:
            raise Lost(wrong[0])
    return f"killed {KILLS} times, {reported} sounds reported, all there"


def disk_full(folder: Path) -> str:
    """No file may grow beyond a megabyte: the same as a full disk to whoever writes, and done without one."""
    made = _with_project(folder)

    def work() -> str:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
        add_files(Project(made), [("long.wav", _tone(1, 60).data)], WHO, "high")
        return "It was saved."

    said = _expect(_in_a_process(work), "disk is full")
    with _store(folder) as store:
        added = add_files(store.open(made.name), [("long.wav", _tone(1, 60).data)], WHO, "high")
    if len(added.clips) != 1:
        raise Lost("With room again, the sound could not be added.")
    return f"{said} With room again it was added."


def read_only(folder: Path) -> str:
    """The projects' folder may not be written."""
    made = _with_project(folder)
    places = [folder, *folder.rglob("*")]
    for place in places:
        place.chmod(0o555 if place.is_dir() else 0o444)

    def work() -> str:
        if os.geteuid() == 0:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        add_files(Project(made), [("new.wav", _tone(7).data)], WHO, "high")
        return "It was saved."

    try:
        return _expect(_in_a_process(work), "cannot be (written|read)")
    finally:
        for place in places:
            place.chmod(0o755 if place.is_dir() else 0o644)


def wrong_weights(folder: Path) -> str:
    """Mini's weights cut off, and one file in the place of another: a sentence, no traceback."""
    sound = folder / "tone.wav"
    sound.write_bytes(_tone(0).data)
    seen = []
    for name, how in (("flamingo.safetensors", "cut off"), ("encoder.safetensors", "another file")):
        assets = folder / how
        shutil.copytree(paths.MINI, assets / "mini")
        broken = assets / "mini" / name
        if how == "cut off":
            os.truncate(broken, broken.stat().st_size // 2)
        else:
            shutil.copy(assets / "mini" / "clap.safetensors", broken)
        if not check.weights(assets / "mini").wrong:
            raise Lost(f"check found nothing wrong with {name}, {how}.")
        environment = {**os.environ, "AFCORE_ASSETS": str(assets), "AFCORE_DATA": str(paths.DATA)}
        command = [sys.executable, "-m", "afcore", "caption", str(sound)]
        run = subprocess.run(command, env=environment, capture_output=True, text=True)
        if run.returncode != 1 or "Traceback" in run.stderr:
            raise Lost(f"{name}, {how}: exit status {run.returncode}, {run.stderr[-500:]}")
        seen.append(_expect(run.stderr.strip().splitlines()[-1], "weights of mini are damaged"))
        shutil.rmtree(assets)
    return seen[0]


def gpu_gone(folder: Path) -> str:
    """A GPU that has too little memory, and one that is gone, as torch says it: a sentence, and the next goes on."""
    import torch

    from afcore.engine.memory import enough
    from afcore.engine.turn_queue import TurnQueue

    turns, dropped = TurnQueue(), []

    def failing(error: RuntimeError) -> Callable[[Job], None]:
        def work(job: Job) -> None:
            with enough(lambda: dropped.append(True)):
                raise error

        return work

    seen = []
    for error in (torch.OutOfMemoryError("CUDA out of memory"), torch.AcceleratorError("CUDA error: device lost")):
        job = Job(failing(error), turns).start()
        if not job.wait(10) or job.error is None or job.error == UNEXPECTED:
            raise Lost(f"It said {job.error!r}.")
        seen.append(job.error)
    after = Job(lambda job: job.say("an answer"), turns).start()
    if not after.wait(10) or after.text != "an answer" or not dropped:
        raise Lost("After it nobody got a turn.")
    return f"“{seen[0]}” “{seen[1]}”"


def hub_gone(folder: Path) -> str:
    """The hub goes away in the middle of a download: what came is kept, and the next try goes on from there."""

    def work() -> str:
        with _hub() as (address, starts):
            os.environ.update(HF_ENDPOINT=address, HF_HUB_OFFLINE="0", HF_HOME=str(folder / "home"), NO_PROXY="*")
            paths.DATA = folder / "data"  # in this process alone: what came is recorded there
            try:
                hub.fetch("nvidia/audio-flamingo", "chat.pt", folder / "downloads")
                return "The whole file came."
            except AfcoreError as error:
                said = str(error)
            if (folder / "downloads" / "chat.pt").exists():
                raise Lost("Half a file lies under its name.")
            file = hub.fetch("nvidia/audio-flamingo", "chat.pt", folder / "downloads")
            if file.read_bytes() != FILE:
                raise Lost("The file that came is not the one that was sent.")
            if not 0 < starts[-1] <= HALF:
                raise Lost(f"The second try began at byte {starts[-1]}.")
            return said

    return f"{_expect(_in_a_process(work), 'again')} The next try went on and the file is whole."


def database_locked(folder: Path) -> str:
    """Another process writes for a while: a short one is waited for, a long one is said."""
    made = _with_project(folder)

    def locked(seconds: float) -> multiprocessing.process.BaseProcess:
        def work(pipe: Connection) -> None:
            database = sqlite3.connect(made / "project.sqlite", isolation_level=None)
            database.execute("BEGIN IMMEDIATE")
            pipe.send(True)
            time.sleep(seconds)
            database.execute("COMMIT")

        process, pipe = _forked(work)
        pipe.recv()
        return process

    # The holder is forked before there is a connection here: SQLite wants none carried into a fork.
    holder, begun = locked(2.0), time.perf_counter()
    project = Project(made)
    add_files(project, [("waited.wav", _tone(8).data)], WHO, "high")
    project.close()
    holder.join()
    if time.perf_counter() - begun < 2.0:
        raise Lost("It was saved while another process held the database.")
    holder = locked(20.0)
    hasty = Project(made, wait=0.2)
    refused = add_files(hasty, [("late.wav", _tone(9).data)], WHO, "high").refused
    said = refused[0] if refused else "It was saved."
    hasty.close()
    holder.kill()
    holder.join()
    if _sounds_of(made) != 3:
        raise Lost(f"{_sounds_of(made)} sounds are there, not 3.")
    return f"waited for one that wrote for two seconds; then {_expect(said, 'saving much')}"


def clock_jumps(folder: Path) -> str:
    """A year ahead, and back again: sessions are kept, and a clip is in nobody's hands for a year."""
    made = _with_project(folder)
    clock = [time.time()]
    kept, session = KeptSessions(folder / "sessions", now=lambda: clock[0]), BrowserSession()
    session.open(_tone(3), "upload")
    name = kept.keep(session)
    clock[0] -= 365 * DAY
    bank = Bank(folder / "bank", create=True)
    if not kept.resume(BrowserSession(), name, bank):
        raise Lost("A clock that goes back loses a session.")
    bank.close()
    kept.sweep(at_once=True)
    if kept.find(name) is None:
        raise Lost("A clock that goes back has a session removed.")
    project = Project(made)
    add_files(project, [("open.wav", _tone(20).data)], WHO)
    queue = ReviewQueue(project)
    clip = queue.next_clip(WHO)
    assert clip is not None, "one was added"
    with project.db.write() as db:  # as if it had been given out while the clock was ahead
        db.execute("UPDATE lease SET until = ?", (now() + 365 * DAY + LEASE_SECONDS,))
    again = queue.next_clip("Ben")
    project.close()
    if again is None or again.id != clip.id:
        raise Lost("A clip stays in somebody's hands for a year.")
    return "sessions stayed, and the clip came back to the queue"


FAULTS: dict[str, Fault] = {
    "killed-while-saving": killed_while_saving,
    "disk-full": disk_full,
    "read-only": read_only,
    "wrong-weights": wrong_weights,
    "gpu-gone": gpu_gone,
    "hub-gone": hub_gone,
    "database-locked": database_locked,
    "clock-jumps": clock_jumps,
}
"""Name -> what does it in a folder, and says what was seen. Raises Lost."""


@contextlib.contextmanager
def _hub() -> Iterator[tuple[str, list[int]]]:
    """The address of a hub with one file, whose connection breaks in the middle the first time; and the bytes at which
    downloads began."""
    starts: list[int] = []

    class Hub(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self._head(0)

        def do_GET(self) -> None:
            found = re.match(r"bytes=(\d+)-", self.headers.get("Range") or "bytes=0-")
            start = int(found[1]) if found else 0
            starts.append(start)
            self._head(start)
            with contextlib.suppress(OSError):  # who asked has gone
                self.wfile.write(FILE[start:] if start else FILE[:HALF])
            self.close_connection = True

        def _head(self, start: int) -> None:
            self.send_response(206 if start else 200)
            headers = {"X-Repo-Commit": "0" * 40, "ETag": f'"{sha256_of(FILE)}"', "Accept-Ranges": "bytes"}
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(FILE) - 1}/{len(FILE)}"
            for name, value in {**headers, "Content-Length": str(len(FILE) - start)}.items():
                self.send_header(name, value)
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", starts
        server.shutdown()
