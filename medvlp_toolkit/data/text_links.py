"""Entities of a knowledge graph in short texts, as the tensors that a fusion module reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medvlp_toolkit.data.records import Finding, Report

#: Padding of ``linked_entities``.
NO_ENTITY = -100


class TextLinks:
    """Links texts when a data set is opened: questions are few and short.

    Args:
        entity_linker: reports -> mentions with ``concept_id`` (else ``entity``) and ``span``.
        entities: ids of the graph's entities, in the order of their embeddings.
        max_entities: mentions kept of a text, the first ones.
    """

    def __init__(
        self,
        entity_linker: Callable[[Sequence[Report]], list[list[Finding]]],
        entities: Sequence[str],
        max_entities: int = 24,
    ) -> None:
        self.entity_linker = entity_linker
        self.number = {name: number for number, name in enumerate(entities)}
        self.max_entities = max_entities

    def of(self, texts: Sequence[str], offsets: NDArray[Any]) -> tuple[Tensor, Tensor]:
        """Entities (T, M) int64, padded with -100, and which tokens each covers (T, M, L) float32.

        Args:
            texts: T texts.
            offsets: (T, L, 2) start and end of every token in its text; (0, 0) for special tokens and padding.

        A mention with a character that no token covers, because the text was cut, is dropped.
        """
        entities = np.full((len(texts), self.max_entities), NO_ENTITY, np.int64)
        alignment = np.zeros((len(texts), self.max_entities, offsets.shape[1]), np.float32)
        mentions = self.entity_linker([Report(str(number), text) for number, text in enumerate(texts)])
        for line, found in enumerate(mentions):
            starts, ends = offsets[line, :, 0], offsets[line, :, 1]
            kept = 0
            for mention in found:
                number = self.number.get(mention.concept_id or mention.entity)
                if number is None or mention.span is None or kept == self.max_entities:
                    continue
                start, end = mention.span
                covered = (starts < end) & (ends > start)
                if not covered.any() or ends[covered].max() < end:
                    continue
                entities[line, kept] = number
                alignment[line, kept] = covered
                kept += 1
        return torch.from_numpy(entities), torch.from_numpy(alignment)
