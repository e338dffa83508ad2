"""Image-text matching."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medvlp_arl.initialisation import initialise
from medvlp_toolkit.interfaces import Encodings, ModelParts, PoolsPairs


class ImageTextMatching(nn.Module):
    """Image-text matching: two-way cross-entropy on the pooled pair feature.

    As in ViLT, METER and ARL: half of the reports are paired with an image that is not theirs.

    Args:
        pooled_width: of the fusion module's ``pooled``, where no ``fusion`` is given.
        knowledge: whether the report's entities are injected; False for a model without knowledge.
        init_std: of the initial weights, published 0.02; None keeps torch's own, with which narrow models learn.
        fusion: the model's fusion module, which defines the width of its ``pooled``.

    Example::

        matching:
          _target_: medvlp_toolkit.pretext_losses.image_text_matching
          fusion: "@fusion"
    """

    def __init__(
        self,
        pooled_width: int = 1536,
        knowledge: bool = True,
        init_std: float | None = 0.02,
        fusion: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if isinstance(fusion, PoolsPairs):
            pooled_width = fusion.pooled_width
        self.needs = frozenset({"image", "negative_image", "is_pair", "input_ids", "attention_mask"})
        self.reads = frozenset({"image_encoder", "image_projection", "text_encoder", "text_projection", "fusion"})
        if knowledge:
            self.needs |= {"linked_entities", "linked_entity_alignment"}
            self.reads |= {"knowledge_encoder"}
        self.head = nn.Linear(pooled_width, 2)
        initialise(self, init_std)

    def requires(self, model: ModelParts) -> list[str]:
        """A fusion module with a pooled feature of the head's width."""
        name = type(model.fusion).__name__
        if not isinstance(model.fusion, PoolsPairs):
            return [f"reads a pooled feature of image and text, and {name} gives none (it has no pooled_width)"]
        if model.fusion.pooled_width != self.head.in_features:
            return [
                f"reads a pooled feature of width {self.head.in_features}, and that of {name} has "
                f"{model.fusion.pooled_width}: give the loss the fusion module, or its pooled_width"
            ]
        return []

    def forward(self, encodings: Encodings) -> tuple[Tensor, Tensor]:
        logits = self.logits(encodings)
        labels = encodings.batch["is_pair"].to(torch.long)
        count = torch.full((), labels.shape[0], device=logits.device)
        return F.cross_entropy(logits, labels, reduction="sum"), count

    def logits(self, encodings: Encodings) -> Tensor:
        """(B, 2) float32 logits: no match, match."""
        pooled = encodings.fused("report", "matching", compute="pooled").pooled
        if pooled is None:
            raise ValueError("image_text_matching needs a fusion module that gives a pooled feature of the pair")
        logits: Tensor = self.head(pooled).float()
        return logits
