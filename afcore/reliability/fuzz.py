"""Damaged and hostile files, made by the thousand from good ones, given to the readers that meet strangers' files.

Each is read in a process of its own kind: one that crashes, hangs or takes too much memory is seen from outside, and
what it opens for writing, or connects to, is noted by an audit hook.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable
from io import BytesIO
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import av
import numpy as np

from afcore.app.session_format import SavedSession, open_session, save_session
from afcore.audio.recording import open_recording
from afcore.errors import AfcoreError
from afcore.teach.ingest import add_zip
from afcore.teach.store import Store
from afcore.teach.transfer import export_project, import_project

HANG = 10.0  # seconds for one file
MOST_MB = 1500
ADDRESS_SPACE = 8 * 2**30  # bytes, so that a fault here harms no other process of this machine
RATE = 16_000  # Hz
SOUNDS = {
    "wav": ("wav", "pcm_s16le"),
    "float": ("wav", "pcm_f32le"),
    "flac": ("flac", "flac"),
    "opus": ("ogg", "libopus"),
    "mp3": ("mp3", "libmp3lame"),
    "m4a": ("mp4", "aac"),
    "mkv": ("matroska", "libopus"),
    "ts": ("mpegts", "aac"),
    "aiff": ("aiff", "pcm_s16be"),
    "au": ("au", "pcm_mulaw"),
    "caf": ("caf", "pcm_s16be"),
    "avi": ("avi", "pcm_s16le"),
    "flv": ("flv", "aac"),
    "w64": ("w64", "pcm_s16le"),
}
"""Kind -> container and codec."""
NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)

Reader = Callable[[bytes, Path], object]


def fuzz(files: int = 2000, seed: int = 0, progress: Callable[[str], None] = lambda said: None) -> dict[str, Any]:
    """Gives ``files`` bad files, which ``seed`` decides, to their readers; returns figures and what broke."""
    found: dict[str, Any] = {"files": files, "seed": seed, "taken": 0, "refused": 0}
    crashes: list[str] = []
    hangs: list[str] = []
    outside: set[str] = set()
    peak, slowest, begun = 0.0, 0.0, time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        good = seeds(Path(folder))
        worker = _Worker(good, Path(folder) / "data")
        for number in range(files):
            asked = time.perf_counter()
            answer = worker.ask((seed, number))
            slowest = max(slowest, time.perf_counter() - asked)
            if answer is None:
                (hangs if worker.alive() else crashes).append(f"file {number} ({kind_of(good, seed, number)})")
                worker.end()
                worker = _Worker(good, Path(folder) / "data")
                continue
            outcome, megabytes, wrote = answer
            peak = max(peak, megabytes)
            outside.update(wrote)
            if outcome in ("taken", "refused"):
                found[outcome] += 1
            else:
                crashes.append(f"file {number} ({kind_of(good, seed, number)}): {outcome}")
            if (number + 1) % 100 == 0:
                progress(f"{number + 1} of {files} files")
        worker.end()
    found |= {
        "seconds": round(time.perf_counter() - begun, 1),
        "slowest file, s": round(slowest, 2),
        "peak memory, MB": round(peak),
        "crashes": crashes,
        "hangs": hangs,
        "written or reached outside the data folder": sorted(outside),
    }
    too_much = [f"{round(peak)} MB of memory, more than {MOST_MB}"] if peak > MOST_MB else []
    found["broken"] = [*crashes, *hangs, *sorted(outside), *too_much]
    return found


def kind_of(good: dict[str, bytes], seed: int, number: int) -> str:
    """Which kind of file it is."""
    return random.Random(f"{seed} {number}").choice(sorted(good))


def made(good: dict[str, bytes], seed: int, number: int) -> tuple[str, bytes]:
    """A bad file: its kind, and its bytes."""
    rng = random.Random(f"{seed} {number}")
    kind = rng.choice(sorted(good))
    data = bytearray(good[kind])
    for _ in range(rng.choice((1, 1, 2, 4))):
        rng.choice((_cut, _flip, _noise, _number, _twice, _splice))(data, rng, good)
    return kind, bytes(data)


def _cut(data: bytearray, rng: random.Random, good: dict[str, bytes]) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _flip(data: bytearray, rng: random.Random, good: dict[str, bytes]) -> None:
    for _ in range(rng.choice((1, 3, 30)) if data else 0):
        data[_place(data, rng)] ^= 1 << rng.randrange(8)


def _noise(data: bytearray, rng: random.Random, good: dict[str, bytes]) -> None:
    at = _place(data, rng)
    data[at : at + rng.choice((4, 64, 1024))] = rng.randbytes(rng.choice((4, 64, 1024)))


def _number(data: bytearray, rng: random.Random, good: dict[str, bytes]) -> None:
    """A size or a count that cannot be."""
    at, wide = _place(data, rng), rng.choice((2, 4, 8))
    number = rng.choice(NUMBERS) & (256**wide - 1)
    data[at : at + wide] = number.to_bytes(wide, rng.choice(("little", "big")))


def _twice(data: bytearray, rng: random.Random, good: dict[str, bytes]) -> None:
    at = _place(data, rng)
    data[at:at] = data[at : at + rng.choice((16, 512, 4096))] * rng.choice((1, 8))


def _splice(data: bytearray, rng: random.Random, good: dict[str, bytes]) -> None:
    """Goes on as another kind of file does."""
    other = good[rng.choice(sorted(good))]
    del data[_place(data, rng) :]
    data += other[rng.randrange(len(other)) :]


def _place(data: bytearray, rng: random.Random) -> int:
    """Half of them near the beginning, where headers are."""
    return rng.randrange(min(len(data), 128) if rng.random() < 0.5 else len(data)) if data else 0


# --- good files -----------------------------------------------------------------------------------------------------


def seeds(folder: Path) -> dict[str, bytes]:
    """Kind -> a good file, made in ``folder``."""
    wave = np.sin(np.arange(RATE) / 7).astype(np.float32) * np.linspace(0.1, 0.9, RATE, dtype=np.float32)
    good = {kind: _encoded(wave, *how) for kind, how in SOUNDS.items()}
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as out:
        for name in ("dog/a.wav", "../b.wav", "cat/ü.flac", "__MACOSX/._a.wav"):
            out.writestr(name, good["wav"][: 4000 if name.startswith("dog") else None])
    turn = {"question": "What?", "answer": "A dog.", "start": 0.0}
    good["zip"] = packed.getvalue()
    good["session"] = save_session(SavedSession("a.wav", good["flac"], turns=(turn,), page={"k": 4}))
    store = Store(folder / "first")
    project = store.create("Dogs", ["dog", "cat"], "Mara")
    add_zip(project, good["zip"], "Mara", "dog")
    export_project(project, folder / "project.zip")
    store.close()
    good["project"] = (folder / "project.zip").read_bytes()
    return good


def _encoded(samples: np.ndarray, container: str, codec: str) -> bytes:
    """``samples`` (T,) float32 as a file."""
    file = BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=RATE if codec != "libopus" else 48_000)
        assert isinstance(stream, av.AudioStream), "a codec of sound"
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(samples[None], "flt", "mono")
        frame.sample_rate, frame.pts = RATE, 0
        resampler = av.AudioResampler(stream.format, stream.layout, stream.rate, frame_size=1024)
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    return file.getvalue()


# --- readers --------------------------------------------------------------------------------------------------------


def _sound(data: bytes, folder: Path) -> None:
    recording = open_recording(data, "sound")
    recording.clip()
    recording.clip(recording.duration / 2)


def _zip(data: bytes, folder: Path) -> None:
    store = Store(folder / "projects")
    known = store.projects()
    project = store.open(known[0].id) if known else store.create("Bad", ["dog"], "Mara")
    try:
        add_zip(project, data, "Mara", folders_are_labels=True)
    finally:
        store.close()


def _project(data: bytes, folder: Path) -> None:
    store = Store(folder / "projects")
    try:
        store.remove(import_project(store, data, "Mara").id, "Mara", for_good=True)
    finally:
        store.close()


READERS: dict[str, Reader] = {
    **dict.fromkeys(SOUNDS, _sound),
    "zip": _zip,
    "session": lambda data, folder: open_session(data),
    "project": _project,
}
"""Kind -> what reads it; raises AfcoreError for what it refuses."""

Answer = tuple[str, float, list[str]]
""""taken", "refused" or what went wrong; the most memory so far in MB; what was written or reached outside."""


class _Worker:
    """A process that reads one bad file after another."""

    def __init__(self, good: dict[str, bytes], folder: Path):
        folder.mkdir(exist_ok=True)
        forked = multiprocessing.get_context("fork")
        self._pipe, other = forked.Pipe()
        self._process = forked.Process(target=_serve, args=(good, folder, other), daemon=True)
        self._process.start()
        other.close()

    def ask(self, which: tuple[int, int]) -> Answer | None:
        """None where no answer came: it hangs, or has crashed."""
        try:
            self._pipe.send(which)
            return self._pipe.recv() if self._pipe.poll(HANG) else None
        except (EOFError, OSError):
            self._process.join(1)
            return None

    def alive(self) -> bool:
        """Whether it has not crashed."""
        return self._process.is_alive()

    def end(self) -> None:
        """Whatever it does."""
        self._process.kill()
        self._process.join()


def _serve(good: dict[str, bytes], folder: Path, pipe: Connection) -> None:
    os.chdir(folder)
    sys.dont_write_bytecode = True  # what Python keeps of a module that is imported late is no file's doing
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    wrote: list[str] = []
    sys.addaudithook(_watch(folder.resolve(), wrote))
    while True:
        try:
            which = pipe.recv()
        except EOFError:
            return
        kind, data = made(good, *which)
        try:
            READERS[kind](data, folder)
            outcome = "taken"
        except AfcoreError as error:
            outcome = "refused" if _is_sentence(str(error)) else f"no sentence: {str(error)[:200]!r}"
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            outcome = f"{type(error).__name__}: {str(error)[:200]} ({Path(where.filename).name}:{where.lineno})"
        pipe.send((outcome, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, wrote[:20]))


def _is_sentence(text: str) -> bool:
    return bool(text) and "\n" not in text and text.rstrip().endswith((".", "!", "?"))


def _watch(folder: Path, wrote: list[str]) -> Callable[[str, tuple[Any, ...]], None]:
    """An audit hook that notes what is written outside ``folder``, or connected to."""
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, str | bytes | os.PathLike) and isinstance(flags, int) and flags & writing:
                note(path)
        elif event in ("os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.chmod"):
            note(arguments[0])
        elif event in ("os.rename", "os.link", "os.symlink"):
            note(arguments[1])
        elif event in ("socket.connect", "socket.bind", "subprocess.Popen", "os.system", "os.exec"):
            wrote.append(event)

    def note(path: Any) -> None:
        if isinstance(path, int):
            return
        real = os.path.realpath(os.fsdecode(path))
        if not real.startswith(f"{folder}{os.sep}") and real not in (str(folder), os.devnull):
            wrote.append(real)

    return hook
