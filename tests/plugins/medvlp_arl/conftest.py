"""A small ARL with everything that is in the published one, and a batch for it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import medvlp_toolkit as mv
from medvlp_arl.graph_encoder import GraphAttentionEncoder
from medvlp_arl.projection import TypedProjection
from medvlp_toolkit.model.pretraining import PretrainingModel
from medvlp_toolkit.model.vision_language import VisionLanguageModel

WIDTH, TOKENS, VOCABULARY, ENTITIES, GRID = 16, 9, 40, 11, 3


def build(share_encodings: bool = True, seed: int = 0) -> PretrainingModel:
    torch.manual_seed(seed)
    encoder = mv.encoders.clip_vit(image_size=12, patch_size=4, width=12, layers=2, heads=2)
    text = {
        "model_type": "roberta",
        "vocab_size": VOCABULARY,
        "hidden_size": 20,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "max_position_embeddings": TOKENS + 2,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    graph = GraphAttentionEncoder(entities=ENTITIES, triples=20, width=8, hidden=4, heads=2, dropout=0.0)
    graph.edge_index.copy_(torch.randint(0, ENTITIES, (2, 20)))
    torch.nn.init.normal_(graph.embeddings)
    model = VisionLanguageModel(
        image_encoder=encoder,
        image_projection=TypedProjection(12, WIDTH),
        text_encoder=mv.encoders.transformers_text(config=text),
        text_projection=TypedProjection(20, WIDTH),
        knowledge_encoder=graph,
        fusion=mv.fusion_modules.knowledge_co_attention(
            WIDTH, 3, 2, 24, 0.0, knowledge_width=8, knowledge_heads=2, knowledge_feed_forward=12
        ),
    )
    losses = {
        "masked_language": mv.pretext_losses.masked_language_modelling(WIDTH, VOCABULARY),
        "masked_image": mv.pretext_losses.masked_image_modelling(
            WIDTH, (GRID, GRID), 12, stop_after=2, decoder_width=8, decoder_layers=1, decoder_heads=2
        ),
        "matching": mv.pretext_losses.image_text_matching(2 * WIDTH),
        "alignment": mv.pretext_losses.knowledge_alignment(WIDTH, 8),
    }
    return PretrainingModel(model, losses, {"matching": 0.1}, share_encodings, mask_ratio=0.6)


def batch(size: int = 4, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def integers(low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high, shape, generator=generator)

    linked = integers(0, ENTITIES, size, 3)
    linked[:, 2] = -100
    masked_linked = linked.clone()
    masked_linked[:, 0] = -100
    mask = torch.ones(size, TOKENS, dtype=torch.long)
    mask[0, -2:] = 0
    alignment = (torch.rand(size, 3, TOKENS, generator=generator) > 0.6).float() * (linked >= 0).unsqueeze(-1)
    labels = integers(5, VOCABULARY, size, 4)
    labels[:, -1] = -100
    return {
        "image": torch.randn(size, 3, 12, 12, generator=generator),
        "negative_image": torch.randn(size, 3, 12, 12, generator=generator),
        "is_pair": torch.tensor([True, False] * size)[:size],
        "input_ids": integers(5, VOCABULARY, size, TOKENS),
        "attention_mask": mask,
        "linked_entities": linked,
        "linked_entity_alignment": alignment,
        "masked_input_ids": integers(5, VOCABULARY, size, TOKENS),
        "masked_positions": torch.stack([torch.randperm(7, generator=generator)[:4] for _ in range(size)]),
        "masked_labels": labels,
        "masked_linked_entities": masked_linked,
        "masked_linked_entity_alignment": alignment * (masked_linked >= 0).unsqueeze(-1),
        "image_entities": (torch.rand(size, ENTITIES, generator=generator) > 0.5).float(),
        "text_entities": (torch.rand(size, ENTITIES, generator=generator) > 0.5).float(),
        "patch_noise": torch.rand(size, GRID * GRID, generator=generator),
    }


@pytest.fixture
def small_arl() -> Any:
    """``build(share_encodings, seed)``."""
    return build


@pytest.fixture
def small_batch() -> Any:
    """``batch(size, seed)``."""
    return batch
