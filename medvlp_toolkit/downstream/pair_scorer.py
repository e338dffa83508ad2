"""Scores of how well images and texts match, from the image-text matching head."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medvlp_toolkit.downstream.pair_encoder import PairEncoder
from medvlp_toolkit.downstream.tokenizer_state import tokenizer_to_tensor
from medvlp_toolkit.interfaces import Knowledge
from medvlp_toolkit.weights.weights import NONE, load_weights


class PairScorer(nn.Module):
    """A score per pair of an image and a text: the matching head's logit of "match".

    Retrieval as in ARL (Chen et al. 2022): the score layer is initialised from that row of the matching head, and
    fine-tuned to distinguish the true text from random ones. ``forward(batch)`` returns the scores (B,) of its pairs.

    Args:
        pairs: the pre-trained model.
        matching_head: (pooled) -> 2 logits, of :meth:`PretrainedBundle.matching_head`; None initialises it from
            N(0, 0.02), which requires fine-tuning.
        tokenizer: stored in the state dict; the text encoder's own when None.
    """

    tokenizer: Tensor

    def __init__(self, pairs: PairEncoder, matching_head: nn.Linear | None = None, tokenizer: Any = None) -> None:
        super().__init__()
        self.pairs = pairs
        self.head = nn.Linear(pairs.width, 1)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        if matching_head is not None:
            if matching_head.in_features != pairs.width or matching_head.out_features != 2:
                raise ValueError(
                    f"the matching head maps {matching_head.in_features} to {matching_head.out_features}, and this "
                    f"model's pair feature has {pairs.width}; is the checkpoint of another model?"
                )
            with torch.no_grad():
                self.head.weight.copy_(matching_head.weight[1:])
                self.head.bias.copy_(matching_head.bias[1:])
        self.register_buffer("tokenizer", tokenizer_to_tensor(pairs.tokenizer if tokenizer is None else tokenizer))

    def forward(self, batch: Mapping[str, Any]) -> Tensor:
        """A batch of pairs -> (B,) scores."""
        scores: Tensor = self.head(self.pairs(batch).pooled).squeeze(-1)
        return scores

    def score(self, image: Tensor, text: Tensor, text_mask: Tensor, knowledge: Knowledge | None = None) -> Tensor:
        """Encoded images (B, N, D) and texts (B, L, D), pair by pair -> (B,) scores."""
        pooled = self.pairs.fuse(image, text, text_mask, knowledge).pooled
        scores: Tensor = self.head(pooled).squeeze(-1)
        return scores


def retriever(
    pairs: PairEncoder,
    matching_head: nn.Linear | None = None,
    finetuned: str | Path | None = None,
    tokenizer: Any = None,
) -> PairScorer:
    """The scorer to evaluate: fine-tuned if a checkpoint is given, else zero-shot with the matching head.

    Raises:
        ValueError: when neither exists, or the checkpoint does not fit.
    """
    if finetuned in NONE and matching_head is None:
        raise ValueError(
            "zero-shot retrieval scores by the head of image-text matching, and this checkpoint has none; pre-train "
            "with that loss, or fine-tune first and give its best.pt (finetuned)"
        )
    scorer = PairScorer(pairs, matching_head, tokenizer)
    if finetuned not in NONE:
        load_weights(scorer, str(finetuned), key="model")
    return scorer


class TextChoice(nn.Module):
    """Fine-tuning for retrieval: select the image's own text among random other texts.

    ``forward(batch)`` takes a batch of pairs and returns logits (B, 1 + K): the score of each pair's image with its own
    text first, then with K texts of other images in the batch, chosen by ``choice_draws``. Every image and text of the
    batch is encoded once; the published code encodes each image 1 + K times and draws K further texts.

    Args:
        scorer: the scorer to fine-tune.
        negatives: K, published 15.
    """

    def __init__(self, scorer: PairScorer, negatives: int = 15) -> None:
        super().__init__()
        if negatives < 1:
            raise ValueError("negatives is less than 1; retrieval needs at least one false text")
        self.scorer = scorer
        self.negatives = negatives

    def forward(self, batch: Mapping[str, Any]) -> Tensor:
        pairs = self.scorer.pairs
        image, text = pairs.images(batch["image"]), pairs.texts(batch)
        knowledge = pairs.knowledge(batch)
        owners: Tensor = batch["image_index"]
        texts, count = chosen_texts(owners, batch["choice_draws"], self.negatives), len(owners)
        lines = texts.flatten()
        rows = owners.repeat_interleave(texts.shape[1])
        links = None if knowledge is None else Knowledge(*(part[lines] for part in knowledge))
        scores = self.scorer.score(image[rows], text[lines], batch["attention_mask"][lines], links)
        return scores.view(count, -1)


def chosen_texts(owners: Tensor, draws: Tensor, negatives: int) -> Tensor:
    """(B,) image of each text -> (B, 1 + K) texts that each pair is compared with, its own first.

    Args:
        owners: index of each text's image.
        draws: (B, ≥ B) uniform numbers: the K smallest among texts of other images are chosen.
        negatives: K.

    Raises:
        ValueError: when the batch has too few other texts.
    """
    count = len(owners)
    same = owners[:, None] == owners[None, :]
    fewest = count - int(same.sum(dim=1).max())
    if fewest < negatives:
        raise ValueError(
            f"a batch of {count} texts has {fewest} that are not about an image, and {negatives} false texts are "
            "required; raise batch_size or lower negatives"
        )
    order = draws[:, :count].masked_fill(same, 2.0)
    others = order.argsort(dim=1)[:, :negatives]
    return torch.cat([torch.arange(count, device=owners.device)[:, None], others], dim=1)


class ChoiceLoss(nn.Module):
    """Cross-entropy of scores (B, 1 + K), of which the first is the true pair's; the target argument is ignored."""

    def forward(self, logits: Tensor, target: Tensor | None = None) -> Tensor:
        return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))
