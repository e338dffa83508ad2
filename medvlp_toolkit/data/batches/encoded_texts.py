"""Tokenises short texts (questions, captions) for a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from medvlp_toolkit.data.batches.text_links import TextLinks
from medvlp_toolkit.data.store.tokens import Tokenizer


def encode_texts(
    texts: Sequence[str],
    tokenizer: Any,
    text_length: int,
    links: TextLinks | None = None,
) -> dict[str, Tensor]:
    """The model inputs of T texts.

    Returns:
        ``input_ids`` and ``attention_mask`` (T, L) int64, L the number of tokens of the longest text; with ``links``
        also ``linked_entities`` and ``linked_entity_alignment``.
    """
    ids, lengths, offsets, _ = Tokenizer(tokenizer, text_length).encode(list(texts))
    width = int(lengths.max())
    batch = {
        "input_ids": torch.from_numpy(ids[:, :width]).long(),
        "attention_mask": (torch.arange(width) < torch.from_numpy(lengths)[:, None]).long(),
    }
    if links is not None:
        batch["linked_entities"], batch["linked_entity_alignment"] = links.of(list(texts), offsets[:, :width])
    return batch
