"""MedKLIP's fusion module: entity queries that attend to image tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medvlp_toolkit.interfaces import FusionOutput, Knowledge


class EntityQueryDecoderLayer(nn.Module):
    """Self-attention among queries, cross-attention to the image, feed-forward; normalised before each.

    Vaswani et al. 2017 in the pre-norm form of DETR's decoder (Carion et al. 2020), without position
    encodings: queries are distinguished by their descriptions, image tokens by their content.
    """

    def __init__(self, width: int, heads: int, feed_forward: int, dropout: float) -> None:
        super().__init__()
        self.self_attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.cross_attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.linear1 = nn.Linear(width, feed_forward)
        self.linear2 = nn.Linear(feed_forward, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries: Tensor, image: Tensor, need_attention: bool) -> tuple[Tensor, Tensor]:
        """(B, Q, D), (B, N, D) -> queries (B, Q, D) and head-averaged attention (B, Q, N); (0,) when not needed."""
        queries = queries + self.among_queries(queries)
        y = self.norm2(queries)
        attended, weights = self.cross_attention(y, image, image, need_weights=need_attention)
        queries = queries + self.dropout(attended)
        y = self.linear2(self.dropout(torch.relu(self.linear1(self.norm3(queries)))))
        if weights is None:
            weights = queries.new_zeros(0)
        return queries + self.dropout(y), weights

    def among_queries(self, queries: Tensor) -> Tensor:
        """The residual of self-attention, (B, Q, D) -> (B, Q, D)."""
        if queries.stride(0) == 0 and queries.shape[0] > 1 and not self.training:
            # If all samples have the same queries, attend once (only the first layer gets such a view).
            return self.among_queries_of_one(queries[:1]).expand_as(queries)
        return self.among_queries_of_one(queries)

    def among_queries_of_one(self, queries: Tensor) -> Tensor:
        y = self.norm1(queries)
        attended = self.self_attention(y, y, y, need_weights=False)[0]
        out: Tensor = self.dropout(attended)
        return out


class EntityQueryDecoder(nn.Module):
    """MedKLIP's fusion module (Wu et al. 2023, section 3.2): entity descriptions query the image.

    Args:
        width: D of queries and image tokens.
        layers, heads, feed_forward, dropout: of the decoder.
        output_dropout: on the output queries, shared by the existence and the position head.
        init_std: of the initial weights, published 0.02; None keeps torch's own initialisation, with which
            narrow models start to learn earlier.
        normalize_inputs: apply the decoder's normalisation to image tokens and queries before its first layer, as in
            KAD's disease query network (Zhang et al. 2023); MedKLIP: False.

    Called as a fusion module it takes the queries (B, Q, D) as ``text`` and returns them decoded; the
    image tokens pass unchanged, and ``pooled`` is None. ``attention`` is (B, layers, Q, N).

    Example::

        fusion:
          _target_: medvlp_toolkit.fusion_modules.entity_query_decoder
          width: 256
    """

    def __init__(
        self,
        width: int = 256,
        layers: int = 4,
        heads: int = 4,
        feed_forward: int = 1024,
        dropout: float = 0.1,
        output_dropout: float = 0.1,
        init_std: float | None = 0.02,
        normalize_inputs: bool = False,
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"entity_query_decoder needs at least one layer, got layers={layers}")
        if width % heads:
            raise ValueError(f"entity_query_decoder width {width} is not a multiple of its {heads} heads")
        self.width = width
        self.layers = nn.ModuleList(EntityQueryDecoderLayer(width, heads, feed_forward, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.output_dropout = nn.Dropout(output_dropout)
        self.normalize_inputs = normalize_inputs
        initialise(self, init_std)

    def forward(
        self,
        image: Tensor,
        text: Tensor,
        text_mask: Tensor | None = None,
        knowledge: Knowledge | None = None,
        stop_after: int = -1,
        need_attention: bool = False,
    ) -> FusionOutput:
        """See :class:`medvlp_toolkit.interfaces.FusionModule`; ``text_mask`` and ``knowledge`` are not read.

        ``stop_after`` n >= 0 runs the first n layers only.
        """
        attention: list[Tensor] = []
        queries, tokens = text, image
        if self.normalize_inputs:
            tokens = self.norm(image)
            shared = text.stride(0) == 0 and text.shape[0] > 1  # as `among_queries` sees it
            queries = self.norm(text[:1]).expand_as(text) if shared else self.norm(text)
        for number, layer in enumerate(self.layers):
            if stop_after < 0 or number < stop_after:
                queries, weights = layer(queries, tokens, need_attention)
                attention.append(weights)
        queries = self.output_dropout(self.norm(queries))
        stacked: Tensor | None = None
        if need_attention:
            stacked = torch.stack(attention, dim=1)
        return FusionOutput(image, queries, None, stacked)


def initialise(module: nn.Module, std: float | None = 0.02) -> None:
    """Weights of linear and attention layers ~ N(0, std²), as published; biases keep torch's default.

    None leaves everything at torch's default.
    """
    if std is None:
        return
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=std)
        elif isinstance(part, nn.MultiheadAttention):
            nn.init.normal_(part.in_proj_weight, std=std)
