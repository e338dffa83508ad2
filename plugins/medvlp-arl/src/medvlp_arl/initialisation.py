"""Initialisation of ARL's own layers."""

from __future__ import annotations

from torch import nn


def initialise(module: nn.Module, std: float | None) -> None:
    """Weights of linear layers and embeddings ~ N(0, std²), biases 0, as BERT (Devlin et al. 2019).

    None keeps torch's own initialisation: at widths far below the published 768, weights of 0.02 let signals fade from
    layer to layer, and training from scratch starts slowly.
    """
    if std is None:
        return
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.normal_(part.weight, std=std)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
