"""A small complete model and a random batch, to test a pretext loss without other plugins."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from medvlp_toolkit.interfaces import FusionOutput, Knowledge
from medvlp_toolkit.model.vision_language import VisionLanguageModel


@dataclass(frozen=True)
class Sizes:
    """Of the stand-in model and its batches; the letters are those of :mod:`medvlp_toolkit.interfaces`."""

    batch: int = 4
    image: int = 16  # height and width; patches of 4 give N = 16
    patch: int = 4
    text_tokens: int = 8  # L
    vocabulary: int = 20
    entities: int = 6  # Q
    positions: int = 5  # P
    candidates: int = 4  # K
    linked: int = 3  # M
    graph: int = 7  # E
    labels: int = 5  # of a source's own
    width: int = 16  # D
    encoder_width: int = 12
    pooled_width: int = 32  # Dp

    @property
    def image_tokens(self) -> int:
        return (self.image // self.patch) ** 2


class StandInImageEncoder(nn.Module):
    """Patches through one convolution; a masked pass drops the others."""

    num_prefix_tokens = 0
    supports_masking = True

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.num_features = sizes.encoder_width
        self.embed = nn.Conv2d(1, sizes.encoder_width, sizes.patch, stride=sizes.patch)

    def forward(self, image: Tensor, keep: Tensor | None = None) -> Tensor:
        tokens: Tensor = self.embed(image).flatten(2).transpose(1, 2)
        if keep is not None:
            tokens = tokens.gather(1, keep.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))
        return tokens

    def summary(self, tokens: Tensor) -> Tensor:
        return tokens.mean(dim=1)


class StandInTextEncoder(nn.Module):
    """One vector per token id."""

    num_prefix_tokens = 1

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.num_features = sizes.encoder_width
        self.embed = nn.Embedding(sizes.vocabulary, sizes.encoder_width)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        tokens: Tensor = self.embed(input_ids) * attention_mask.unsqueeze(-1)
        return tokens

    def summary(self, tokens: Tensor) -> Tensor:
        return tokens[:, 0]


class StandInGraph(nn.Module):
    """One vector per entity of the graph."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.entities = nn.Parameter(torch.randn(sizes.graph, sizes.width))

    def forward(self) -> Tensor:
        return self.entities


class StandInFusion(nn.Module):
    """Text attends to the image, and the image takes the mean of text and knowledge."""

    reads_knowledge = True

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.width = sizes.width
        self.pooled_width = sizes.pooled_width
        self.attention = nn.MultiheadAttention(sizes.width, 2, batch_first=True)
        self.to_image = nn.Linear(sizes.width, sizes.width)
        self.pool = nn.Linear(sizes.width, sizes.pooled_width)

    def forward(
        self,
        image: Tensor,
        text: Tensor,
        text_mask: Tensor | None = None,
        knowledge: Knowledge | None = None,
        stop_after: int = -1,
        need_attention: bool = False,
    ) -> FusionOutput:
        attended, weights = self.attention(text, image, image, need_weights=need_attention)
        text = text + attended
        if knowledge is not None:
            entities = knowledge.embeddings * knowledge.mask.unsqueeze(-1)
            text = text + knowledge.alignment.transpose(1, 2) @ entities + entities.mean(dim=1, keepdim=True)
        summary = text.mean(dim=1)
        image = image + self.to_image(summary).unsqueeze(1)
        return FusionOutput(image, text, self.pool(summary), weights.unsqueeze(1) if need_attention else None)


def stand_in_model(sizes: Sizes, seed: int = 0) -> VisionLanguageModel:
    """Every part that a loss may read, with trainable parameters each."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VisionLanguageModel(
            image_encoder=StandInImageEncoder(sizes),
            image_projection=nn.Linear(sizes.encoder_width, sizes.width),
            text_encoder=StandInTextEncoder(sizes),
            text_projection=nn.Linear(sizes.encoder_width, sizes.width),
            entity_projection=nn.Linear(sizes.encoder_width, sizes.width),
            knowledge_encoder=StandInGraph(sizes),
            fusion=StandInFusion(sizes),
            entity_bank=torch.randn(sizes.entities, sizes.encoder_width),
        )


def stand_in_batch(needs: Iterable[str], sizes: Sizes, seed: int = 0) -> dict[str, Any]:
    """The keys of the batch table named in ``needs``, with random content of the stated shapes and types.

    Raises:
        KeyError: for a key that the table does not have.
    """
    generator = torch.Generator().manual_seed(seed)
    size = sizes.batch

    def integers(high: int, *shape: int, low: int = 0) -> Tensor:
        return torch.randint(low, high, shape, generator=generator)

    image = torch.randn(size, 1, sizes.image, sizes.image, generator=generator)
    ids = integers(sizes.vocabulary, size, sizes.text_tokens, low=5)
    presence = integers(3, size, sizes.entities, low=-1).to(torch.int8)
    presence[:, 0] = 1  # every sample has a positive, a negative and one that carries no loss
    presence[:, 1] = 0
    presence[:, 2] = 2
    linked = integers(sizes.graph, size, sizes.linked)
    linked[:, -1] = -100
    alignment = (torch.rand(size, sizes.linked, sizes.text_tokens, generator=generator) > 0.6).float()
    masked_positions = torch.stack(
        [torch.randperm(sizes.text_tokens, generator=generator)[: sizes.candidates] for _ in range(size)]
    )
    masked_labels = ids.gather(1, masked_positions)
    masked_labels[:, -1] = -100
    is_pair = torch.arange(size) % 2 == 0
    targets = integers(2, size, sizes.labels, low=-1).to(torch.int8)
    targets[:, 0] = 1
    batch: dict[str, Any] = {
        "image": image,
        "image_scale": torch.tensor([[1.0, 0.0]]).repeat(size, 1),
        "study_id": [f"study-{number}" for number in range(size)],
        "patient_id": [f"patient-{number}" for number in range(size)],
        "augmentation_draws": torch.rand(size, 16, generator=generator),
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "entity_presence": presence,
        "entity_position_candidates": integers(sizes.positions, size, sizes.entities, sizes.candidates),
        "linked_entities": linked,
        "linked_entity_alignment": alignment,
        "masked_input_ids": ids.scatter(1, masked_positions, 4),
        "masked_positions": masked_positions,
        "masked_labels": masked_labels,
        "masked_linked_entities": linked.roll(1, dims=1),
        "masked_linked_entity_alignment": alignment.roll(1, dims=1),
        "image_entities": (torch.rand(size, sizes.graph, generator=generator) > 0.5).float(),
        "text_entities": (torch.rand(size, sizes.graph, generator=generator) > 0.5).float(),
        "patch_noise": torch.rand(size, sizes.image_tokens, generator=generator),
        "is_pair": is_pair,
        "negative_image": image.roll(1, dims=0),
        "targets": targets,
        "mask": (torch.rand(size, 1, sizes.image, sizes.image, generator=generator) > 0.7).to(torch.uint8),
    }
    return {key: batch[key] for key in needs}


def without_terms(batch: dict[str, Any]) -> dict[str, Any] | None:
    """The batch without any terms for a loss; None if its keys cannot express that."""
    silent = {"entity_presence": -1, "masked_labels": -100, "targets": -1}
    if not silent.keys() & batch.keys():
        return None
    return {key: torch.full_like(value, silent[key]) if key in silent else value for key, value in batch.items()}
