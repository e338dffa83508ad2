"""Image against text over the batches of all processes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from medvlp_toolkit.engines.ranks import gather_rows, rank


def contrastive_sums(image: Tensor, text: Tensor, scale: Tensor | float) -> tuple[Tensor, Tensor]:
    """InfoNCE in both directions (van den Oord et al. 2018; Radford et al. 2021, figure 3), as a pretext loss counts.

    Each process scores its own rows against the rows of all (the local loss), so that its share of the score matrix is
    (B, N B) and not (N B, N B). Gathered rows carry a gradient: the sums of all processes over their counts are the
    loss and the gradient of one process with the joined batch.

    Args:
        image, text: (B, D) embeddings, row i of both the same study; they are brought to length 1 here.
        scale: inverse temperature.

    Returns:
        The sum over this process's 2 B rows, and how many rows there were.
    """
    image, text = F.normalize(image, dim=-1), F.normalize(text, dim=-1)
    own = torch.arange(image.shape[0], device=image.device) + rank() * image.shape[0]
    image_scores = scale * image @ gather_rows(text).T
    text_scores = scale * text @ gather_rows(image).T
    total = F.cross_entropy(image_scores, own, reduction="sum") + F.cross_entropy(text_scores, own, reduction="sum")
    return total, torch.tensor(2 * image.shape[0], device=image.device)
