"""kill -9 at any moment: what was reported as saved is there, nothing is half-made, and the work goes on from there.

The victims are forked, so that they need not import everything again; each opens the project for itself. What they
report goes through a pipe, which outlives them.
"""

import hashlib
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import contextmanager

import pytest
from teaching import NamedEngine, sounds

from afcore.teach import media
from afcore.teach.ingest import add_files
from afcore.teach.loop import Loop
from afcore.teach.review import ReviewQueue
from afcore.teach.schema import EXAMPLE, Settings
from afcore.teach.store import Store

FILES = sounds(*(f"dog {n}.wav" for n in range(40)))


@pytest.fixture
def folder(tmp_path):
    store = Store(tmp_path / "projects")
    project_id = store.create("Dogs", ["dog", "cat"], "Mara", Settings("clap-nn")).id
    store.close()
    return tmp_path / "projects" / project_id


def _open(folder):
    return Store(folder.parent).open(folder.name)


@contextmanager
def _opened(folder):
    """As `_open`, closed at the end: SQLite wants no open connection carried into a fork."""
    project = _open(folder)
    try:
        yield project
    finally:
        project.close()


def _victim(work: Callable[[Callable[[str], None]], None]) -> tuple[int, int]:
    """Runs ``work(report)`` in a forked process; returns its id and the reading end of the pipe."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reading)
        try:
            work(lambda text: os.write(writing, f"{text}\n".encode()))
            os._exit(0)
        except BaseException:
            os._exit(1)
    os.close(writing)
    return process, reading


def _kill_after(process: int, reading: int, lines: int, seconds: float) -> list[str]:
    """Kills once that many lines have come and some time has gone; returns all lines that were written before."""
    seen = b""
    while seen.count(b"\n") < lines and (more := os.read(reading, 4096)):
        seen += more
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    return _rest(process, reading, seen)[1]


def _rest(process: int, reading: int, seen: bytes = b"") -> tuple[int, list[str]]:
    """(how it ended, all lines)."""
    while more := os.read(reading, 4096):
        seen += more
    os.close(reading)
    return os.waitpid(process, 0)[1], seen.decode().split("\n")[:-1]


def _check(project) -> None:
    """Nothing half-made: the database is sound, and every clip's file is there and whole."""
    with project.db.read() as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    items = project.items()
    for item in items:
        assert hashlib.sha256(project.sound_path(item).read_bytes()).hexdigest() == item.sha256
    assert project.revision == sum(item.state == EXAMPLE for item in items)
    assert {change.clip_id for change in project.history(1000) if change.action == "added"} == {
        item.id for item in items
    }


def _save(folder, report) -> None:
    project = _open(folder)
    for name, data in FILES:
        add_files(project, [(name, data)], "Mara", "dog")
        report(name)


@pytest.mark.parametrize("round_", range(5))
def test_killed_while_saving(folder, round_):
    process, reading = _victim(lambda report: _save(folder, report))
    reported = _kill_after(process, reading, 1 + 3 * round_, random.Random(round_).uniform(0, 0.004))
    with _opened(folder) as project:
        _check(project)
        names = [item.name for item in project.items()]
        assert names[: len(reported)] == reported and len(names) <= len(reported) + 1
        added = add_files(project, FILES, "Mara", "dog")
        assert len(added.clips) == len(FILES) - len(names) and not added.refused
        _check(project)


@pytest.mark.parametrize("moment", ["write", "sync", "rename", "folder sync", "insert", "commit", "after"])
def test_killed_at_each_step_of_saving(folder, moment):
    """The second sound's saving is cut off at one step; the first is reported."""

    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    def work(report):
        project = _open(folder)
        add_files(project, FILES[:1], "Mara", "dog")
        report(FILES[0][0])
        sync, calls = os.fsync, []
        if moment in ("sync", "folder sync"):
            at = 1 if moment == "sync" else 2
            media.os.fsync = lambda handle: (calls.append(1), die() if len(calls) == at else sync(handle))
        elif moment == "write":
            media.uuid.uuid4 = die
        elif moment == "rename":
            media.os.replace = die
        elif moment in ("insert", "commit"):
            start = "INSERT INTO change" if moment == "insert" else "COMMIT"
            last = []  # the connection reports each statement before it runs it; only the writing transaction counts

            def watch(statement):
                last.append(statement)
                if statement.startswith(start) and any(s.startswith("INSERT INTO clip") for s in last):
                    die()

            project.db._connection.set_trace_callback(watch)
        add_files(project, FILES[1:2], "Mara", "dog")
        report(FILES[1][0])
        die()

    status, reported = _rest(*_victim(work))
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert len(reported) == (2 if moment == "after" else 1)
    with _opened(folder) as project:
        _check(project)
        assert [item.name for item in project.items()] == reported
        assert len(add_files(project, FILES[:2], "Mara", "dog").clips) == 2 - len(reported)
        _check(project)


