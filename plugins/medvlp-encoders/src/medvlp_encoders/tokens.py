"""Sequences of tokens: from a feature map, and to their summary vector; shared by encoders."""

from __future__ import annotations

import torch
from torch import Tensor


def as_tokens(features: Tensor) -> Tensor:
    """(B, D, *grid) -> (B, N, D), positions in row-major order."""
    if not torch.jit.is_scripting() and features.shape[0] == 1 and features.requires_grad:  # type: ignore[attr-defined]
        # For a batch of one, torch (seen with 2.13 on the CPU) permutes the gradient of transposed tokens in the
        # backward pass of batch norm, taking it for one in channels-last order.
        features.register_hook(_contiguous)
    return features.flatten(2).transpose(1, 2)


def summarise(tokens: Tensor, num_prefix_tokens: int) -> Tensor:
    """(B, N, D) -> (B, D): the first prefix token if there is one, else the mean over tokens."""
    return tokens[:, 0] if num_prefix_tokens > 0 else tokens.mean(dim=1)


def _contiguous(gradient: Tensor) -> Tensor:
    return gradient.contiguous()
