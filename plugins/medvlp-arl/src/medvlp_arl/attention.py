"""The two halves of a post-norm BERT layer (Devlin et al. 2019)."""

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: BERT's epsilon, which ARL's fusion module and its language head keep.
EPSILON = 1e-12


class Attention(nn.Module):
    """Multi-head attention with output map, residual and norm: LN(drop(W context) + x)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"knowledge_co_attention: a width of {width} does not divide into {heads} heads")
        self.heads = heads
        self.dropout_rate = dropout
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        source: Tensor,
        seen: Optional[Tensor] = None,  # noqa: UP045 - TorchScript
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """x (B, L, D) attends to source (B, S, D), where ``seen`` (B, S) is true, or everywhere.

        Returns the result (B, L, D) and the head-averaged weights (B, L, S), empty unless requested.
        """
        query, key, value = self.split(self.query(x)), self.split(self.key(source)), self.split(self.value(source))
        mask: Optional[Tensor] = None  # noqa: UP045
        if seen is not None:
            # Large but finite, so that a fully masked row attends uniformly instead of becoming undefined.
            mask = torch.zeros_like(seen, dtype=query.dtype).masked_fill(seen == 0, -10000.0)[:, None, None]
        weights = x.new_zeros(0)
        if need_weights:
            scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5)
            if mask is not None:
                scores = scores + mask
            each = scores.softmax(dim=-1)
            weights = each.mean(dim=1)
            context = F.dropout(each, self.dropout_rate, self.training) @ value
        else:
            rate = self.dropout_rate if self.training else 0.0
            context = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=rate)
        merged = context.transpose(1, 2).reshape(x.shape)
        out: Tensor = self.norm(self.dropout(self.output(merged)) + x)
        return out, weights

    def split(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, heads, L, D / heads)."""
        return x.view(x.shape[0], x.shape[1], self.heads, x.shape[2] // self.heads).transpose(1, 2)


class FeedForward(nn.Module):
    """LN(drop(W2 gelu(W1 x)) + x)."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.expand = nn.Linear(width, hidden)
        self.contract = nn.Linear(hidden, width)
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(…, D) -> (…, D)."""
        out: Tensor = self.norm(self.dropout(self.contract(F.gelu(self.expand(x)))) + x)
        return out
