"""Maps an image to a probability per prompt: the network that is verified, exported and deployed."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medvlp_toolkit.model.vision_language import VisionLanguageModel


class PromptScorer(nn.Module):
    """Scores findings by prompts: (B, C, *spatial) -> (B, Q).

    CheXzero's protocol (Tiu et al. 2022): softmax over the cosines of the image with a finding's positive and negative
    text, unscaled; which is the sigmoid of the cosine with the one minus that with the other. Cosines lie close
    together, and so do these probabilities: they order images, and a threshold is chosen on labelled ones.

    It holds the image side of a model (shared, not copied) and embedded texts, and no text model: built with zeros, it
    takes its state dict from a file.

    Args:
        model: whose image side it is.
        findings: Q.
        width: D of the projected tokens.

    Example::

        network_def:
          _target_: medvlp_contrastive.scorer.PromptScorer
          model: "@model"
          findings: "$len(@prompts)"
          width: "@width"
    """

    prompts: Tensor  # TorchScript reads this annotation: it may not be a string

    def __init__(self, model: VisionLanguageModel, findings: int, width: int) -> None:
        super().__init__()
        self.image_encoder = model.image_encoder
        self.image_projection = model.image_projection
        self.register_buffer("prompts", torch.zeros(findings, width))

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, *spatial) float image -> (B, Q) float32 probability that each finding is present."""
        return self.score(self.embed(image), self.prompts)

    def embed(self, image: Tensor) -> Tensor:
        """(B, C, *spatial) -> (B, D) float32 of length 1."""
        tokens: Tensor = self.image_projection(self.image_encoder(image))
        summary: Tensor = self.image_encoder.summary(tokens)  # type: ignore[operator]
        return F.normalize(summary.float(), dim=-1)

    def score(self, embedding: Tensor, prompts: Tensor) -> Tensor:
        """(B, D) images and (Q, D) prompts -> (B, Q)."""
        # Not a matrix product, which autocast would round to three digits: scores that close would be equal.
        return (embedding.unsqueeze(1) * prompts.unsqueeze(0)).sum(dim=-1).sigmoid()

    @torch.jit.unused
    def ask(self, vectors: Tensor) -> "PromptScorer":
        """Score by other prompts (Q', D), in place; returns the scorer."""
        if vectors.ndim != 2 or vectors.shape[1] != self.prompts.shape[1]:
            raise ValueError(
                f"prompts (Q, {self.prompts.shape[1]}) of this model's text side are expected, got "
                f"{tuple(vectors.shape)}"
            )
        self.prompts = vectors
        return self

    def grid_size(self, image_shape: Sequence[int]) -> tuple[int, ...]:
        """Image tokens along each spatial axis for an image of ``image_shape`` (spatial axes only)."""
        grid: tuple[int, ...] = self.image_encoder.grid_size(image_shape)  # type: ignore[operator]
        return grid
