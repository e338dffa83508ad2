"""SigLIP's loss."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from medvlp_contrastive.pairing import Equal, PairingLoss, exact
from medvlp_contrastive.temperature import Temperature
from medvlp_toolkit.interfaces import Encodings


class Siglip(PairingLoss):
    """Every pair of an image and a report is judged by itself: does it belong together?

    Zhai et al. 2023 (SigLIP), section 3.2. With unit vectors v_i of images and u_j of reports, z_ij = 1 where they
    match and −1 where not:

        −Σ_j log σ( z_ij (t v_i·u_j + b) ), mean over i.

    Args:
        scale: t to begin with, published 10; its logarithm is learned.
        bias: b to begin with, published −10: most pairs do not match.
        equal: studies that say the same match, see :class:`~medvlp_contrastive.pairing.PairingLoss`.

    Example::

        contrast:
          _target_: medvlp_toolkit.pretext_losses.siglip
    """

    def __init__(self, scale: float = 10.0, bias: float = -10.0, equal: Equal | None = None) -> None:
        super().__init__(equal)
        self.head = Temperature(scale, bias=bias)

    def forward(self, encodings: Encodings) -> tuple[Tensor, Tensor]:
        pairs = self.pairs(encodings)
        with exact(pairs.image):
            logits = self.head(pairs.image @ pairs.texts.t())
            return -F.logsigmoid(logits * (2 * pairs.matches.float() - 1)).sum(), pairs.count
