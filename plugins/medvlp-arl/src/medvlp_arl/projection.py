"""Projections to the fused width, with a modality embedding."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medvlp_arl.initialisation import initialise


class TypedProjection(nn.Module):
    """A linear map and the embedding of the modality: (…, in_features) -> (…, width).

    One for the image and one for the text, as in ViLT and METER; ARL adds neither norm nor dropout.

    Args:
        in_features, width: of the encoder and of the fused space.
        init_std: of the initial weights, published 0.02; None keeps torch's own, with which narrow models learn.

    Example::

        image_projection:
          _target_: medvlp_arl.projection.TypedProjection
          in_features: "$@image_encoder.num_features"
          width: 768
    """

    def __init__(self, in_features: int = 768, width: int = 768, init_std: float | None = 0.02) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, width)
        self.type_embedding = nn.Parameter(torch.randn(width) * 0.02)
        self.out_features = width
        initialise(self.linear, init_std)

    def forward(self, tokens: Tensor) -> Tensor:
        projected: Tensor = self.linear(tokens)
        return projected + self.type_embedding.to(projected.dtype)
