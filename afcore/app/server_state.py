"""What runs here, for whoever looks after the server: versions, weights, the queue, memory."""

from __future__ import annotations

import platform
import time
from importlib import metadata
from typing import TYPE_CHECKING

import psutil

from afcore._version import __version__
from afcore.published import sums
from afcore.published.weights import folder_of, weights_of

if TYPE_CHECKING:
    from afcore.engine.engine import Engine

PACKAGES = ("torch", "transformers", "streamlit", "av", "numpy", "faiss-cpu", "huggingface-hub", "safetensors")
_DIGITS = 16  # of a SHA-256: 64 do not fit beside a name on a screen


def versions() -> dict[str, str]:
    """Of the program, Python and the packages that matter most."""
    found = {"afcore": __version__, "Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def weights(name: str) -> dict[str, str]:
    """The model's weights as they are on the disk: a short hash of all, the first digits of each file's
    recorded one, and what is wrong."""
    folder, found = folder_of(name), {"all together": weights_of(name)}
    if (folder / sums.NAME).is_file():
        for line in (folder / sums.NAME).read_text(encoding="utf-8").splitlines():
            sha, _, file = line.partition("  ")
            found[file] = sha[:_DIGITS]
        found["files as recorded"] = " ".join(sums.differing(folder)) or "yes"
    return found


def process(engine: Engine | None) -> dict[str, str]:
    """Memory, running time, and how many hold the model or wait for it."""
    own = psutil.Process()
    up = time.time() - own.create_time()
    found = {
        "memory": f"{own.memory_info().rss / 2**20:,.0f} MB",
        "running for": f"{up / 60:.0f} min" if up < 2 * 3600 else f"{up / 3600:.1f} h",
        "threads": str(own.num_threads()),
    }
    if engine is not None:
        found |= {"model": engine.name, "computes on": str(engine.device), "queue": str(len(engine.turns))}
    return found
