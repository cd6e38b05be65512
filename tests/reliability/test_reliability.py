"""Short forms of ``python -m afcore.reliability``: they pass here, and each would say so if something broke."""

import json
import os
import subprocess
import sys
import time

import pytest
from fakes import FakeEngine
from media import chirps, encode

from afcore.errors import BadRequest
from afcore.reliability import __main__ as command
from afcore.reliability import faults, fuzz, waits
from afcore.reliability.soak import soak
from afcore.retrieval.bank import Bank

# Python 3.12 warns of a fork beside threads, which other tests may have left; the forked processes use none of them.
pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


def test_bad_files_are_taken_or_refused_in_a_sentence():
    """In a process of its own: what the readers hold is counted from what it holds already."""
    asked = [sys.executable, "-m", "afcore.reliability", "fuzz", "--files", "40", "--seed", "1", "--json"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    assert done.returncode == 0 and found["broken"] == [] and found["taken"] + found["refused"] == 40


def test_the_same_number_makes_the_same_file(tmp_path):
    good = {"wav": b"RIFF" + bytes(range(256)) * 4, "zip": b"PK\x03\x04" + bytes(500)}
    assert [fuzz.made(good, 3, n) for n in range(20)] == [fuzz.made(good, 3, n) for n in range(20)]
    assert len({fuzz.made(good, 3, n) for n in range(20)}) > 15


def _dies(data, folder):
    os._exit(3)


def _writes(data, folder):
    (folder.parent / "elsewhere").write_text("x")
    raise BadRequest("It is refused, in a sentence.")


@pytest.mark.parametrize(
    ("reader", "words"),
    [
        (lambda data, folder: 1 / 0, "ZeroDivisionError"),
        (_dies, "file 0"),
        (lambda data, folder: time.sleep(60), "file 0"),
        (_writes, "elsewhere"),
    ],
    ids=["error", "crash", "hang", "outside"],
)
def test_what_breaks_a_reader_is_told(reader, words, monkeypatch):
    monkeypatch.setattr(fuzz, "READERS", dict.fromkeys(fuzz.READERS, reader))
    monkeypatch.setattr(fuzz, "HANG", 2.0)
    monkeypatch.setattr(fuzz, "MOST_MB", 10**6)  # this process has run other tests before
    found = fuzz.fuzz(1)
    assert len(found["broken"]) == 1 and words in found["broken"][0]


def test_after_each_fault_the_data_is_whole():
    found = faults.inject(
        ["killed-while-saving", "disk-full", "read-only", "gpu-gone", "database-locked", "clock-jumps"]
    )
    assert found["broken"] == [] and found["faults"] == 6


def test_data_that_is_not_whole_is_told(monkeypatch):
    def loses(folder):
        made = faults._with_project(folder)
        next(made.glob("audio/*/*")).unlink()
        return "nothing"

    monkeypatch.setitem(faults.FAULTS, "loses", loses)
    found = faults.inject(["loses"])
    assert "not whole" in found["broken"][0] and "is missing" in found["broken"][0]


@pytest.mark.parametrize("pace", [0.01, 0.4])
def test_sessions_are_stopped_and_closed(pace, tmp_path):
    """At 0.4 s a word the made-up engine hears of a stop no sooner than after a word: still within a second."""
    engine = FakeEngine(Bank(tmp_path / "bank", create=True), pace=pace, caption="a bell")
    found = soak(3, 6, engine=engine)
    told = [said for said in found["broken"] if "memory" not in said]  # of a process that runs other tests
    assert told == [] and found["rounds"] == 6 and found["closed tabs free the model after, s"] is not None


def test_the_command_says_what_it_found(capsys):
    assert command.main(["faults", "--only", "clock-jumps", "--json"]) == 0
    assert '"broken": []' in capsys.readouterr().out
    with pytest.raises(SystemExit):
        command.main(["faults", "--only", "rain"])


def test_every_action_is_timed_alone_and_beside_a_busy_process(tmp_path):
    (tmp_path / "bell").mkdir()
    (tmp_path / "bell" / "bell.wav").write_bytes(encode(chirps(1.0, 16_000), 16_000))
    found = waits.measure(2, 1, engine=FakeEngine(Bank.from_folder(tmp_path)))
    for name in waits.ACTIONS:
        assert found[f"{name}, s"] >= 0 and f"{name} beside busy processes, s" in found
        told = [said for said in found["broken"] if said.startswith(name)]
        assert bool(told) == (found[f"{name}, times as long"] > waits.MOST)
    assert found["busy processes"] == 1 and found["cores"] >= 1
