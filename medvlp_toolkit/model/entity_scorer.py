"""Maps an image to a probability per described entity: the network that is verified, exported and deployed."""

from collections.abc import Sequence
from typing import Optional

import torch
from monai.networks import eval_mode
from torch import Tensor, nn

from medvlp_toolkit.interfaces import FusionOutput
from medvlp_toolkit.model.pretraining import PretrainingModel
from medvlp_toolkit.model.vision_language import QueriesImages, VisionLanguageModel


class EntityScorer(QueriesImages):
    """Scores every entity of the bank: (B, C, *spatial) -> (B, Q).

    It contains the image side of a model, its entity bank and the existence head (shared with ``model``, not copied),
    but no text model: it can be built with a bank of zeros of the right shape and filled from a state dict. Moving it
    to a device moves the shared parts, but not the model's own bank: move both.
    ``forward`` scripts in TorchScript when the parts do.

    Args:
        model: with an ``entity_bank`` (Q, Dt), or with ``entity_tokens``, whose present embeddings become the bank.
        head: the existence loss's ``head``, D -> 2 logits (absent, present).

    Example::

        network_def:
          _target_: medvlp_toolkit.model.entity_scorer.EntityScorer
          model: "@model"
          head: "$torch.nn.Linear(256, 2)"
    """

    entity_bank: Tensor  # TorchScript reads this annotation: it may not be a string

    def __init__(self, model: VisionLanguageModel, head: nn.Linear) -> None:
        super().__init__()
        if not model.has_entity_queries:
            raise ValueError("EntityScorer needs a model with an entity_bank (Q, Dt); zeros will do before loading")
        if head.out_features != 2:
            raise ValueError(f"EntityScorer needs a head of 2 logits (absent, present), got {head.out_features}")
        self.image_encoder = model.image_encoder
        self.image_projection = model.image_projection
        bank = model.entity_bank
        embedded = bank is None
        if bank is None:
            with eval_mode(model.text_encoder, model.text_projection):
                bank = model.entity_queries()
        # the same name in both, so that weights fit either
        self.text_projection = nn.Identity() if embedded else model.bank_projection
        self.fusion = model.fusion
        self.head = head
        self.register_buffer("entity_bank", bank)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, *spatial) float image -> (B, Q) float32 probability that each entity is present."""
        return self.score(self.fuse(image, False).text)

    def fuse(self, image: Tensor, need_attention: bool = False) -> FusionOutput:
        """(B, C, *spatial) -> the fusion module's output for image tokens and entity queries.

        ``text`` (B, Q, D) are the entity features that heads read; ``attention`` (B, layers, Q, N) on request.
        """
        return self.ask(self.image_tokens(image), self.entity_bank, need_attention)

    def image_tokens(self, image: Tensor) -> Tensor:
        """(B, C, *spatial) -> (B, N, D) projected tokens, to be queried by several banks."""
        tokens: Tensor = self.image_projection(self.image_encoder(image))
        return tokens

    def ask(self, tokens: Tensor, bank: Tensor, need_attention: bool = False) -> FusionOutput:
        """The fusion module's output for image tokens (B, N, D) and the queries of a bank (Q, Dt)."""
        return self.fuse_queries(tokens, self.text_projection(bank), need_attention)

    def score(self, features: Tensor) -> Tensor:
        """(B, Q, D) entity features -> (B, Q) float32 probability of presence."""
        return self.head(features).float().softmax(dim=-1)[..., 1]

    def attend(self, image: Tensor) -> tuple[Tensor, Optional[Tensor]]:  # noqa: UP045 - TorchScript
        """(B, C, *spatial) -> scores (B, Q), and attention over image tokens (B, layers, Q, N).

        Attention is None if the fusion module returns none.
        """
        fused = self.fuse(image, True)
        return self.score(fused.text), fused.attention

    @torch.jit.unused
    def add_entities(self, vectors: Tensor) -> "EntityScorer":
        """Also score entities that were never trained, by the text embeddings (Q', Dt) of their descriptions.

        They are appended to the bank in place; returns the scorer. Queries attend to each other, so the scores of the
        trained entities change slightly.

        Raises:
            ValueError: when the width of the embeddings differs from the bank's.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.entity_bank.shape[1]:
            raise ValueError(
                f"add_entities takes embeddings (Q, {self.entity_bank.shape[1]}) from the text model that made the "
                f"bank, got {tuple(vectors.shape)}"
            )
        self.entity_bank = torch.cat([self.entity_bank, vectors.to(self.entity_bank)])
        return self

    def grid_size(self, image_shape: Sequence[int]) -> tuple[int, ...]:
        """Image tokens along each spatial axis for an image of ``image_shape`` (spatial axes only)."""
        grid: tuple[int, ...] = self.image_encoder.grid_size(image_shape)  # type: ignore[operator]
        return grid


def from_pretraining_model(model: PretrainingModel, loss: str = "existence") -> EntityScorer:
    """The scorer of a pre-trained model, with the head trained by its loss ``loss``."""
    if loss not in model.losses:
        raise ValueError(f"the model has no loss {loss!r}, only {', '.join(model.losses)}; name the existence loss")
    head = model.losses[loss].head
    if not isinstance(head, nn.Linear):
        raise ValueError(
            f"the head of loss {loss!r} is a {type(head).__name__}; EntityScorer needs a Linear of 2 logits"
        )
    return EntityScorer(model.model, head)
