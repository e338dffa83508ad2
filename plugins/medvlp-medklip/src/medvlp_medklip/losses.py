"""MedKLIP's two pretext losses: whether an entity exists, and where."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medvlp_medklip.fusion import initialise
from medvlp_toolkit.interfaces import ABSENT, NOT_MENTIONED, PRESENT, Encodings

_QUERIES = frozenset({"entity_projection", "fusion"})
_READS = _QUERIES | {"image_encoder", "image_projection"}

#: Image view -> the keys of a batch that existence on it needs, and the parts that its gradient reaches.
_OF_VIEW = {
    "full": (frozenset({"image", "entity_presence"}), _READS),
    "report": (
        frozenset({"input_ids", "attention_mask", "entity_presence"}),
        _QUERIES | {"text_encoder", "text_projection"},
    ),
}


class EntityExistence(nn.Module):
    """Existence of each entity: two-way cross-entropy over the entities that the report mentions.

    Wu et al. 2023, section 3.3: softmax over (absent, present); entities not mentioned, or mentioned as
    uncertain, are excluded.

    Args:
        width: D of the fused entity features.
        init_std: of the initial weights; None keeps torch's own.
        image: what the entities query: the image, or the ``report`` in its place, as in KAD (Zhang et al. 2023).
        unmentioned: ``ignore`` leaves out what is not mentioned, ``absent`` counts it as absent, as KAD does.
        head: of another existence loss, to be trained by both; a new one when None.

    Example::

        existence:
          _target_: medvlp_toolkit.pretext_losses.entity_existence
          width: "@fusion.width"
    """

    def __init__(
        self,
        width: int = 256,
        init_std: float | None = 0.02,
        image: Literal["full", "report"] = "full",
        unmentioned: Literal["ignore", "absent"] = "ignore",
        head: nn.Linear | None = None,
    ) -> None:
        super().__init__()
        if image not in _OF_VIEW:
            raise ValueError(f"entity_existence image {image!r} is not one of {', '.join(_OF_VIEW)}")
        if unmentioned not in ("ignore", "absent"):
            raise ValueError(f"entity_existence unmentioned {unmentioned!r} is not one of ignore, absent")
        self.image = image
        self.unmentioned_is_absent = unmentioned == "absent"
        self.needs, self.reads = _OF_VIEW[image]
        self.head = nn.Linear(width, 2) if head is None else head
        if head is None:
            initialise(self, init_std)

    def forward(self, encodings: Encodings) -> tuple[Tensor, Tensor]:
        logits = self.head(encodings.fused(text="entities", image=self.image).text).float()  # (B, Q, 2)
        presence = encodings.batch["entity_presence"].to(torch.long)
        if self.unmentioned_is_absent:
            presence = torch.where(presence == NOT_MENTIONED, ABSENT, presence)
        stated = (presence == PRESENT) | (presence == ABSENT)
        terms = F.cross_entropy(logits.flatten(0, 1), presence.clamp(0, 1).flatten(), reduction="none")
        return torch.where(stated.flatten(), terms, 0.0).sum(), stated.sum()


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
