"""Checkpoints of a running stage: `safetensors` and JSON, nothing pickled.

    DIR/STAGE/state/step-00000500/   model.safetensors       what the stage trains
                                     optimiser.safetensors   AdamW's moments and step counts, "NAME|exp_avg" …
                                     state.json              step, samples drawn, seed, fingerprint

All that is random in a run follows from the seed and the number of the step or sample, so these numbers are its whole
state. A checkpoint appears under its name when it is complete; the newest two are kept."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import torch
from torch import Tensor, nn

from afcore.errors import BadRequest, MissingPart
from afcore.training.recipe.network import plain_name
from afcore.training.recipe.parallel import World, like, whole

KEPT = 2
SCALARS = ("step",)  # of AdamW's state: the same number in every process


def newest(folder: Path) -> Path | None:
    """The last complete checkpoint in a stage's `state` folder."""
    found = sorted(p for p in folder.glob("step-*") if (p / "state.json").is_file() and not p.name.endswith(".partial"))
    return found[-1] if found else None


def trained(net: nn.Module) -> dict[str, nn.Parameter]:
    """What the optimiser changes, by plain name."""
    return {plain_name(name): p for name, p in net.named_parameters() if p.requires_grad}


def kept(net: nn.Module, buffers: bool) -> dict[str, Tensor]:
    """What a checkpoint holds of `net`, by plain name: what is trained and, where `buffers` is set, what it counts as
    it trains, such as batch norms' statistics."""
    counted = dict(net.named_buffers()) if buffers else {}
    return trained(net) | {plain_name(name): value for name, value in counted.items()}


def save(
    folder: Path,
    net: nn.Module,
    optimiser: torch.optim.Optimizer,
    facts: dict,
    world: World,
    buffers: bool = False,
) -> None:
    """Every process calls it; the first writes. `facts`: JSON, with the number of steps done under "step"; `buffers`:
    as in `kept`."""
    from safetensors.torch import save_file

    parameters: dict[str, Tensor] = {}
    moments: dict[str, Tensor] = {}

    def put(place: dict[str, Tensor], key: str, value: Tensor) -> None:
        value = whole(value.detach())
        if world.first:
            place[key] = value.cpu().clone().contiguous()

    for name, value in kept(net, buffers).items():
        put(parameters, name, value)
    for name, parameter in trained(net).items():
        for key, value in optimiser.state.get(parameter, {}).items():
            put(moments, f"{name}|{key}", value)
    if world.first:
        target = folder / f"step-{facts['step']:08d}"
        partial = target.with_name(target.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_file(parameters, partial / "model.safetensors")
        save_file(moments, partial / "optimiser.safetensors")
        (partial / "state.json").write_text(json.dumps(facts, indent=1))
        shutil.rmtree(target, ignore_errors=True)
        os.replace(partial, target)
        for old in sorted(folder.glob("step-*[0-9]"))[:-KEPT]:
            shutil.rmtree(old)
    world.wait()


def facts_of(checkpoint: Path, fingerprint: str) -> dict:
    """Its `state.json`. Raises BadRequest where it belongs to other settings or data."""
    facts = json.loads((checkpoint / "state.json").read_text())
    if facts["fingerprint"] != fingerprint:
        raise BadRequest(
            f"The checkpoint {checkpoint} was made with other settings or data: give another --work folder, or "
            "delete this one."
        )
    return facts


def load_parameters(checkpoint: Path, net: nn.Module, buffers: bool = False) -> None:
    """Fills `net`, not sharded yet; `buffers` as in `save`. Raises MissingPart where the checkpoint is damaged or of
    another model."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(checkpoint / "model.safetensors")
    except (OSError, SafetensorError) as error:
        raise MissingPart(
            f"The checkpoint {checkpoint} is damaged: delete it, and the run goes on from the one before."
        ) from error
    parameters = kept(net, buffers)
    if state.keys() != parameters.keys() or any(state[n].shape != p.shape for n, p in parameters.items()):
        raise MissingPart(f"The checkpoint {checkpoint} is of another model: give another --work folder.")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(state[name])


def load_optimiser(checkpoint: Path, net: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Fills the optimiser of `net`, sharded or not, by however many processes the checkpoint was written."""
    from safetensors import safe_open

    parameters = trained(net)
    with safe_open(checkpoint / "optimiser.safetensors", "pt") as file:
        names = list(file.keys())
        for key in names:
            name, _, moment = key.rpartition("|")
            value, parameter = file.get_tensor(key), parameters[name]
            optimiser.state[parameter][moment] = value if moment in SCALARS else like(value, parameter)
