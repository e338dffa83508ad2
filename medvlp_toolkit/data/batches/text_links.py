"""Knowledge-graph entities in short texts, as input tensors of a fusion module."""

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
    """Links texts when a data set is opened, which is fast because questions are few and short.

    Args:
        entity_linker: reports -> mentions with ``concept_id`` (else ``entity``) and ``span``.
        entities: ids of the graph's entities, in the order of their embeddings.
        max_entities: maximum number of mentions per text; the first are kept.
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
        """Entities (T, M) int64, padded with -100, and the tokens covered by each, (T, M, L) float32.

        Args:
            texts: T texts.
            offsets: (T, L, 2) start and end of every token in its text; (0, 0) for special tokens and padding.

        A mention that extends beyond the tokens, because the text was truncated, is dropped.
        """
        mentions = self.entity_linker([Report(str(number), text) for number, text in enumerate(texts)])
        known = [
            (line, number, *mention.span)
            for line, found in enumerate(mentions)
            for mention in found
            if (number := self.number.get(mention.concept_id or mention.entity)) is not None
            and mention.span is not None
        ]
        text, numbers, starts, ends = np.array(known, np.int64).reshape(-1, 4).T
        entities, alignment, _ = align_mentions(text, numbers, starts, ends, offsets, self.max_entities)
        return torch.from_numpy(entities), torch.from_numpy(alignment)


def align_mentions(
    text: NDArray[np.int64],
    numbers: NDArray[np.int64],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    offsets: NDArray[Any],
    max_entities: int,
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
    """Mentions of entities as input of a fusion module.

    Args:
        text: (T,) index of each mention's text among the B texts, ascending.
        numbers, starts, ends: (T,) its entity, and its first and last character.
        offsets: (B, L, 2) start and end of every token in its text; (0, 0) for special tokens and padding.
        max_entities: M, maximum number of mentions per text; the first are kept.

    Returns:
        (B, M) entities, padded with -100; (B, M, L) the tokens covered by each; (T,) whether the tokens cover the whole
        mention: one that extends beyond them, because the text was truncated, is dropped.
    """
    token_starts, token_ends = offsets[..., 0][text], offsets[..., 1][text]
    covered = (token_starts < token_ends) & (token_ends > starts[:, None]) & (token_starts < ends[:, None])
    whole = np.where(covered, token_ends, -1).max(axis=1, initial=-1) >= ends
    text, numbers, covered = text[whole], numbers[whole], covered[whole]
    slot = np.arange(len(text)) - np.searchsorted(text, text)
    fits = slot < max_entities
    batch, length = offsets.shape[:2]
    entities = np.full((batch, max_entities), NO_ENTITY, dtype=np.int64)
    alignment = np.zeros((batch, max_entities, length), dtype=np.float32)
    entities[text[fits], slot[fits]] = numbers[fits]
    alignment[text[fits], slot[fits]] = covered[fits]
    return entities, alignment, whole
