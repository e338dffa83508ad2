"""ConVIRT's loss."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from medvlp_contrastive.pairing import Equal, PairingLoss, exact
from medvlp_contrastive.temperature import Temperature
from medvlp_toolkit.interfaces import Encodings


class Convirt(PairingLoss):
    """Image and report find each other at a fixed temperature, the directions weighted.

    Zhang et al. 2022 (ConVIRT), equations 2 to 4. With unit vectors v_i of images and u_j of reports:

        −λ log exp(v_i·u_i/τ) / Σ_j exp(v_i·u_j/τ)  −  (1−λ) log exp(v_i·u_i/τ) / Σ_j exp(v_j·u_i/τ), mean over i.

    Args:
        temperature: τ, published 0.1.
        image_weight: λ, of the direction from image to report, published 0.75.
        equal: soft targets for studies that say the same, see :class:`~medvlp_contrastive.pairing.PairingLoss`.

    Example::

        contrast:
          _target_: medvlp_toolkit.pretext_losses.convirt
    """

    def __init__(self, temperature: float = 0.1, image_weight: float = 0.75, equal: Equal | None = None) -> None:
        super().__init__(equal)
        if not 0 <= image_weight <= 1:
            raise ValueError(f"image_weight is a share between 0 and 1, not {image_weight:g}")
        self.image_weight = image_weight
        self.head = Temperature(1 / temperature, learned=False)

    def forward(self, encodings: Encodings) -> tuple[Tensor, Tensor]:
        pairs = self.pairs(encodings)
        with exact(pairs.image):
            of_images = F.cross_entropy(self.head(pairs.image @ pairs.texts.t()), pairs.targets, reduction="sum")
            of_texts = F.cross_entropy(self.head(pairs.text @ pairs.images.t()), pairs.targets, reduction="sum")
            return self.image_weight * of_images + (1 - self.image_weight) * of_texts, pairs.count