def test_killed_while_embedding(folder, tmp_path, monkeypatch):
    """What a batch made is stored at once; at most the one in hand is lost."""
    monkeypatch.setattr("afcore.teach.loop._TOGETHER", 2)
    with _opened(folder) as project:
        add_files(project, FILES, "Mara", "dog")
    engine = NamedEngine(tmp_path / "bank", pace=0.003)

    def work(report):
        Loop(_open(folder), engine).embed(lambda done, total: report(str(done)))

    left = len(FILES)
    for round_ in range(3):
        reported = _kill_after(*_victim(work), 4, 0.007 * round_)
        with _opened(folder) as project:
            _check(project)
            lacking = len(project.unembedded(engine.features_name, engine.clap.name))
        done = int(reported[-1])
        assert lacking in (left - done, left - done - 2)
        left = lacking
    engine.script.pace = 0
    with _opened(folder) as project:
        loop = Loop(project, engine)
        assert loop.embed() == left > 0
        assert loop.embed() == 0 and len(engine.heard_names) == left
        assert len(loop.examples()) == len(FILES)


def test_killed_while_judging(folder):
    with _opened(folder) as project:
        add_files(project, FILES, "Mara")

    def work(report):
        queue = ReviewQueue(_open(folder))
        while (item := queue.next_clip("Mara")) is not None:
            queue.accept(item.id, "cat", "Mara", item.version)
            report(str(item.id))
            time.sleep(0.01)

    reported = _kill_after(*_victim(work), 7, 0.012)
    with _opened(folder) as project:
        _check(project)
        judged = [str(item.id) for item in project.items(EXAMPLE)]
        assert judged[: len(reported)] == reported and len(judged) <= len(reported) + 1 <= len(FILES)
        # What the dead reviewer had in hand is theirs when they come back, and nobody else's until the lease has run
        # out.
        held = [item.id for item, _ in ReviewQueue(project).in_hands()]
        assert len(held) <= 1 and ReviewQueue(project).next_clip("Jo").id not in held
        assert not held or ReviewQueue(project).next_clip("Mara").id == held[0]


def test_two_processes_never_get_the_same_clip(folder):
    with _opened(folder) as project:
        add_files(project, FILES, "Mara")

    def work(who):
        def review(report):
            queue = ReviewQueue(_open(folder))
            while (item := queue.next_clip(who)) is not None:
                report(str(item.id))
                queue.accept(
                    item.id, "dog", who, item.version
                )  # Changed, and an exit status, if it were somebody else's

        return review

    victims = [_victim(work(who)) for who in ("Mara", "Jo", "Ada")]
    ended = [_rest(*victim) for victim in victims]
    assert [status for status, _ in ended] == [0, 0, 0]
    taken = [clip_id for _, lines in ended for clip_id in lines]
    assert sorted(map(int, taken)) == list(range(1, len(FILES) + 1))
    with _opened(folder) as project:
        _check(project)


def test_two_processes_add_the_same_sounds(folder):
    def work(report):
        added = add_files(_open(folder), FILES, "Mara", "dog")
        report(f"{len(added.clips)} {len(added.refused)}")

    ended = [_rest(*victim) for victim in [_victim(work), _victim(work)]]
    assert [status for status, _ in ended] == [0, 0]
    counts = [list(map(int, lines[0].split())) for _, lines in ended]
    assert sum(clips for clips, _ in counts) == len(FILES) and all(refused == 0 for _, refused in counts)
    with _opened(folder) as project:
        _check(project)
        assert len(project.items()) == len(FILES)


def test_what_was_left_half_written_is_swept_after_an_hour(folder):
    with _opened(folder) as project:
        add_files(project, FILES[:1], "Mara")
    old, new = (folder / "audio" / "ab" / f".partial-{name}" for name in ("old", "new"))
    old.parent.mkdir(exist_ok=True)
    for file in (old, new):
        file.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    abandoned = folder.parent / ".new-1"
    abandoned.mkdir()
    os.utime(abandoned, (time.time() - 7200,) * 2)
    store = Store(folder.parent)
    store.open(folder.name)
    assert not old.exists() and new.exists()
    store.create("Other", ["a"], "Mara")
    assert not abandoned.exists()
