"""Threads: by the cores that the process may use, set before torch reads it, and what somebody has set stays."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from afcore import threads

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    "files, wanted",
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
    ],
)
def test_cores_are_those_that_affinity_and_control_group_give(tmp_path, files, wanted):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert threads.cores(tmp_path) == (wanted or len(os.sched_getaffinity(0)))


def test_what_somebody_has_set_stays_and_waiting_threads_sleep():
    environment = {"OMP_NUM_THREADS": "3"}
    assert threads.settle(environment) == 3
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE" and environment["NUMBA_NUM_THREADS"] == "3"


@pytest.mark.parametrize("entry", ["pages/frame.py", "afcore/__main__.py"])
def test_both_entries_settle_it_before_torch_is_there(entry):
    code = f"""
import os, runpy, sys
class Watch:
    def find_spec(self, name, *rest):
        if name == "torch":
            print("set" if os.environ.get("OMP_WAIT_POLICY") == "PASSIVE" else "too late")
            os._exit(0)
sys.meta_path.insert(0, Watch())
sys.argv = ["afcore", "--help"]
runpy.run_path({entry!r}, run_name="__main__")
"""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=clean, capture_output=True, text=True)
    assert said.stdout.split() == ["set"], said.stderr
