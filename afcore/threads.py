"""How many threads compute: as many as the process may really have cores, and none that spins while it waits.

Call `settle` before torch is imported, which reads these settings once. OpenMP's threads wait for each other some
thousand times in a sentence. By default they spin while they wait, and where another process has one of the cores, that
one's share is spent spinning: an answer took 4 to 17 times as long beside two busy processes, against 2 times with
threads that sleep.
"""

import os
from collections.abc import MutableMapping
from math import ceil
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
MOST = 16  # beyond that a sentence's small products gain nothing


def settle(environment: MutableMapping[str, str] = os.environ) -> int:
    """Set how the libraries compute in this process, and in those that it starts, unless somebody has set it; returns
    the number of threads."""
    environment.setdefault("OMP_NUM_THREADS", str(min(cores(), MOST)))
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    threads = environment["OMP_NUM_THREADS"].split(",")[0]
    for name in ("MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        environment.setdefault(name, threads)
    environment.setdefault("OPENBLAS_NUM_THREADS", "1")  # its pool would stand beside OpenMP's
    environment.setdefault("TOKENIZERS_PARALLELISM", "false")
    return int(threads) if threads.isdigit() else cores()


def cores(cgroup: Path = _CGROUP) -> int:
    """Cores that this process may use: those it may run on, and no more than its control group's share of time."""
    may = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = _share(cgroup)
    return max(1, may if share is None else min(may, ceil(share)))


def _share(cgroup: Path) -> float | None:
    """Cores' worth of time that the control group gives, by version 2 or 1 of its files; None where it sets no
    limit."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()[:2]
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text()
        except OSError:
            return None
    try:
        share = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # "max"
        return None
    return share if share > 0 else None
