"""One network on several processes: replicated (DDP) or sharded (FSDP2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from medvlp_toolkit.engines.ranks import is_distributed


def on_device(
    network: nn.Module, device: torch.device | str, memory_format: torch.memory_format | str = "contiguous_format"
) -> nn.Module:
    """Move a network to a device, its parameters in a memory format (see :func:`place_network`)."""
    if isinstance(memory_format, str):
        known = ("contiguous_format", "channels_last", "channels_last_3d")
        if memory_format not in known:
            raise ValueError(f"memory_format is {memory_format}; expected one of {', '.join(known)}")
        memory_format = getattr(torch, memory_format)
    placed: nn.Module = network.to(device, memory_format=memory_format)  # type: ignore[call-overload]
    return placed


def place_network(
    network: nn.Module,
    device: torch.device,
    memory_format: torch.memory_format | str = "contiguous_format",
    activation_checkpointing: Sequence[str] = (),
    sharded_blocks: Sequence[str] = (),
) -> nn.Module:
    """The network ready for training: on its device, and distributed if there is a process group.

    Args:
        device: device to train on.
        memory_format: of its parameters: ``contiguous_format``, ``channels_last`` (fastest for convolutions) or
            ``channels_last_3d``.
        activation_checkpointing: see :func:`checkpoint_activations`.
        sharded_blocks: see :func:`shard`; if empty, the network is replicated (:func:`replicate`).

    Raises:
        ValueError: for a memory format that torch does not have, or a pattern that matches no module.
    """
    placed = on_device(network, device, memory_format)
    network = checkpoint_activations(placed, activation_checkpointing)
    if sharded_blocks:
        return shard(network, sharded_blocks)
    return replicate(network, device) if is_distributed() else network


def replicate(network: nn.Module, device: torch.device, synchronise_batch_norm: bool = True) -> DistributedDataParallel:
    """Replicate the network on every process and average the gradients (:class:`DistributedDataParallel`).

    Args:
        synchronise_batch_norm: compute batch statistics over all processes (``SyncBatchNorm``); ignored on the CPU,
            where torch does not support it.
    """
    if device.type != "cuda":
        return DistributedDataParallel(network)
    if synchronise_batch_norm:
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    return DistributedDataParallel(network, device_ids=[device])


def shard(network: nn.Module, blocks: Sequence[str]) -> nn.Module:
    """The network with parameters, gradients and optimiser states sharded over the processes (FSDP2), in place.

    For towers that are too large for one device. Each block is gathered for its computation and freed afterwards;
    parameters outside all blocks form one more block. Build the optimiser after this call.

    Args:
        blocks: patterns of module names, such as ``model.image_encoder.blocks.*``.

    Raises:
        ValueError: when a pattern matches nothing.
    """
    for module in matching_modules(network, blocks).values():
        fully_shard(module)
    fully_shard(network)
    return network


def matching_modules(network: nn.Module, patterns: Sequence[str]) -> dict[str, nn.Module]:
    """Name -> module, for every module that matches one of the patterns while none of its parents does.

    Raises:
        ValueError: when a pattern matches nothing.
    """
    found: dict[str, nn.Module] = {}
    matched: set[str] = set()
    for name, module in network.named_modules():
        fitting = {pattern for pattern in patterns if name and fnmatch(name, pattern)}
        matched |= fitting
        if fitting and not any(name.startswith(f"{parent}.") for parent in found):
            found[name] = module
    unmatched = [pattern for pattern in patterns if pattern not in matched]
    if unmatched:
        names = ", ".join(name for name, _ in network.named_children())
        raise ValueError(f"no module is named like {', '.join(unmatched)}; the network's parts are {names}")
    return found


def unwrap(network: nn.Module) -> nn.Module:
    """The network itself, without DDP around it."""
    return network.module if isinstance(network, DistributedDataParallel) else network


@contextmanager
def gradients_synchronised(network: nn.Module, wanted: bool) -> Iterator[None]:
    """Whether the backward pass synchronises gradients; between the batches of an accumulation it need not."""
    if isinstance(network, DistributedDataParallel) and not wanted:
        with network.no_sync():
            yield
        return
    if isinstance(network, FSDPModule):
        network.set_requires_gradient_sync(wanted)
    yield


# -- full state dicts, whether sharded or not -------------------------------------------------------


def network_state(network: nn.Module) -> dict[str, Any]:
    """The full state dict. Collective if the network is sharded; then empty on ranks other than the first."""
    if isinstance(network, FSDPModule):
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

        return get_model_state_dict(network, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    return unwrap(network).state_dict()


def load_network_state(network: nn.Module, state: Mapping[str, Any]) -> None:
    """The inverse of :func:`network_state`. Collective if the network is sharded; all processes pass the full state."""
    if isinstance(network, FSDPModule):
        from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

        set_model_state_dict(network, dict(state), options=StateDictOptions(full_state_dict=True))
    else:
        unwrap(network).load_state_dict(state)


def optimizer_state(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The full state dict of an optimiser. Collective if the network is sharded."""
    if isinstance(network, FSDPModule):
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict

        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        return get_optimizer_state_dict(network, optimizer, options=options)
    return optimizer.state_dict()


def load_optimizer_state(network: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """The inverse of :func:`optimizer_state`."""
    if isinstance(network, FSDPModule):
        from torch.distributed.checkpoint.state_dict import StateDictOptions, set_optimizer_state_dict

        options = StateDictOptions(full_state_dict=True)
        set_optimizer_state_dict(network, optimizer, dict(state), options=options)
    else:
        optimizer.load_state_dict(dict(state))


def checkpoint_activations(network: nn.Module, blocks: Sequence[str] = ()) -> nn.Module:
    """Recompute the blocks' activations in the backward pass (Chen et al. 2016); results and names are unchanged.

    Args:
        blocks: patterns of module names, such as ``model.text_encoder.*.layer.*``; nothing is changed when empty.

    Raises:
        ValueError: when a pattern matches nothing, or a block contains batch normalisation, whose running statistics
            would be updated twice.
    """
    for name, module in matching_modules(network, blocks).items():
        if any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules()):
            raise ValueError(
                f"{name} contains batch normalisation, which would count every batch twice; choose other blocks"
            )
        module.forward = partial(checkpoint, module.forward, use_reentrant=False)  # type: ignore[method-assign]
    return network
