"""A Ray cluster that this machine is part of, or one of this machine alone: found, joined, its devices, and what went
wrong on it in one sentence. What is done on it stands with the work: `afcore.teach.ray_batch`,
`afcore.corpus.ray_captioning`.

Ray is optional: ``.venv/bin/pip install --no-deps --require-hashes -r requirements-ray.lock``.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from afcore.errors import MissingPart

MISSING = (
    "Ray is not installed here: .venv/bin/pip install --no-deps --require-hashes -r requirements-ray.lock adds it."
)
SECONDS = 5.0  # that a cluster may take to answer
_UNREACHED = "see that `ray start` runs on this machine and that the address is right"
_OWN = re.compile(r"^(?:.*: )?afcore\.[\w.]+: (.+)$", re.MULTILINE)
_IMPORT = re.compile(r"ModuleNotFoundError: No module named '([\w.]+)'")


def found(address: str) -> ModuleType:
    """Ray, for the cluster at ``address`` ("local": this machine alone, nothing to be found).

    Raises MissingPart without Ray, and where no cluster answers: Ray itself would try for many minutes.
    """
    try:
        ray = importlib.import_module("ray")
        importlib.import_module("ray.data")
    except ImportError as error:
        raise MissingPart(MISSING) from error
    _find(address)
    return ray


def here() -> str:
    """This machine, as a worker of it says."""
    return f"The machine {socket.gethostname()} of the Ray cluster"


def check_folders(folders: Sequence[Path]) -> None:
    """Raises MissingPart on a machine that does not see one of ``folders``."""
    for folder in folders:
        if not folder.is_dir():
            raise MissingPart(f"{here()} does not see the folder {folder}: every machine needs it under the same path.")


def _find(address: str) -> None:
    if address == "local":
        return
    if "://" in address:
        raise MissingPart(f"Give the Ray cluster's own address, HOST:6379 for instance, instead of {address}.")
    from ray._private.services import canonicalize_bootstrap_address  # no public function resolves "auto"

    try:
        resolved = canonicalize_bootstrap_address(address) or ""
        host, _, port = resolved.rpartition(":")
        with socket.create_connection((host.strip("[]"), int(port)), SECONDS) as connection:
            # What speaks gRPC answers the opening of HTTP/2 with a frame of settings (RFC 9113, 3.4 and 4.1: type 4).
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
            if connection.recv(9)[3:4] != b"\x04":
                raise ConnectionError("something else answers")
    except (OSError, ValueError, OverflowError) as error:
        raise MissingPart(f"There is no Ray cluster at {address}: {_UNREACHED}.") from error


@contextmanager
def joined(ray: ModuleType, address: str) -> Iterator[None]:
    """Starts Ray here for "local", else joins the cluster; lets go of it in the end. Raises MissingPart where that
    fails, and for what is raised by workers meanwhile."""
    # Two processors at least: an actor takes one, and reading and writing need another.
    more = {"num_cpus": max(2, os.cpu_count() or 1), "include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING, **more)
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: another version of Ray or Python
        why = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else _UNREACHED
        raise MissingPart(f"Ray at {address} could not be joined: {why}.") from error
    try:
        with sentences():
            yield
    finally:
        ray.shutdown()


def mapped(ray: ModuleType, files: Sequence[tuple[str, str, str]], worker: type, work: Any, block: int) -> Any:
    """The Ray dataset of what ``worker``, one actor per device made with ``work``, gives for ``files`` (sha256, name,
    path), ``block`` of them at a time, as a table.

    By itself Ray Data starts an actor that died again and repeats its task, however often (max_restarts and
    max_task_retries of -1); naming them here is deprecated.
    """
    actors, share = _devices(ray)
    rows = [dict(zip(("sha256", "name", "path"), file, strict=True)) for file in files]
    blocks = max(1, -(-len(rows) // block))
    return ray.data.from_items(rows, override_num_blocks=blocks).map_batches(
        worker,
        batch_size=block,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=min(actors, blocks)),
        fn_constructor_args=(work,),
        **share,
    )


@contextmanager
def sentences() -> Iterator[None]:
    """What a worker raised, as one sentence: its own where it is an `AfcoreError` (Ray hands on only its traceback)."""
    from ray.exceptions import RayError

    try:
        yield
    except RayError as error:
        text = str(error)
        if own := _OWN.findall(text):
            raise MissingPart(own[-1]) from error
        if missing := _IMPORT.search(text):
            raise MissingPart(
                f"A machine of the Ray cluster cannot import {missing[1]}: every machine needs this repository, set "
                "up, in the same folder."
            ) from error
        why = text.strip().splitlines()[-1].strip().rstrip(".")
        raise MissingPart(f"The run on Ray broke off ({why}); the same command goes on from there.") from error


def _devices(ray: ModuleType) -> tuple[int, dict[str, float]]:
    """How many actors there are, and what each takes: a GPU, or where there are none all processors of a machine but
    one, which is left for reading and writing."""
    gpus = int(ray.cluster_resources().get("GPU", 0))
    if gpus:
        return gpus, {"num_gpus": 1}
    machines = [node["Resources"]["CPU"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    return len(machines), {"num_cpus": max(1, int(min(machines)) - 1)}
