"""The networks for verification, export and deployment: from an image to a pre-trained model's outputs."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medvlp_arl.alignment import entity_logits
from medvlp_toolkit.model.pretraining import PretrainingModel
from medvlp_toolkit.model.vision_language import VisionLanguageModel


class AlignmentScorer(nn.Module):
    """Scores every entity of the knowledge graph: (B, C, H, W) -> (B, E).

    The image side of a model, the alignment loss's head for it, and the graph encoder's entities as a buffer,
    since they are constant in evaluation. It can be built from sizes alone and filled from a state dict. After training
    has changed the entities, call :meth:`refresh`.

    Args:
        model: with a ``knowledge_encoder``.
        head: the alignment loss's ``head["image"]``.

    Example::

        network_def:
          _target_: medvlp_arl.scorer.AlignmentScorer
          model: "@model"
          head: "$@losses['alignment'].head['image']"
    """

    entity_embeddings: Tensor  # TorchScript reads this annotation: it may not be a string

    def __init__(self, model: VisionLanguageModel, head: nn.Module) -> None:
        super().__init__()
        if model.knowledge_encoder is None:
            raise ValueError("AlignmentScorer needs a model with a knowledge_encoder; its entities are scored")
        self.image_encoder = model.image_encoder
        self.image_projection = model.image_projection
        self.head = head
        self.register_buffer("entity_embeddings", _entities(model))

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) float image -> (B, E) float32 probability that its report mentions each entity."""
        tokens: Tensor = self.image_projection(self.image_encoder(image))
        summary: Tensor = self.image_encoder.summary(tokens)  # type: ignore[operator]
        return entity_logits(self.head(summary), self.entity_embeddings).sigmoid()

    @torch.jit.unused
    def refresh(self, model: VisionLanguageModel) -> "AlignmentScorer":
        """Recompute the entities from the graph encoder; returns the scorer."""
        self.entity_embeddings.copy_(_entities(model))
        return self

    def grid_size(self, image_shape: Sequence[int]) -> tuple[int, ...]:
        """Image tokens along each spatial axis for an image of ``image_shape`` (spatial axes only)."""
        grid: tuple[int, ...] = self.image_encoder.grid_size(image_shape)  # type: ignore[operator]
        return grid


class ImageFeatures(nn.Module):
    """One feature per image, before fusion, as its encoder sums up tokens: (B, C, H, W) -> (B, D).

    A class token's, where there is one; those of a linear probe are means over all tokens.

    Args:
        model: whose image encoder and projection are used.
    """

    def __init__(self, model: VisionLanguageModel) -> None:
        super().__init__()
        self.image_encoder = model.image_encoder
        self.image_projection = model.image_projection

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) float image -> (B, D)."""
        tokens: Tensor = self.image_projection(self.image_encoder(image))
        summary: Tensor = self.image_encoder.summary(tokens)  # type: ignore[operator]
        return summary


def alignment_scorer(model: PretrainingModel, loss: str = "alignment") -> AlignmentScorer:
    """The scorer of a pre-trained model, with the head of its alignment loss."""
    if loss not in model.losses:
        raise ValueError(f"the model has no loss {loss!r}, only {', '.join(model.losses)}; name the alignment loss")
    head: nn.Module = model.losses[loss].head["image"]  # type: ignore[index, assignment]
    return AlignmentScorer(model.model, head)


def image_features(model: PretrainingModel) -> ImageFeatures:
    """The image tower of a pre-trained model."""
    return ImageFeatures(model.model)


def _entities(model: VisionLanguageModel) -> Tensor:
    """The graph encoder's output without dropout, detached."""
    encoder = model.knowledge_encoder
    assert encoder is not None
    training = encoder.training
    with torch.no_grad():
        entities: Tensor = encoder.eval()()
    encoder.train(training)
    return entities.detach().clone()
