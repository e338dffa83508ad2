"""MedKLIP's optimiser groups and learning-rate schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import nn


def parameter_groups(model: nn.Module, weight_decay: float = 0.02) -> list[dict[str, Any]]:
    """Groups with weight decay on matrices and filters only, not on one-dimensional parameters (biases, norms).

    Frozen parameters are left out.
    """
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (plain if parameter.ndim <= 1 or name.endswith(".bias") else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]


@dataclass(frozen=True)
class PublishedSchedule:
    """MedKLIP's learning rate as a factor of the base rate, per iteration.

    In the first epoch it rises every hundredth iteration, in five steps, from ``floor`` to 1 and then stays constant.
    Epoch e >= 1 has the cosine ``floor + (1 - floor) (1 + cos(pi e / epochs)) / 2``, constant within the epoch.

    Args:
        steps_per_epoch: iterations per epoch.
        epochs: length of the cosine, published 100.
        floor: published 0.1 (1e-5 of a base rate of 1e-4).
        warmup_steps, warmup_every: the rise takes ``warmup_steps`` rises, one per ``warmup_every`` iterations.
    """

    steps_per_epoch: int
    epochs: int = 100
    floor: float = 0.1
    warmup_steps: int = 5
    warmup_every: int = 100

    def __call__(self, step: int) -> float:
        epoch, iteration = divmod(step, self.steps_per_epoch)
        if epoch == 0:
            return self.floor + (1 - self.floor) * min(iteration // self.warmup_every / self.warmup_steps, 1.0)
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * epoch / self.epochs))
