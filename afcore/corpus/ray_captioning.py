"""The same captions past one machine, on Ray Data: one actor per device with the model loaded once.

Results come back block by block and are noted by whoever began the run (`afcore.corpus.captioning`): a worker that dies
is started again and its block drawn afresh by Ray, a run that is cut off goes on from what was noted. Every machine of
the cluster needs this repository, set up, in the same folder, and sees the sounds under the same path; a worker checks
its weights and the folder first. A caption depends on its sound and the settings alone, not on who drew it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afcore.corpus.drawn_captions import Drawing, drawn
from afcore.engine import ray_cluster
from afcore.published.weights import check_same

if TYPE_CHECKING:
    import pyarrow as pa

    from afcore.engine.engine import Engine

BLOCK = 4  # files whose captions come back together


@dataclass(frozen=True)
class Work:
    """What is the same for all workers. ``weights``: the driver's; ``folder``: that of the sounds."""

    make_engine: Callable[[], Engine]
    drawing: Drawing
    model: str
    weights: str
    folder: Path


class Worker:
    """What an actor holds: the model, loaded once. Raises MissingPart on a machine that has other weights than the
    driver, none, or not its folder."""

    def __init__(self, work: Work):
        ray_cluster.check_folders((work.folder,))
        check_same(work.model, work.weights, ray_cluster.here())
        self.engine, self.drawing = work.make_engine(), work.drawing

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Files (sha256, name, path) -> one record of JSON each, as `drawn_captions.drawn` has it."""
        import pyarrow as pa

        records = []
        for one in batch.to_pylist():
            found = drawn(self.engine, Path(one["path"]), one["name"], one["sha256"], self.drawing)
            records.append(json.dumps({"sha256": one["sha256"], **found}, ensure_ascii=False))
        return pa.table({"record": records})


def with_ray(files: Sequence[tuple[str, str, str]], work: Work, address: str) -> Iterator[dict[str, Any]]:
    """Records of ``files`` (sha256, name, path), as they come back. ``address``: of a cluster that this machine is part
    of, or "local".

    Raises MissingPart without Ray, where the cluster cannot be reached, where a machine of it lacks something and where
    the run breaks off.
    """
    ray = ray_cluster.found(address)
    with ray_cluster.joined(ray, address):
        for row in ray_cluster.mapped(ray, files, Worker, work, BLOCK).iter_rows():
            yield json.loads(row["record"])
