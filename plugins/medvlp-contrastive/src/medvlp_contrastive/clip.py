"""CLIP's loss, which CheXzero trains with on radiographs."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from medvlp_contrastive.pairing import Equal, PairingLoss, exact
from medvlp_contrastive.temperature import Temperature
from medvlp_toolkit.interfaces import Encodings


class Clip(PairingLoss):
    """Image and report find each other among those of the whole batch, with a learned temperature.

    Radford et al. 2021, section 2.3 and figure 3 (InfoNCE, van den Oord et al. 2018, equation 4, both ways); on
    radiographs and reports Tiu et al. 2022 (CheXzero). With unit vectors v_i of images and u_j of reports, and s = 1/τ:

        ½ · [ −log exp(s v_i·u_i) / Σ_j exp(s v_i·u_j)  −  log exp(s v_i·u_i) / Σ_j exp(s v_j·u_i) ], mean over i.

    Args:
        temperature: τ to begin with.
        largest_scale: 1/τ is held at this.
        equal: soft targets for studies that say the same, see :class:`~medvlp_contrastive.pairing.PairingLoss`.

    Example::

        contrast:
          _target_: medvlp_toolkit.pretext_losses.clip
    """

    def __init__(self, temperature: float = 0.07, largest_scale: float = 100.0, equal: Equal | None = None) -> None:
        super().__init__(equal)
        self.head = Temperature(1 / temperature, largest=largest_scale)

    def forward(self, encodings: Encodings) -> tuple[Tensor, Tensor]:
        pairs = self.pairs(encodings)
        with exact(pairs.image):
            of_images = F.cross_entropy(self.head(pairs.image @ pairs.texts.t()), pairs.targets, reduction="sum")
            of_texts = F.cross_entropy(self.head(pairs.text @ pairs.images.t()), pairs.targets, reduction="sum")
            return (of_images + of_texts) / 2, pairs.count
