"""Learning-rate factors for ``torch.optim.lr_scheduler.LambdaLR``, stepped every iteration."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class WarmupCosine:
    """Linear warm-up, then half a cosine down to ``floor`` (Loshchilov and Hutter 2017).

    Args:
        total_steps: iterations of the whole training.
        warmup_steps: iterations over which the factor rises from ``start`` to 1.
        start, floor: factors at the first and the last iteration.
    """

    total_steps: int
    warmup_steps: int = 0
    start: float = 0.01
    floor: float = 0.0

    def __call__(self, step: int) -> float:
        if step < self.warmup_steps:
            return self.start + (1 - self.start) * step / self.warmup_steps
        span = max(self.total_steps - self.warmup_steps, 1)
        progress = min((step - self.warmup_steps) / span, 1.0)
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class WarmupLinear:
    """Linear warm-up from zero, then linearly down to zero (Devlin et al. 2019; ARL, METER and M3AE use it).

    Args:
        total_steps: iterations of the whole training.
        warmup_steps: iterations over which the factor rises from 0 to 1.
    """

    total_steps: int
    warmup_steps: int = 0

    def __call__(self, step: int) -> float:
        if step < self.warmup_steps:
            return step / self.warmup_steps
        return max(self.total_steps - step, 0) / max(self.total_steps - self.warmup_steps, 1)
