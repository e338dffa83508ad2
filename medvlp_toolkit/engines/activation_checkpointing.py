"""Less memory for more computing: chosen blocks forget their activations and compute them again when needed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from medvlp_toolkit.engines.parallel import matching_modules


def checkpoint_activations(network: nn.Module, blocks: Sequence[str] = ()) -> nn.Module:
    """Let blocks keep their inputs only (Chen et al. 2016); same losses and gradients, names stay as they are.

    Args:
        blocks: patterns of module names, such as ``model.text_encoder.*.layer.*``; nothing is changed when empty.

    Raises:
        ValueError: when a pattern matches nothing, or a block holds batch normalisation, whose running statistics
            would be updated twice.
    """
    for name, module in matching_modules(network, blocks).items():
        if any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules()):
            raise ValueError(
                f"{name} holds batch normalisation, which would count every batch twice; checkpoint other blocks"
            )
        module.forward = partial(checkpoint, module.forward, use_reentrant=False)  # type: ignore[method-assign]
    return network
