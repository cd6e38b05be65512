"""The same labelling past one machine, on Ray Data: one actor per device with the model loaded once, results as
Parquet.

Each block of files becomes one Parquet file as soon as it is labelled. A worker that dies is started again and its
block labelled afresh by Ray; a run that is cut off altogether goes on from the Parquet files (`read_parts`). Every
machine of the cluster needs this repository, set up, in the same folder, and the sounds and the output under the same
path.

A worker checks that it has the driver's weights and sees its folders before it labels anything.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as parquet

from afcore.audio.recording import read_file
from afcore.engine import ray_cluster
from afcore.errors import AudioError, MissingPart
from afcore.published.weights import check_same, weights_of
from afcore.teach.exports import LabelledSpan
from afcore.teach.labeller import FileLabeller, How, MakeEngine, prepared
from afcore.teach.predict import Examples

if TYPE_CHECKING:
    from afcore.engine.engine import Engine
    from afcore.teach.project import Project

BLOCK = 16  # files that are labelled before their results are on the disk
SCHEMA = pa.schema(
    [
        ("basis", pa.string()),
        ("file", pa.string()),
        ("start", pa.float64()),
        ("end", pa.float64()),
        ("label", pa.string()),
        ("probability", pa.float64()),
        ("by", pa.string()),
        ("error", pa.string()),
        ("sha256", pa.string()),
        ("probabilities", pa.string()),
        ("notices", pa.string()),
        ("silent", pa.bool_()),
    ]
)
"""Fields of `LabelledSpan`, with ``probabilities`` and ``notices`` as JSON; given,
so that a block of errors alone has the same
types."""


class Snapshot(Examples):
    """Examples with all their features and without their project, to be sent to another machine."""

    def __init__(self, examples: Examples, features_name: str):
        vars(self).update(
            {name: value for name, value in vars(examples).items() if name != "retriever"}
        )  # built anew there
        self._project = None
        self._features = {(i, features_name): examples.features(i, features_name) for i in examples.items}
        self.embedded_by = features_name, self._clap

    def fits(self, engine: Engine) -> bool:
        """Whether they were embedded by the encoder and the CLAP that ``engine`` has."""
        return (engine.features_name, engine.clap.name) == self.embedded_by


@dataclass(frozen=True)
class Work:
    """What is the same for all workers. ``weights``: the driver's, see `weights_of`; ``folders``: what a worker has to
    see under the same path, the sounds and a folder that this run has just made for its results."""

    make_engine: MakeEngine
    examples: Snapshot
    how: How
    basis: str
    model: str
    weights: str
    folders: tuple[Path, ...]


class Worker:
    """What an actor holds: the model, loaded once, and the examples.

    Raises MissingPart on a machine that has other weights than the driver, none, or not its folders.
    """

    def __init__(self, work: Work):
        ray_cluster.check_folders(work.folders)
        check_same(work.model, work.weights, ray_cluster.here())
        engine = work.make_engine()
        if not work.examples.fits(engine):
            raise MissingPart(
                f"{ray_cluster.here()} hears {work.model} by another encoder or CLAP than this one: set both up alike."
            )
        self.basis, self.labeller = work.basis, FileLabeller(engine, work.examples, work.how)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Files (sha256, name, path) -> rows of `SCHEMA`."""
        rows: list[LabelledSpan] = []
        for one in batch.to_pylist():
            try:
                rows += self.labeller.rows(read_file(Path(one["path"]), one["name"]), one["name"])
            except AudioError:  # gone since the run began: the next run will see
                continue
        return to_table(rows, self.basis)


def label_with_ray(
    files: Sequence[tuple[str, str, str]],
    folder: Path,
    project: Project,
    make_engine: MakeEngine,
    how: How,
    model: str,
    basis: str,
    parts: Path,
    address: str,
) -> None:
    """Labels ``files`` (sha256, name, path) of ``folder`` into Parquet files in the folder ``parts``.

    ``address``: of a cluster that this machine is part of, or "local".
    Raises MissingPart without Ray, where the cluster cannot be reached, where a machine of it lacks something and where
    the run breaks off, and as `labeller.prepared`.
    """
    weights = weights_of(model)
    ray = ray_cluster.found(address)  # before the model is loaded for the examples
    engine = make_engine()
    examples = Snapshot(prepared(project, engine, how.settings), engine.features_name)
    del engine  # the actors have their own
    parts.mkdir(exist_ok=True)
    with (
        ray_cluster.joined(ray, address),
        tempfile.TemporaryDirectory(prefix=".run-", dir=parts.resolve()) as run,
    ):
        work = Work(make_engine, examples, how, basis, model, weights, (folder.resolve(), Path(run)))
        ray_cluster.mapped(ray, files, Worker, work, BLOCK).write_parquet(str(parts.resolve()))


_AS_JSON = ("probabilities", "notices")


def to_table(rows: Sequence[LabelledSpan], basis: str) -> pa.Table:
    """Rows as `SCHEMA` says."""
    columns: dict[str, list[Any]] = {
        field.name: [getattr(row, field.name) for row in rows] for field in fields(LabelledSpan)
    }
    for name in _AS_JSON:
        columns[name] = [json.dumps(value, ensure_ascii=False) for value in columns[name]]
    return pa.table({"basis": [basis] * len(rows)} | columns, schema=SCHEMA)


def read_parts(parts: Path, basis: str) -> dict[str, list[LabelledSpan]]:
    """sha256 -> rows of the files that were labelled on that basis. A Parquet file that was cut off is passed over."""
    found: dict[str, list[LabelledSpan]] = {}
    for file in sorted(parts.rglob("*.parquet")):
        try:
            table = parquet.read_table(file, schema=SCHEMA)
        except (pa.ArrowInvalid, OSError):
            continue
        here: dict[str, list[LabelledSpan]] = {}
        for values in table.to_pylist():
            if values.pop("basis") == basis:
                values |= {name: json.loads(values[name]) for name in _AS_JSON}
                here.setdefault(values["sha256"], []).append(LabelledSpan(**values))
        found = here | found  # all of a sound is in one block, and a block that was written twice counts once
    return found
