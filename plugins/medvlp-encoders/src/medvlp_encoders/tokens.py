"""The summary vector of a sequence of tokens, shared by encoders."""

from __future__ import annotations

from torch import Tensor


def summarise(tokens: Tensor, num_prefix_tokens: int) -> Tensor:
    """(B, N, D) -> (B, D): the first prefix token if there is one, else the mean over tokens."""
    return tokens[:, 0] if num_prefix_tokens > 0 else tokens.mean(dim=1)
