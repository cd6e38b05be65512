"""Which CLAP finds the neighbours, by name, for any engine: mini CLAP, LAION-CLAP, `transformers`' CLAP in a folder."""

from __future__ import annotations

from pathlib import Path

import torch

from afcore.clap import Clap
from afcore.clap.folder import FolderClap
from afcore.clap.laion import LaionClap
from afcore.engine.engine import Engine
from afcore.errors import BadRequest
from afcore.published.engines import EarClap, own_bank
from afcore.published.folders import LAION, MINI, laion_file


def clap_of(name: str, device: str | torch.device = "cpu") -> Clap:
    """``mini``, ``laion`` (the checkpoint that `get` fetched), a checkpoint of LAION-CLAP (``.pt``), or the folder of a
    CLAP of `transformers`.

    Raises BadRequest for a name that is none of these, MissingPart and CheckpointError as the CLAPs do.
    """
    if name == MINI:
        return EarClap()
    if name == LAION:
        return LaionClap(laion_file(), device)
    place = Path(name).expanduser()
    if place.is_dir():
        return FolderClap(place, device)
    if place.suffix == ".pt" and place.is_file():
        return LaionClap(place, device)
    raise BadRequest(
        f"There is no CLAP “{name}”: choose mini, laion, a LAION-CLAP checkpoint (.pt), or the folder of a CLAP of "
        "transformers."
    )


def found_by(engine: Engine, name: str) -> Engine:
    """``engine`` with neighbours that the CLAP ``name`` finds (`clap_of`); labels are judged as before.

    The shipped bank is only read, so that its copy in the data folder takes the vectors. Raises as `clap_of`.
    """
    clap = clap_of(name, engine.device)
    if clap.name == engine.own_clap_name:
        return engine.found_by(None, engine.bank)
    return engine.found_by(clap, own_bank() if engine.bank is not None else None)
