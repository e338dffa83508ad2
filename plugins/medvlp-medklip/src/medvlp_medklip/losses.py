"""MedKLIP's two pretext losses: whether an entity exists, and where."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medvlp_medklip.fusion import initialise
from medvlp_toolkit.interfaces import ABSENT, PRESENT, Encodings

_READS = frozenset({"image_encoder", "image_projection", "entity_projection", "fusion"})


class EntityExistence(nn.Module):
    """Existence of each entity: two-way cross-entropy over the entities that the report mentions.

    Wu et al. 2023, section 3.3: softmax over (absent, present); entities not mentioned, or mentioned as
    uncertain, are excluded.

    Args:
        width: D of the fused entity features.
        init_std: of the initial weights; None keeps torch's own.

    Example::

        existence:
          _target_: medvlp_toolkit.pretext_losses.entity_existence
          width: "@fusion.width"
    """

    needs = frozenset({"image", "entity_presence"})
    reads = _READS

    def __init__(self, width: int = 256, init_std: float | None = 0.02) -> None:
        super().__init__()
        self.head = nn.Linear(width, 2)
        initialise(self, init_std)

    def forward(self, encodings: Encodings) -> tuple[Tensor, Tensor]:
        logits = self.head(encodings.fused(text="entities").text).float()  # (B, Q, 2)
        presence = encodings.batch["entity_presence"].to(torch.long)
        stated = (presence == PRESENT) | (presence == ABSENT)
        terms = F.cross_entropy(logits.flatten(0, 1), presence.clamp(0, 1).flatten(), reduction="none")
        return torch.where(stated.flatten(), terms, 0.0).sum(), stated.sum()

    def scores(self, features: Tensor) -> Tensor:
        """(B, Q, D) fused entity features -> (B, Q) probability that the entity is present."""
        return self.head(features).float().softmax(dim=-1)[..., 1]


class EntityPosition(nn.Module):
    """Position of each present entity: contrasts its true position against other sampled ones.

    Wu et al. 2023, section 3.3: the dot product of the projected entity feature with the text embedding
    of each candidate position, cross-entropy with the true one first; only present entities count.

    The published computation projects every entity to the text width (768) and gathers candidate vectors
    (B, Q, K, 768). Here the positions are projected to the model's width instead, P × D numbers once:
    ⟨W x + b, a⟩ = ⟨x, Wᵀa⟩ + ⟨b, a⟩.

    Args:
        position_bank: (P, Dt) frozen text embeddings of the positions.
        width: D of the fused entity features.
        normalize: False, as published, keeps the embeddings' norms; True scales them to 1, which small or untrained
            text models need.
        init_std: of the initial weights; None keeps torch's own.

    Example::

        position:
          _target_: medvlp_toolkit.pretext_losses.entity_position
          position_bank: "@position_bank"
          width: "@fusion.width"
    """

    needs = frozenset({"image", "entity_presence", "entity_position_candidates"})
    reads = _READS
    position_bank: Tensor

    def __init__(
        self, position_bank: Tensor, width: int = 256, normalize: bool = False, init_std: float | None = 0.02
    ) -> None:
        super().__init__()
        if position_bank.ndim != 2:
            raise ValueError(f"entity_position takes a position_bank (P, Dt), got {tuple(position_bank.shape)}")
        bank = F.normalize(position_bank, dim=-1) if normalize else position_bank
        self.register_buffer("position_bank", bank)
        self.head = nn.Linear(width, position_bank.shape[1])
        initialise(self, init_std)

    def forward(self, encodings: Encodings) -> tuple[Tensor, Tensor]:
        features = encodings.fused(text="entities").text  # (B, Q, D)
        candidates = encodings.batch["entity_position_candidates"].to(torch.long)  # (B, Q, K)
        present = encodings.batch["entity_presence"] == PRESENT
        scores = self.scores(features).gather(-1, candidates)  # (B, Q, K)
        target = torch.zeros_like(candidates[..., 0]).flatten()
        terms = F.cross_entropy(scores.flatten(0, 1), target, reduction="none")
        return torch.where(present.flatten(), terms, 0.0).sum(), present.sum()

    def scores(self, features: Tensor) -> Tensor:
        """(B, Q, D) fused entity features -> (B, Q, P) unnormalised score of every position."""
        positions = self.position_bank @ self.head.weight  # (P, D)
        offsets = self.position_bank @ self.head.bias  # (P,)
        return (features @ positions.t() + offsets).float()
