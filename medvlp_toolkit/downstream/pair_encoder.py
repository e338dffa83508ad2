"""The joint feature of an image and a text from any pre-trained model, which the heads for pairs read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from medvlp_toolkit.interfaces import FusionOutput, Knowledge, PoolsPairs
from medvlp_toolkit.model.encodings import Encodings, computes_parts, reads_knowledge
from medvlp_toolkit.model.vision_language import VisionLanguageModel


class PairEncoder(nn.Module):
    """The towers and the fusion module of a model, called separately, so that each image and text is encoded once.

    Args:
        model: with a text encoder.
        text_encoder: for a model that has none, such as MedKLIP's, whose text model only computed the entity bank: give
            that text model; its tokens are mapped by the projection of the descriptions.

    ``width`` is that of the pair feature: the fusion module's ``pooled`` (ARL's two class tokens), or else the first
    text token and the mean image token side by side.

    Raises:
        ValueError: where there is no text encoder, or no fusion module.
    """

    def __init__(self, model: VisionLanguageModel, text_encoder: nn.Module | None = None) -> None:
        super().__init__()
        if text_encoder is not None:
            if model.text_encoder is None:
                model.text_projection = model.bank_projection
            model.text_encoder = text_encoder
        if model.text_encoder is None:
            raise ValueError(
                "this pre-trained model has no text encoder, so it cannot read a question or a caption; give one "
                "(text_encoder), for MedKLIP the text model of its descriptions"
            )
        if model.fusion is None:
            raise ValueError(
                "this pre-trained model is a dual encoder without a fusion module, and a pair's feature is its; "
                "pre-train with one, or add one to its configuration (fusion)"
            )
        model.entity_bank, model.entity_projection = None, None  # descriptions are no pairs
        self.model = model
        if isinstance(model.fusion, PoolsPairs):
            self.width = model.fusion.pooled_width
        else:
            self.width = 2 * int(model.fusion.width)  # type: ignore[arg-type]

    @property
    def tokenizer(self) -> Any:
        """Of the text encoder."""
        return self.model.text_encoder.tokenizer  # type: ignore[union-attr]

    def images(self, image: Tensor) -> Tensor:
        """(I, C, *spatial) -> (I, N, D)."""
        return self.model.image_tokens(image)

    def texts(self, batch: Mapping[str, Any]) -> Tensor:
        """``input_ids`` and ``attention_mask`` (B, L) -> (B, L, D)."""
        return self.model.text_tokens(batch["input_ids"], batch["attention_mask"])

    def knowledge(self, batch: Mapping[str, Any]) -> Knowledge | None:
        """The linked entities of a batch, if it has any and the model has a knowledge graph."""
        read = self.model.knowledge_encoder is not None and reads_knowledge(self.model.fusion)
        if not read or "linked_entities" not in batch:
            return None
        embeddings = Encodings(self.model, batch).linked_entity_embeddings()
        return Knowledge(embeddings, batch["linked_entities"] >= 0, batch["linked_entity_alignment"])

    def fuse(
        self,
        image: Tensor,
        text: Tensor,
        text_mask: Tensor,
        knowledge: Knowledge | None = None,
        need_attention: bool = False,
    ) -> FusionOutput:
        """Tokens of B images (B, N, D) and B texts (B, L, D) -> the fusion module's output, ``pooled`` (B, width)."""
        # Only the pooled output of the last layer is needed, unless attention maps are requested.
        parts = computes_parts(self.model.fusion) and not need_attention
        options = {"compute": "pooled"} if parts else {}
        fused: FusionOutput = self.model.fusion(
            image, text, text_mask=text_mask, knowledge=knowledge, need_attention=need_attention, **options
        )
        if fused.pooled is not None:
            return fused
        return fused._replace(pooled=torch.cat([fused.text[:, 0], fused.image.mean(dim=1)], dim=-1))

    def forward(self, batch: Mapping[str, Any], need_attention: bool = False) -> FusionOutput:
        """A batch of :class:`~medvlp_toolkit.data.PairDataset` -> the fusion module's output per text."""
        image = self.images(batch["image"])
        if "image_index" in batch:
            image = image[batch["image_index"]]
        return self.fuse(image, self.texts(batch), batch["attention_mask"], self.knowledge(batch), need_attention)
