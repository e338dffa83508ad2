"""Answers and classes of pairs of an image and a text: a head on the pair feature, and its loss."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medvlp_toolkit.data.batches.answers import UNSEEN, AnswerVocabulary
from medvlp_toolkit.downstream.pair_encoder import PairEncoder
from medvlp_toolkit.downstream.tokenizer_state import tokenizer_to_tensor
from medvlp_toolkit.interfaces import FusionOutput
from medvlp_toolkit.weights.weights import load_weights, read_weights


class AnswerHead(nn.Module):
    """Maps the pair feature to a logit per answer: linear, layer norm, GELU, linear, as in METER and ARL.

    Weights are initialised from N(0, 0.02), biases to zero. The vocabulary is a buffer, so that a checkpoint includes
    the meaning of its outputs.

    Args:
        width: of the pair feature and of the hidden layer.
        vocabulary: the answers.
        dropout: before the last layer, published 0.
    """

    vocabulary: Tensor

    def __init__(self, width: int, vocabulary: AnswerVocabulary, dropout: float = 0.0) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, len(vocabulary))
        self.register_buffer("vocabulary", vocabulary.to_tensor())
        for layer in (self.dense, self.output):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, width) -> (B, answers) logits."""
        logits: Tensor = self.output(self.dropout(F.gelu(self.norm(self.dense(pooled)))))
        return logits


class PairClassifier(nn.Module):
    """A pre-trained model with a head that answers questions about images, or classifies images with their captions.

    ``forward(batch)`` takes a batch of :class:`~medvlp_toolkit.data.PairDataset` and gives logits (B, answers).

    Args:
        pairs: the pre-trained model.
        vocabulary: the answers.
        tokenizer: of the texts, stored in the state dict; the text encoder's own when None.
        dropout: see :class:`AnswerHead`.
    """

    tokenizer: Tensor

    def __init__(
        self, pairs: PairEncoder, vocabulary: AnswerVocabulary, tokenizer: Any = None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.pairs = pairs
        self.head = AnswerHead(pairs.width, vocabulary, dropout)
        self.register_buffer("tokenizer", tokenizer_to_tensor(pairs.tokenizer if tokenizer is None else tokenizer))

    @property
    def image_encoder(self) -> nn.Module:
        """The encoder of the image tokens in the attention maps."""
        return self.pairs.model.image_encoder

    @property
    def fusion(self) -> nn.Module:
        """The module that computes the attention maps."""
        return self.pairs.model.fusion

    @property
    def vocabulary(self) -> AnswerVocabulary:
        return AnswerVocabulary.from_tensor(self.head.vocabulary)

    def forward(self, batch: Mapping[str, Any]) -> Tensor:
        return self.answer(batch)[0]

    def answer(self, batch: Mapping[str, Any], need_attention: bool = False) -> tuple[Tensor, FusionOutput]:
        """Logits (B, answers), and the fusion output they are computed from."""
        fused: FusionOutput = self.pairs(batch, need_attention)
        logits: Tensor = self.head(fused.pooled)
        return logits, fused


class AnswerLoss(nn.Module):
    """Loss of answers: ``forward(logits (B, C), answer (B,))``; -1 means an answer outside the vocabulary.

    Args:
        kind: ``binary`` (published): binary cross-entropy summed over the classes and averaged over the batch, with all
            classes negative for an answer of -1; ``exclusive``: cross-entropy over the classes, without such pairs.
    """

    def __init__(self, kind: Literal["binary", "exclusive"] = "binary") -> None:
        super().__init__()
        if kind not in ("binary", "exclusive"):
            raise ValueError(f"the loss of answers is binary or exclusive, not {kind!r}")
        self.kind = kind

    def forward(self, logits: Tensor, answer: Tensor) -> Tensor:
        known = answer != UNSEEN
        if self.kind == "binary":
            target = F.one_hot(answer.clamp(min=0), logits.shape[1]).to(logits.dtype) * known[:, None]
            return F.binary_cross_entropy_with_logits(logits, target, reduction="sum") / len(logits)
        terms = F.cross_entropy(logits, answer.clamp(min=0), reduction="none")
        return torch.where(known, terms, 0.0).sum() / known.sum().clamp(min=1)


def checkpoint_vocabulary(checkpoint: str | Path) -> AnswerVocabulary:
    """The answers of a fine-tuned checkpoint.

    Raises:
        FileNotFoundError, ValueError: when the file does not exist or was not fine-tuned to answer.
    """
    return AnswerVocabulary.from_state(read_weights(checkpoint, key="model"))


def load_answerer(network: PairClassifier, checkpoint: str | Path) -> PairClassifier:
    """Load a fine-tuned checkpoint, including its answers.

    Raises:
        ValueError: when its vocabulary differs from the network's, or entries do not fit (listed).
    """
    network.vocabulary.check_same(checkpoint_vocabulary(checkpoint))
    load_weights(network, checkpoint, key="model")
    return network
