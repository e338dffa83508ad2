"""An image encoder with a linear layer on its pooled tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ImageClassifier(nn.Module):
    """One logit per label from the mean over image tokens: (B, C, *spatial) -> (B, labels).

    With ``freeze`` only the linear layer learns (linear probing): the encoder keeps its weights, and its batch
    normalisation the statistics it was pre-trained with.

    Args:
        image_encoder: see :class:`medvlp_toolkit.interfaces.ImageEncoder`.
        labels: number of labels.
        freeze: see above.
    """

    def __init__(self, image_encoder: nn.Module, labels: int, freeze: bool = False) -> None:
        super().__init__()
        if labels < 1:
            raise ValueError("a classifier needs at least one label; name them with label_names")
        self.image_encoder = image_encoder
        self.head = nn.Linear(int(image_encoder.num_features), labels)  # type: ignore[arg-type]
        self.freeze = freeze
        if freeze:
            image_encoder.requires_grad_(False)
            image_encoder.eval()

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, *spatial) float -> (B, labels) logits."""
        if self.freeze:
            with torch.no_grad():
                features = self.features(image)
        else:
            features = self.features(image)
        logits: Tensor = self.head(features)
        return logits

    def features(self, image: Tensor) -> Tensor:
        """(B, C, *spatial) -> (B, num_features): the encoder's prefix token, else the mean over its tokens."""
        summary: Tensor = self.image_encoder.summary(self.image_encoder(image))  # type: ignore[operator]
        return summary

    @torch.jit.unused
    def train(self, mode: bool = True) -> ImageClassifier:
        super().train(mode)
        if self.freeze:
            self.image_encoder.eval()
        return self
