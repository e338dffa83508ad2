"""From cosines to logits."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Temperature(nn.Module):
    """Cosines times a scale, plus a bias: the head of a contrastive loss.

    Args:
        scale: one over the temperature; the initial one where it is learned. Its logarithm is what is learned.
        learned: False keeps the scale.
        largest: what a learned scale is held at; None has no limit.
        bias: initial value of a learned bias; None has none.
    """

    def __init__(
        self, scale: float, learned: bool = True, largest: float | None = None, bias: float | None = None
    ) -> None:
        super().__init__()
        if scale <= 0:
            raise ValueError(f"the scale of cosines is positive, not {scale:g}")
        self.largest = largest
        # One number in a vector: sharding over devices takes no scalars.
        self.log_scale = nn.Parameter(torch.tensor([math.log(scale)]), requires_grad=learned)
        self.bias = None if bias is None else nn.Parameter(torch.tensor([bias]))

    def forward(self, cosines: Tensor) -> Tensor:
        if self.largest is not None and self.training:
            with torch.no_grad():  # the parameter itself: one that is above the limit would have no gradient
                self.log_scale.clamp_(max=math.log(self.largest))
        logits = cosines * self.log_scale.exp()
        return logits if self.bias is None else logits + self.bias
