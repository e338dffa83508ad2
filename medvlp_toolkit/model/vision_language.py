"""The parts of a model and the data flow between them.

:class:`VisionLanguageModel` owns the parts, :class:`~medvlp_toolkit.model.Encodings` computes each of them at most once
per step, :class:`~medvlp_toolkit.model.PretrainingModel` turns a batch into losses.
"""

from typing import Any

from torch import Tensor, nn

from medvlp_toolkit.interfaces import FusionOutput


class QueriesImages(nn.Module):
    """What has a fusion module that entity queries attend through; scripts in TorchScript when that does."""

    def fuse_queries(self, image_tokens: Tensor, queries: Tensor, need_attention: bool = False) -> FusionOutput:
        """Query every image (B, N, D) with the same queries (Q, D): text (B, Q, D)."""
        # A view, not a copy: a fusion module sees by its stride that all rows are equal.
        everywhere = queries.unsqueeze(0).expand(image_tokens.shape[0], -1, -1)
        fused: FusionOutput = self.fusion(image_tokens, everywhere, need_attention=need_attention)  # type: ignore[operator]
        return fused


class VisionLanguageModel(QueriesImages):
    """The parts of a vision-language model and the data flow between them.

    Args:
        image_encoder: (B, C, *spatial) -> (B, N, Di).
        fusion: attends between image tokens and text tokens or entity queries; None for a dual encoder.
        image_projection: (…, Di) -> (…, D); identity when None.
        text_encoder: (B, L) tokens -> (B, L, Dt); None for models that read no report.
        text_projection: (…, Dt) -> (…, D), for report tokens; identity when None.
        knowledge_encoder: () -> (E, Dk) embeddings of a knowledge graph's entities.
        entity_bank: (Q, Dt) frozen embeddings of entity descriptions, kept as a buffer: the text model that computed
            them is not part of this model.
        entity_projection: (…, Dt) -> (…, D), for the entity bank, whose width may differ from that of the report
            tokens; None: ``text_projection`` is used for both.
        entity_tokens: (Q, L) token ids and mask of the entities' names, instead of an ``entity_bank``: the text encoder
            embeds them in every step, and is trained through them.
    """

    entity_bank: Tensor | None
    entity_ids: Tensor | None
    entity_mask: Tensor | None

    def __init__(
        self,
        image_encoder: nn.Module,
        fusion: nn.Module | None = None,
        image_projection: nn.Module | None = None,
        text_encoder: nn.Module | None = None,
        text_projection: nn.Module | None = None,
        knowledge_encoder: nn.Module | None = None,
        entity_bank: Tensor | None = None,
        entity_projection: nn.Module | None = None,
        entity_tokens: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        super().__init__()
        if entity_tokens is not None and (entity_bank is not None or text_encoder is None):
            raise ValueError("entity_tokens are embedded by the text_encoder, and take the place of an entity_bank")
        self.image_encoder = image_encoder
        self.image_projection = image_projection if image_projection is not None else nn.Identity()
        self.text_encoder = text_encoder
        self.text_projection = text_projection if text_projection is not None else nn.Identity()
        self.knowledge_encoder = knowledge_encoder
        self.entity_projection = entity_projection
        # losses that read it where it is None are refused
        self.fusion: nn.Module = fusion  # type: ignore[assignment]
        self.register_buffer("entity_bank", entity_bank)
        ids, mask = entity_tokens or (None, None)
        self.register_buffer("entity_ids", ids, persistent=False)
        self.register_buffer("entity_mask", mask, persistent=False)

    def image_tokens(self, image: Tensor, keep: Tensor | None = None) -> Tensor:
        """(B, C, *spatial) -> (B, N, D)."""
        features = self.image_encoder(image) if keep is None else self.image_encoder(image, keep)
        projected: Tensor = self.image_projection(features)
        return projected

    def text_features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, L) -> (B, L, Dt), before their projection."""
        if self.text_encoder is None:
            raise ValueError("this model has no text_encoder, and a loss reads report tokens; add a text_encoder")
        features: Tensor = self.text_encoder(input_ids, attention_mask)
        return features

    def text_tokens(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, L) -> (B, L, D)."""
        projected: Tensor = self.text_projection(self.text_features(input_ids, attention_mask))
        return projected

    def text_summary(self, features: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, L, Dt) text features -> (B, D): the class token, projected; else the mean of projected tokens."""
        encoder = self.text_encoder
        if encoder.num_prefix_tokens:  # type: ignore[union-attr]
            # alone: the other tokens need not be projected
            summary: Tensor = self.text_projection(encoder.summary(features))  # type: ignore[union-attr, operator]
            return summary
        return text_summary(encoder, self.text_projection(features), attention_mask)

    @property
    def has_entity_queries(self) -> bool:
        """Whether there is an ``entity_bank``, or ``entity_tokens`` in its place."""
        return self.entity_bank is not None or self.entity_ids is not None

    def entity_embeddings(self) -> Tensor:
        """Embeddings of the knowledge: the graph's entities (E, Dk), else the entity queries (Q, D)."""
        if self.knowledge_encoder is not None:
            graph: Tensor = self.knowledge_encoder()
            return graph
        if not self.has_entity_queries:
            raise ValueError("this model has neither a knowledge_encoder nor an entity_bank; give one of them")
        return self.entity_queries()

    @property
    def bank_projection(self) -> nn.Module:
        """The projection of the entity bank: ``entity_projection``, else ``text_projection``."""
        return self.text_projection if self.entity_projection is None else self.entity_projection

    def entity_queries(self) -> Tensor:
        """(Q, D): the projected entity bank, or the names as the text encoder embeds them now."""
        if self.entity_ids is not None and self.entity_mask is not None:
            return self.text_summary(self.text_features(self.entity_ids, self.entity_mask), self.entity_mask)
        if self.entity_bank is None:
            raise ValueError(
                "entity queries need an entity_bank; encode descriptions with medvlp_toolkit.model.EntityBank"
            )
        queries: Tensor = self.bank_projection(self.entity_bank)
        return queries

    def fuse_entities(self, image_tokens: Tensor, need_attention: bool = False) -> FusionOutput:
        """Query the image with every entity of the bank: (B, N, D) -> text (B, Q, D)."""
        return self.fuse_queries(image_tokens, self.entity_queries(), need_attention)


def text_summary(encoder: Any, tokens: Tensor, mask: Tensor) -> Tensor:
    """(B, L, D) -> (B, D): as the encoder sums up tokens; without a class token the mean over those of ``mask``."""
    if encoder.num_prefix_tokens:
        summary: Tensor = encoder.summary(tokens)
        return summary
    real = mask.to(tokens.dtype).unsqueeze(-1)
    return (tokens * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)
