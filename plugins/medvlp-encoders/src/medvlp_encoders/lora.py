"""Low-rank adaptation (Hu et al. 2021) of any encoder, through the library peft."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from torch import nn


def add_adapters(
    encoder: nn.Module,
    rank: int = 8,
    alpha: int | None = None,
    dropout: float = 0.0,
    targets: str | Sequence[str] | None = None,
) -> None:
    """Add trainable low-rank matrices to layers of an encoder in place; every other parameter is frozen.

    They begin at zero: the adapted encoder gives what it gave before.

    Args:
        rank: of the matrices.
        alpha: their sum is scaled by ``alpha / rank``; None is twice the rank.
        dropout: of their input.
        targets: regular expression (of whole names) or list of names of layers, or of the ends of their names; None is
            every linear layer, or, of a convolutional network, every ungrouped convolution but the first.

    Raises:
        ValueError: when peft is not installed, or no layer is meant.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise ValueError("lora needs the library peft: pip install 'medvlp-encoders[lora]'") from None
    if rank < 1:
        raise ValueError(f"lora rank is {rank}; expected at least 1")
    chosen = _chosen(encoder, targets)
    config = LoraConfig(
        r=rank, lora_alpha=2 * rank if alpha is None else alpha, lora_dropout=dropout, target_modules=chosen
    )
    inject_adapter_in_model(config, encoder)


def merge_adapters(encoder: nn.Module) -> None:
    """Add the matrices to the weights of their layers, and put those layers back in their places."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    adapted = {name: module for name, module in encoder.named_modules() if isinstance(module, BaseTunerLayer)}
    for name, layer in adapted.items():
        merged: Any = layer
        merged.merge()
        encoder.set_submodule(name, merged.get_base_layer())


def _chosen(encoder: nn.Module, targets: str | Sequence[str] | None) -> list[str]:
    linear = [name for name, module in encoder.named_modules() if isinstance(module, nn.Linear)]
    convolutions = [
        name
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Conv2d | nn.Conv3d) and module.groups == 1
    ]
    if targets is None:
        return linear or convolutions[1:]
    every = [*linear, *convolutions]
    if isinstance(targets, str):
        found = [name for name in every if re.fullmatch(targets, name)]
    else:
        found = [name for name in every if any(name == one or name.endswith(f".{one}") for one in targets)]
    if not found:
        raise ValueError(f"lora targets {targets!r} name no layer of the encoder; it has {', '.join(every[:4])}, …")
    return found
