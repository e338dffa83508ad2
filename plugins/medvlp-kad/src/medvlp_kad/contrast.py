"""KAD's contrast of images and texts, by their features before fusion."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medvlp_toolkit.engines.ranks import rank, rows_of_all_ranks
from medvlp_toolkit.interfaces import Encodings

#: Published: the logarithm of CLIP's initial scale, used as the scale itself and never learned.
SCALE = math.log(1 / 0.07)


class FeatureContrast(nn.Module):
    """Symmetric cross-entropy of image and text features, not normalised (Zhang et al. 2023, Methods; published code).

    Each image is matched with its own text among those of all processes, and the reverse.

    Args:
        scale: of the dot products; published ln(1/0.07), not learned.

    Example::

        contrast:
          _target_: medvlp_toolkit.pretext_losses.feature_contrast
    """

    needs = frozenset({"image", "input_ids", "attention_mask"})
    reads = frozenset({"image_encoder", "image_projection", "text_encoder", "text_projection"})

    def __init__(self, scale: float = SCALE) -> None:
        super().__init__()
        self.head = nn.Identity()
        self.scale = scale

    def forward(self, encodings: Encodings) -> tuple[Tensor, Tensor]:
        image, text = encodings.image_summary().float(), encodings.text_summary().float()
        images, texts, first = rows_of_all_ranks(image), rows_of_all_ranks(text), rank() * image.shape[0]
        own = torch.arange(first, first + image.shape[0], device=image.device)
        to_text = F.cross_entropy(self.scale * image @ texts.T, own, reduction="sum")
        to_image = F.cross_entropy(self.scale * text @ images.T, own, reduction="sum")
        return (to_text + to_image) / 2, image.new_tensor(float(image.shape[0]))
