"""Masked language modelling with image and knowledge."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medvlp_arl.attention import EPSILON
from medvlp_arl.initialisation import initialise
from medvlp_toolkit.interfaces import Encodings


class VocabularyHead(nn.Module):
    """BERT's language head with its own decoder: dense, GELU, norm, then one score per token of the vocabulary."""

    def __init__(self, width: int, vocabulary_size: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.decoder = nn.Linear(width, vocabulary_size)

    def forward(self, features: Tensor) -> Tensor:
        """(…, width) -> (…, vocabulary_size) float32."""
        scores: Tensor = self.decoder(self.norm(F.gelu(self.dense(features))))
        return scores.float()


class MaskedLanguageModelling(nn.Module):
    """Predicts masked tokens from the rest of the report, the image and the remaining entities.

    Cross-entropy over the masked tokens (Devlin et al. 2019); which tokens are masked is drawn with the batch (whole
    entities, Chen et al. 2022, section 3.4). The vocabulary is scored at the masked positions only.

    Args:
        width: D of the fused text.
        vocabulary_size: of the text encoder's tokenizer.
        knowledge: whether entities that overlap no mask are injected; False for a model without knowledge.
        init_std: of the initial weights, published 0.02; None keeps torch's own, with which narrow models learn.

    Example::

        masked_language:
          _target_: medvlp_toolkit.pretext_losses.masked_language_modelling
          width: "@fusion.width"
          vocabulary_size: "$len(@text_encoder.tokenizer)"
    """

    def __init__(
        self,
        width: int = 768,
        vocabulary_size: int = 50265,
        knowledge: bool = True,
        init_std: float | None = 0.02,
    ) -> None:
        super().__init__()
        self.needs = frozenset({"image", "masked_input_ids", "attention_mask", "masked_positions", "masked_labels"})
        self.reads = frozenset({"image_encoder", "image_projection", "text_encoder", "text_projection", "fusion"})
        if knowledge:
            self.needs |= {"masked_linked_entities", "masked_linked_entity_alignment"}
            self.reads |= {"knowledge_encoder"}
        self.head = VocabularyHead(width, vocabulary_size)
        initialise(self, init_std)

    def forward(self, encodings: Encodings) -> tuple[Tensor, Tensor]:
        labels = encodings.batch["masked_labels"].to(torch.long).flatten()
        logits = self.logits(encodings).flatten(0, 1)
        masked = labels != -100
        # With ignore_index the loss is a zero connected to the head if nothing is masked.
        return F.cross_entropy(logits, labels, ignore_index=-100, reduction="sum"), masked.sum()

    def logits(self, encodings: Encodings) -> Tensor:
        """(B, K, vocabulary_size) float32 at the K masked positions."""
        features = encodings.fused("masked", "full", compute="text").text
        positions = encodings.batch["masked_positions"].to(torch.long).unsqueeze(-1)
        if encodings.share:
            features = features.gather(1, positions.expand(-1, -1, features.shape[-1]))
            scores: Tensor = self.head(features)
            return scores
        everywhere: Tensor = self.head(features)  # as published, whatever is masked
        return everywhere.gather(1, positions.expand(-1, -1, everywhere.shape[-1]))
