"""The optimiser for fine-tuning a vision-language model: low learning rate for the towers, higher for the rest."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn

Rule = Literal["matrices", "published"]


def finetuning_groups(
    network: nn.Module,
    learning_rate: float,
    head_factor: float = 50.0,
    fusion_factor: float = 5.0,
    weight_decay: float = 0.01,
    decayed: Rule = "matrices",
) -> list[dict[str, Any]]:
    """Six groups: towers, fusion module and head, each with and without weight decay.

    The fusion rate also applies to the projections into its width; type embeddings and the knowledge graph use the base
    rate, like the towers (ARL, Chen et al. 2022: head ×50 for answers, ×10 for MELINDA, ×5 for retrieval; fusion ×5;
    decay 0.01).

    Args:
        network: with ``pairs`` (:class:`~medvlp_toolkit.downstream.PairEncoder`) and ``head``.
        learning_rate: of the towers.
        head_factor, fusion_factor: multiples of that rate.
        weight_decay: of the parameters that decay.
        decayed: ``matrices`` exempts biases and all one-dimensional parameters; ``published`` also decays the scales of
            norms in the CLIP tower, the knowledge graph and the head, whose names the published list does not match.
    """
    if decayed not in ("matrices", "published"):
        raise ValueError(f"decayed is matrices or published, not {decayed!r}")
    rates = {"base": learning_rate, "fusion": learning_rate * fusion_factor, "head": learning_rate * head_factor}
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {
        (part, decay): [] for part in rates for decay in (True, False)
    }
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            part = _part(name)
            decays = parameter.ndim > 1 if decayed == "matrices" else _decays_as_published(name)
            groups[part, decays].append(parameter)
    return [
        {"params": parameters, "lr": rates[part], "weight_decay": weight_decay if decay else 0.0, "name": part}
        for (part, decay), parameters in groups.items()
        if parameters
    ]


def finetuning_optimizer(
    network: nn.Module,
    learning_rate: float,
    betas: tuple[float, float] = (0.9, 0.98),
    eps: float = 1e-8,
    **groups: Any,
) -> torch.optim.AdamW:
    """AdamW over :func:`finetuning_groups` with the published betas (Chen et al. 2022).

    Args:
        network, learning_rate, groups: arguments of :func:`finetuning_groups`.
        betas, eps: of AdamW.
    """
    parameters = finetuning_groups(network, learning_rate, **groups)
    return torch.optim.AdamW(parameters, lr=learning_rate, betas=(betas[0], betas[1]), eps=eps)


def _part(name: str) -> str:
    if name.startswith("head."):
        return "head"
    inner = name.removeprefix("pairs.model.")
    if inner.startswith("fusion.") or ("_projection." in inner and not inner.endswith("type_embedding")):
        return "fusion"
    return "base"


def _decays_as_published(name: str) -> bool:
    plain = any(part in name for part in ("bias", "LayerNorm.", "norm."))
    return not plain or name == "head.norm.weight"
