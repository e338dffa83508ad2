"""Losses of fine-tuning that neither torch nor MONAI has."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medvlp_toolkit.interfaces import ABSENT, PRESENT


class KnownLabelLoss(nn.Module):
    """Binary cross-entropy per label, averaged over the labels that are known.

    ``forward(logits (B, L), targets (B, L))``: targets 1 and 0 count, every other value (unknown, uncertain) is left
    out. If nothing is known, the loss is a zero that is still connected to the logits.
    """

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        known = (targets == PRESENT) | (targets == ABSENT)
        terms = F.binary_cross_entropy_with_logits(
            logits.float(), targets.clamp(0, 1).to(torch.float32), reduction="none"
        )
        return torch.where(known, terms, 0.0).sum() / known.sum().clamp(min=1)


class ExclusiveLabelLoss(nn.Module):
    """Cross-entropy over labels of which exactly one is present, such as grades of severity.

    ``forward(logits (B, L), targets (B, L))``; images without a known label are ignored.
    """

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        known = (targets == PRESENT).sum(dim=1) == 1
        terms = F.cross_entropy(logits.float(), (targets == PRESENT).long().argmax(dim=1), reduction="none")
        return torch.where(known, terms, 0.0).sum() / known.sum().clamp(min=1)
