"""A small vision-language model and batches of pairs for it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import medvlp_toolkit as mv
from medvlp_arl.projection import TypedProjection
from medvlp_toolkit.downstream.pair_encoder import PairEncoder
from medvlp_toolkit.model.vision_language import VisionLanguageModel

TEXTS = ["Which half is bright?", "Is the top bright?", "bright left", "bright right half", "top"]
WIDTH = 16


def small_model(layers: int = 2) -> VisionLanguageModel:
    torch.manual_seed(0)
    text_encoder = mv.encoders.transformers_text(
        config={"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16},
        corpus=TEXTS,
        seed=0,
    )
    image_encoder = mv.encoders.clip_vit(image_size=16, patch_size=8, width=16, layers=1, heads=2, in_channels=1)
    fusion = mv.fusion_modules.knowledge_co_attention(
        width=WIDTH, layers=layers, heads=2, feed_forward=32, knowledge=False
    )
    return VisionLanguageModel(
        image_encoder, fusion, TypedProjection(16, WIDTH), text_encoder, TypedProjection(16, WIDTH)
    )


def small_pairs(layers: int = 2) -> PairEncoder:
    return PairEncoder(small_model(layers))


def pair_batch(pairs: PairEncoder, images: int = 3, seed: int = 1) -> dict[str, Any]:
    """Every text with one of the images, as the data set gives it."""
    encoded = pairs.tokenizer(TEXTS, padding=True, return_tensors="pt")
    generator = torch.Generator().manual_seed(seed)
    return {
        "image": torch.randn(images, 1, 16, 16, generator=generator),
        "image_index": torch.arange(len(TEXTS)) % images,
        "input_ids": encoded["input_ids"],
        "attention_mask": encoded["attention_mask"],
        "answer": torch.tensor([0, 1, 2, -1, 0]),
        "choice_draws": torch.rand(len(TEXTS), len(TEXTS), generator=generator),
    }


def one_pair(batch: dict[str, Any], number: int, image: int | None = None) -> dict[str, Tensor]:
    """The batch of one text with its image, or with another, as if nothing else were there."""
    shown = int(batch["image_index"][number]) if image is None else image
    return {
        "image": batch["image"][shown : shown + 1],
        "input_ids": batch["input_ids"][number : number + 1],
        "attention_mask": batch["attention_mask"][number : number + 1],
    }
