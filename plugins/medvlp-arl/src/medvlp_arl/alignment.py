"""ARL's alignment loss: image and report each predict which entities of the knowledge graph are mentioned."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from medvlp_arl.initialisation import initialise
from medvlp_toolkit.interfaces import Encodings


class KnowledgeAlignment(nn.Module):
    """Predicts which entities of the knowledge graph an image and a report mention (Chen et al. 2022, section 3.2).

    The features of either modality before fusion, mapped to the width of the entities, against every entity:
    binary cross-entropy of the dot products, averaged over samples and entities, image and text added.

    Args:
        width: D of the projected tokens.
        entity_width: Dk of the entities' embeddings.
        text: False aligns the image alone, for models that read no report.
        init_std: of the initial weights, published 0.02; None keeps torch's own, with which narrow models learn.

    Example::

        alignment:
          _target_: medvlp_toolkit.pretext_losses.knowledge_alignment
          width: "@fusion.width"
          entity_width: "@knowledge_encoder.num_features"
    """

    def __init__(
        self, width: int = 768, entity_width: int = 256, text: bool = True, init_std: float | None = 0.02
    ) -> None:
        super().__init__()
        self.text = text
        self.needs = frozenset({"image", "image_entities"})
        self.reads = frozenset({"image_encoder", "image_projection", "knowledge_encoder"})
        sides = ["image"]
        if text:
            sides.append("text")
            self.needs |= {"input_ids", "attention_mask", "text_entities"}
            self.reads |= {"text_encoder", "text_projection"}
        self.head = nn.ModuleDict({side: _entity_map(width, entity_width) for side in sides})
        initialise(self, init_std)

    def forward(self, encodings: Encodings) -> tuple[Tensor, Tensor]:
        logits = self.logits(encodings)
        targets = {side: encodings.batch[f"{side}_entities"].to(logits[side]) for side in logits}
        total = sum(F.binary_cross_entropy_with_logits(logits[side], targets[side], reduction="sum") for side in logits)
        assert isinstance(total, Tensor)
        return total, total.new_full((), targets["image"].numel()).detach()

    def logits(self, encodings: Encodings) -> dict[str, Tensor]:
        """``image`` and ``text`` -> (B, E) float32 before the sigmoid."""
        summaries = {"image": encodings.image_summary, "text": encodings.text_summary}
        return {
            side: entity_logits(head(summaries[side]()), encodings.entity_embeddings())
            for side, head in self.head.items()
        }


def entity_logits(mapped: Tensor, entities: Tensor) -> Tensor:
    """Summaries (B, Dk) that the head mapped, and entities (E, Dk) -> (B, E) float32 before the sigmoid.

    Scripts in TorchScript.
    """
    return (mapped @ entities.to(mapped.dtype).t()).float()


def _entity_map(width: int, entity_width: int) -> nn.Sequential:
    """(…, width) -> (…, entity_width); published with a ReLU after either layer."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, entity_width), nn.ReLU())
