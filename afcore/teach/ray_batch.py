"""The same labelling past one machine, on Ray Data: one actor per device with the model loaded once, results as Parquet.

Each block of files becomes one Parquet file as soon as it is labelled. A worker that dies is started again and its block
labelled afresh by Ray; a run that is cut off altogether goes on from the Parquet files (`read_parts`). Every machine of the
cluster needs this repository, set up, in the same folder, and the sounds and the output under the same path.

Ray is optional: ``.venv/bin/pip install -r requirements-ray.txt -c requirements.lock``.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as parquet

from afcore.errors import AudioError, MissingPart
from afcore.teach.exports import Row
from afcore.teach.predict import Examples

if TYPE_CHECKING:
    from afcore.teach.batch import How, MakeEngine
    from afcore.teach.project import Project

MISSING = "Ray is not installed here: .venv/bin/pip install -r requirements-ray.txt -c requirements.lock adds it."
BLOCK = 16  # files that are labelled before their results are on the disk
SCHEMA = pa.schema([
    ("basis", pa.string()), ("file", pa.string()), ("start", pa.float64()), ("end", pa.float64()), ("label", pa.string()),
    ("probability", pa.float64()), ("by", pa.string()), ("error", pa.string()), ("sha256", pa.string()),
    ("probabilities", pa.string())])  # fmt: skip
"""Fields of `Row`, with ``probabilities`` as JSON; given, so that a block of errors alone has the same types."""


class Snapshot(Examples):
    """Examples with all their features and without their project, to be sent to another machine."""

    def __init__(self, examples: Examples, features_name: str):
        vars(self).update({name: value for name, value in vars(examples).items() if name != "retriever"})  # built anew there
        self._project = None
        self._features = {(i, features_name): examples.features(i, features_name) for i in examples.items}


def _snapshot(project: Project, make_engine: MakeEngine) -> Snapshot:
    """The examples, embedded here; the model is let go again, since the actors have their own."""
    from afcore.teach.batch import prepared

    engine = make_engine()
    return Snapshot(prepared(project, engine), engine.features_name)


class Worker:
    """What an actor holds: the model, loaded once, and the examples."""

    def __init__(self, make_engine: MakeEngine, examples: Snapshot, how: How, basis: str):
        from afcore.teach.batch import Labeller

        self.basis, self.labeller = basis, Labeller(make_engine(), examples, how)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Files (sha256, name, path) -> rows of `SCHEMA`."""
        from afcore.teach.batch import read_sound

        rows: list[Row] = []
        for one in batch.to_pylist():
            try:
                rows += self.labeller.rows(read_sound(Path(one["path"]), one["name"]), one["name"])
            except AudioError:  # gone since the run began: the next run will see
                continue
        return to_table(rows, self.basis)


def label_with_ray(
    files: Sequence[tuple[str, str, str]], project: Project, make_engine: MakeEngine, how: How, basis: str, parts: Path,
    address: str,
) -> None:  # fmt: skip
    """Labels ``files`` (sha256, name, path) into Parquet files in the folder ``parts``, on a cluster or "local".

    Raises MissingPart without Ray or where the cluster cannot be reached, and as `batch.prepared`.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingPart(MISSING) from error
    examples = _snapshot(project, make_engine)
    _connect(ray, address)
    try:
        actors, share = _devices(ray)
        rows = [dict(zip(("sha256", "name", "path"), file)) for file in files]
        blocks = max(1, -(-len(rows) // BLOCK))
        # By itself Ray Data starts an actor that died again and repeats its task, however often (max_restarts and
        # max_task_retries of -1); naming them here is deprecated.
        labelled = ray.data.from_items(rows, override_num_blocks=blocks).map_batches(
            Worker, batch_size=BLOCK, batch_format="pyarrow", compute=ray.data.ActorPoolStrategy(size=min(actors, blocks)),
            fn_constructor_args=(make_engine, examples, how, basis), **share)  # fmt: skip
        labelled.write_parquet(str(parts.resolve()))
    finally:
        ray.shutdown()


def to_table(rows: Sequence[Row], basis: str) -> pa.Table:
    """Rows as `SCHEMA` says."""
    columns: dict[str, list[Any]] = {field.name: [getattr(row, field.name) for row in rows] for field in fields(Row)}
    columns["probabilities"] = [json.dumps(p, ensure_ascii=False) for p in columns["probabilities"]]
    return pa.table({"basis": [basis] * len(rows)} | columns, schema=SCHEMA)


def read_parts(parts: Path, basis: str) -> dict[str, list[Row]]:
    """sha256 -> rows of the files that were labelled on that basis. A Parquet file that was cut off is passed over."""
    found: dict[str, list[Row]] = {}
    for file in sorted(parts.rglob("*.parquet")):
        try:
            table = parquet.read_table(file, schema=SCHEMA)
        except (pa.ArrowInvalid, OSError):
            continue
        here: dict[str, list[Row]] = {}
        for values in table.to_pylist():
            if values.pop("basis") == basis:
                values["probabilities"] = json.loads(values["probabilities"])
                here.setdefault(values["sha256"], []).append(Row(**values))
        found = here | found  # all of a sound is in one block, and a block that was written twice counts once
    return found


def _connect(ray: Any, address: str) -> None:
    """Starts Ray here for "local", else joins the cluster."""
    if address == "local":
        # Two at least: an actor takes one, and reading and writing need another.
        ray.init(num_cpus=max(2, os.cpu_count() or 1), include_dashboard=False, log_to_driver=False,
                 logging_level=logging.WARNING)  # fmt: skip
        return
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    except (ConnectionError, ValueError) as error:
        raise MissingPart(f"There is no Ray cluster at {address}.") from error


def _devices(ray: Any) -> tuple[int, dict[str, float]]:
    """How many actors there are, and what each takes: a GPU, or where there are none all processors of a machine but one,
    which is left for reading and writing."""
    gpus = int(ray.cluster_resources().get("GPU", 0))
    if gpus:
        return gpus, {"num_gpus": 1}
    machines = [node["Resources"]["CPU"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    return len(machines), {"num_cpus": max(1, int(min(machines)) - 1)}
