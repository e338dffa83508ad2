"""ARL's optimiser groups, and the AdamW variant that it was trained with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor, nn

#: Heads of the losses, and the graph encoder, which is part of the alignment head in the published code.
_HEADS = ("losses.", "model.knowledge_encoder.")
#: Type embeddings, here part of the projections, are in the base group.
_MULTI_MODAL = ("model.image_projection.", "model.text_projection.", "model.entity_projection.", "model.fusion.")
#: Parts of a name that exempt from weight decay. CLIP's norms (``ln_1``, ``ln_pre``, …) are decayed, as published,
#: and so is the graph encoder's ``embedding_ln``.
_PLAIN = ("bias", "LayerNorm.", "norm.")


def parameter_groups(
    model: nn.Module,
    learning_rate: float = 1e-5,
    head_factor: float = 5.0,
    multi_modal_factor: float = 5.0,
    weight_decay: float = 0.01,
) -> list[dict[str, Any]]:
    """Six groups: {base, heads, multi-modal} × {decayed, plain}, each with its learning rate and decay.

    Base are both encoders and the type embeddings; heads are the losses' own and the graph encoder; multi-modal are
    the projections and the fusion module. Biases and layer norms are plain, except CLIP's and the graph encoder's.
    Frozen parameters and empty groups are left out.

    Args:
        model: a ``PretrainingModel``, also wrapped for distributed training.
        learning_rate: of the base.
        head_factor, multi_modal_factor: published 5 and 5.
        weight_decay: of the decayed.
    """
    factors = {"base": 1.0, "heads": head_factor, "multi_modal": multi_modal_factor}
    groups: dict[tuple[str, bool], dict[str, Any]] = {
        (part, decayed): {
            "params": [],
            "lr": learning_rate * factor,
            "weight_decay": weight_decay if decayed else 0.0,
            "name": f"{part}_{'decayed' if decayed else 'plain'}",
        }
        for part, factor in factors.items()
        for decayed in (True, False)
    }
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups[part_of(name), is_decayed(name)]["params"].append(parameter)
    return [group for group in groups.values() if group["params"]]


def part_of(name: str) -> str:
    """``base``, ``heads`` or ``multi_modal`` for the name of a parameter of a ``PretrainingModel``."""
    name = name.removeprefix("module.")
    if name.startswith(_HEADS):
        return "heads"
    fused = name.startswith(_MULTI_MODAL) and not name.endswith("type_embedding")
    return "multi_modal" if fused else "base"


def is_decayed(name: str) -> bool:
    """Whether weight decay applies to a parameter of this name."""
    return not any(part in name for part in _PLAIN)


class PublishedAdamW(torch.optim.Optimizer):
    """AdamW of the transformers library at the time when ARL was trained (Loshchilov and Hutter 2019).

    It differs from ``torch.optim.AdamW`` in two places: epsilon is added to the square root of the second moment
    before its bias is corrected, and the decay is taken from the parameter after the step:
    p ← p − lr √(1−β₂ᵗ)/(1−β₁ᵗ) · m/(√v + ε); p ← p − lr λ p.

    Args:
        params: parameters or groups.
        lr, betas, eps, weight_decay: ARL's defaults.

    Example::

        optimizer:
          _target_: medvlp_arl.optimisation.PublishedAdamW
          params:
            _target_: medvlp_arl.optimisation.parameter_groups
            model: "@network"
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-5,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        if lr < 0 or eps < 0 or weight_decay < 0 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(
                f"PublishedAdamW takes lr, eps and weight_decay >= 0 and betas in [0, 1); got lr={lr}, eps={eps}, "
                f"weight_decay={weight_decay}, betas={tuple(betas)}"
            )
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay})

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step over all parameters that have a gradient."""
        loss: float | None = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            by_age: dict[int, list[nn.Parameter]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_age.setdefault(self._age(parameter), []).append(parameter)
            for age, parameters in by_age.items():
                self._update(group, parameters, age)
        return loss

    def _age(self, parameter: nn.Parameter) -> int:
        """Count the step, from 1."""
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        return int(state["step"])

    def _update(self, group: dict[str, Any], parameters: list[nn.Parameter], age: int) -> None:
        first_beta, second_beta = group["betas"]
        gradients: list[Tensor] = [p.grad for p in parameters if p.grad is not None]
        values: list[Tensor] = [*parameters]
        means: list[Tensor] = [self.state[p]["exp_avg"] for p in parameters]
        squares: list[Tensor] = [self.state[p]["exp_avg_sq"] for p in parameters]
        torch._foreach_lerp_(means, gradients, 1 - first_beta)
        torch._foreach_mul_(squares, second_beta)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - second_beta)
        denominators = torch._foreach_sqrt(squares)
        torch._foreach_add_(denominators, group["eps"])
        step_size = group["lr"] * (1 - second_beta**age) ** 0.5 / (1 - first_beta**age)
        torch._foreach_addcdiv_(values, means, denominators, -step_size)
        if group["weight_decay"]:
            torch._foreach_mul_(values, 1 - group["lr"] * group["weight_decay"])
