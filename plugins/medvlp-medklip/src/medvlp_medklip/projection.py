"""Projections to the width shared by entity queries and image tokens."""

from __future__ import annotations

from torch import nn

from medvlp_medklip.fusion import initialise


def image_projection(in_features: int = 1024, width: int = 256, init_std: float | None = 0.02) -> nn.Sequential:
    """MedKLIP's two-layer map of image tokens: (…, in_features) -> (…, width)."""
    projection = nn.Sequential(nn.Linear(in_features, in_features), nn.ReLU(), nn.Linear(in_features, width))
    initialise(projection, init_std)
    return projection


def entity_projection(
    in_features: int = 768, width: int = 256, init_std: float | None = 0.02, standardize: bool = False
) -> nn.Module:
    """MedKLIP's one-layer map of description embeddings: (…, in_features) -> (…, width).

    Args:
        in_features, width: of the embeddings and of the fused space.
        init_std: of the initial weights; None keeps torch's own.
        standardize: scale each embedding to mean 0 and variance 1 first, for text models whose vectors are short;
            published False.
    """
    linear = nn.Linear(in_features, width)
    initialise(linear, init_std)
    return nn.Sequential(nn.LayerNorm(in_features, elementwise_affine=False), linear) if standardize else linear
