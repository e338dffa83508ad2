"""CLIP's pre-norm transformer block."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ClipAttention(nn.Module):
    """Multi-head self-attention through the fused scaled-dot-product kernel; attention maps are never formed."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"a width of {width} does not divide into {heads} attention heads")
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        size, tokens, width = x.shape
        qkv = self.qkv(x).view(size, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        context = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
        mixed: Tensor = self.output(context.transpose(1, 2).reshape(size, tokens, width))
        return mixed


class ClipBlock(nn.Module):
    """x += attention(LN(x)); x += W2 QuickGELU(W1 LN(x)), with QuickGELU(x) = x σ(1.702 x) (Radford et al. 2021)."""

    def __init__(self, width: int, heads: int, feed_forward: int | None = None) -> None:
        super().__init__()
        hidden = feed_forward or 4 * width
        self.ln_1 = nn.LayerNorm(width)
        self.attention = ClipAttention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.expand = nn.Linear(width, hidden)
        self.contract = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        x = x + self.attention(self.ln_1(x))
        hidden = self.expand(self.ln_2(x))
        out: Tensor = x + self.contract(hidden * torch.sigmoid(1.702 * hidden))
        return out
