"""The maps of KAD's text and image features to the shared width."""

from __future__ import annotations

from torch import nn


def text_projection(in_features: int = 768, width: int = 768) -> nn.Sequential:
    """(…, in_features) -> (…, width): BERT's pooling layer and the knowledge encoder's two-layer map.

    Zhang et al. 2023, Methods. The pooling layer reads one token, so that it may be applied to each: the class token's
    row is the text's feature. The two linears after it start normal with standard deviation width ** -0.5.
    """
    hidden, out = nn.Linear(in_features, width), nn.Linear(width, width)
    for linear in (hidden, out):
        nn.init.normal_(linear.weight, std=width**-0.5)
    return nn.Sequential(nn.Linear(in_features, in_features), nn.Tanh(), hidden, nn.GELU(), out)
