"""The processes of a training run: rank, agreement and gathering."""

from __future__ import annotations

import os
import random
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

#: Process group -> its gloo group, which communicates over the CPU whatever the gradients' backend is.
_control: dict[int, dist.ProcessGroup] = {}


def rank() -> int:
    """This process's rank; 0 without a process group."""
    return dist.get_rank() if is_distributed() else 0


def world_size() -> int:
    """The number of processes that train together."""
    return dist.get_world_size() if is_distributed() else 1


def rows_of_all_ranks(tensor: torch.Tensor) -> torch.Tensor:
    """(B, …) of every rank, of one shape -> (ranks * B, …) in rank order; gradients return to where they came from."""
    if world_size() == 1:
        return tensor
    if tensor.requires_grad:
        from torch.distributed.nn.functional import all_gather

        return torch.cat(all_gather(tensor.contiguous()))
    gathered = [torch.empty_like(tensor) for _ in range(world_size())]
    dist.all_gather(gathered, tensor.contiguous())
    return torch.cat(gathered)


def is_first_rank() -> bool:
    """Whether this process logs and saves."""
    return rank() == 0


def is_distributed() -> bool:
    """Whether a process group is initialised."""
    return dist.is_available() and dist.is_initialized()


def start_ranks() -> None:
    """Join the process group that ``torchrun`` describes, or ``srun`` with MASTER_ADDR and MASTER_PORT set.

    NCCL with CUDA, else gloo. Does nothing if the group is already initialised.
    """
    if is_distributed():
        return
    for name, of_slurm in (("RANK", "PROCID"), ("LOCAL_RANK", "LOCALID"), ("WORLD_SIZE", "NTASKS")):
        if name not in os.environ and f"SLURM_{of_slurm}" in os.environ:
            os.environ[name] = os.environ[f"SLURM_{of_slurm}"]
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group("nccl")
    else:
        dist.init_process_group("gloo")


def seed_rank(seed: int) -> None:
    """Seed every process differently, for dropout; call it after the models are initialised, identically on all."""
    own = int(np.random.SeedSequence([seed, rank()]).generate_state(1)[0])
    random.seed(own)
    np.random.seed(own)
    torch.manual_seed(own)


def control_group() -> dist.ProcessGroup | None:
    """A gloo group for exchanging a few numbers without waiting for a GPU; the first call is collective."""
    if not is_distributed():
        return None
    world = dist.group.WORLD
    if dist.get_backend() == "gloo":
        return world
    if id(world) not in _control:
        _control[id(world)] = dist.new_group(backend="gloo")
    return _control[id(world)]


def of_all_ranks(value: Any) -> list[Any]:
    """The values of all processes, in rank order. Collective; for plain values and CPU tensors."""
    if world_size() == 1:
        return [value]
    gathered: list[Any] = [None] * world_size()
    dist.all_gather_object(gathered, value, group=control_group())
    return gathered


def any_rank(flag: bool) -> bool:
    """Whether ``flag`` is true on any process. Collective."""
    if world_size() == 1:
        return flag
    highest = torch.tensor(int(flag))
    dist.all_reduce(highest, op=dist.ReduceOp.MAX, group=control_group())
    return bool(highest)


def of_first_rank(value: Any) -> Any:
    """The value of the first process. Collective; for plain values only."""
    if world_size() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0, group=control_group())
    return values[0]
