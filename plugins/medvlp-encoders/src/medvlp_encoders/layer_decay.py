"""A learning rate for each depth of an encoder: layer-wise decay (Clark et al. 2020, Bao et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from medvlp_encoders.adapting import AdaptableEncoder, outermost_blocks
from medvlp_toolkit.engines.parallel import unwrap


def layer_decayed(
    groups: Sequence[Mapping[str, Any]],
    network: nn.Module,
    factor: float = 0.75,
    learning_rate: float | None = None,
    part: str = "model.image_encoder",
) -> list[dict[str, Any]]:
    """Split an optimiser's parameter groups by the depth of an encoder.

    Of B blocks, block b (from 1) learns at ``factor ** (B + 1 - b)`` times its group's rate, what comes before them at
    ``factor ** (B + 1)`` times, and what comes after them, like the rest of the model, at the group's rate. Schedules
    that multiply the initial rates keep the ratios.

    Args:
        groups: as a recipe's own ``parameter_groups`` gives them.
        network: the network they are of, also wrapped for distributed training.
        factor: of neighbouring depths; 1 changes nothing.
        learning_rate: of groups that do not have one.
        part: path of the encoder in the network.

    Raises:
        ValueError: when the network has no such part or the part no blocks, or a group no learning rate.

    Example::

        base_groups: {_target_: medvlp_medklip.optimisation.parameter_groups, model: "@network"}
        optimizer::params:
          _target_: medvlp_encoders.layer_decay.layer_decayed
          groups: "@base_groups"
          network: "@network"
          learning_rate: "@learning_rate"
          factor: 0.75
    """
    inner = unwrap(network)
    depths, levels = depths_of(inner, part)
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for index, group in enumerate(groups):
        rate = group.get("lr", learning_rate)
        if rate is None:
            raise ValueError("layer_decayed needs the learning_rate of groups that have none; give learning_rate")
        for parameter in group["params"]:
            depth = depths.get(id(parameter), levels)
            if (index, depth) not in found:
                rest = {key: value for key, value in group.items() if key != "params"}
                named = {"name": f"{group['name']}_depth_{depth}"} if "name" in group and depth < levels else {}
                scaled = {"lr": rate * factor ** (levels - depth)}
                found[index, depth] = {"params": [], **rest, **scaled, **named}
            found[index, depth]["params"].append(parameter)
    # The rest of the model first: the first group's rate is what runs display.
    return [found[key] for key in sorted(found, key=lambda key: (key[1] < levels, key))]


def depths_of(network: nn.Module, part: str) -> tuple[dict[int, int], int]:
    """Identity of each parameter of an encoder -> its depth, and the depth that has the full rate.

    Raises:
        ValueError: when the network has no such part, or the part has no blocks.
    """
    try:
        encoder = network.get_submodule(part)
    except AttributeError:
        parts = ", ".join(name for name, _ in network.named_modules() if name.count(".") == 1)
        raise ValueError(f"layer_decayed: the network has no part {part}; it has {parts}") from None
    blocks = encoder.block_names() if isinstance(encoder, AdaptableEncoder) else outermost_blocks(encoder)
    if not blocks:
        raise ValueError(f"layer_decayed: {type(encoder).__name__} has no list of blocks to decay over")
    levels = len(blocks) + 1
    depths: dict[int, int] = {}
    before = True
    for name, parameter in encoder.named_parameters():
        number = next((n for n, names in enumerate(blocks, 1) if name.startswith(tuple(f"{x}." for x in names))), None)
        before = before and number is None
        depths[id(parameter)] = number if number is not None else 0 if before else levels
    return depths, levels
