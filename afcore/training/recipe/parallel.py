"""One process or many: PyTorch's FSDP shards parameters, gradients and optimiser state over the processes that
`torchrun` or `accelerate launch` started. On CPUs it runs over gloo, which is how it is tested; on GPUs over NCCL.

PyTorch's own `fully_shard` is called, since `accelerate.Accelerator` turns its FSDP plugin on for accelerators only and
would run two CPU processes by other code than many GPUs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from afcore.errors import MissingPart
from afcore.model.flamingo import block_of, decoder_layers
from afcore.training.recipe.network import AnswerLoss

PATIENCE = timedelta(hours=2)  # how long the others wait while the first process writes a stage's weights


@dataclass(frozen=True)
class World:
    """The processes of a run, and this one's place and device among them."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        return self.rank == 0

    def sum(self, *values: float) -> list[float]:
        """Each value summed over the processes, in float64."""
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        if self.size > 1:
            dist.all_reduce(total)
        return total.tolist()

    def wait(self) -> None:
        """Until every process is here."""
        self.sum(0.0)


def join(device: str | None = None) -> World:
    """Joins the processes that the environment names (as torchrun and accelerate set it): RANK, WORLD_SIZE, LOCAL_RANK,
    MASTER_…"""
    rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if kind == "cuda":
        if not torch.cuda.is_available():
            raise MissingPart("The config asks for CUDA, but there is no such device here.")
        where = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(where)
    else:
        where = torch.device("cpu")
    if size > 1 and not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo", timeout=PATIENCE)
    return World(rank, size, where)


def leave() -> None:
    """Ends what `join` began."""
    if dist.is_initialized():
        dist.destroy_process_group()


def shard(net: AnswerLoss, world: World) -> AnswerLoss:
    """Moves `net` to the device and, where there are several processes, shards it: each decoder layer with its
    cross-attention block, the block's key-value map by itself (it runs before the layers do), the audio transformer,
    and all else as the root."""
    net.to(world.device)
    if world.size == 1:
        return net
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(world.device.type, (world.size,))
    units: list[nn.Module] = [net.model.audio_transformer]
    for layer in decoder_layers(net.model.language_model):
        if (block := block_of(layer)) is not None:
            units.append(block.attn.to_kv)
        units.append(layer)
    for unit in units:
        fully_shard(unit, mesh=mesh)
    # The root too gives its parameters back after the forward pass, so that an evaluation leaves nothing unsharded
    # behind.
    fully_shard(net, mesh=mesh, reshard_after_forward=True)
    return net


def whole(value: Tensor) -> Tensor:
    """A parameter or a moment, put together from its shards: every process must ask for it at the same time."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def like(value: Tensor, parameter: Tensor) -> Tensor:
    """`value`, the same in every process, on the device and in the shards of `parameter`."""
    value = value.to(parameter.device)
    if isinstance(parameter, DTensor):
        return distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None)
    return value
