"""Masking of report tokens (Devlin et al. 2019; whole entities: Chen et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medvlp_toolkit.data.batches.draws import uniform
from medvlp_toolkit.data.batches.text_links import NO_ENTITY

#: Label of a token that is excluded from the loss.
IGNORED = -100

_ORDER_STREAM, _ACTION_STREAM, _TOKEN_STREAM = 4, 5, 6


@dataclass(frozen=True)
class MaskedTokens:
    """A batch of reports with tokens masked.

    Attributes:
        input_ids: (B, L) int64.
        positions: (B, K) int64, ascending; filled with 0 if fewer than K tokens are masked.
        labels: (B, K) int64, the original tokens; filled with -100 if fewer are masked.
        masked: (B, L) bool.
    """

    input_ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    labels: NDArray[np.int64]
    masked: NDArray[np.bool_]


@dataclass(frozen=True)
class WholeEntityMasking:
    """Masks whole entities and single other tokens, in random order, up to a budget.

    A unit larger than the remaining budget is skipped. Of the chosen tokens 80 % become the mask token, 10 % a random
    token, and 10 % are unchanged.

    Args:
        share: of the tokens.
        budget: ``real`` counts the report's own tokens; ``padded`` counts the padded length, as published, which
            masks most of a short report.
        whole_entities: False masks each token independently.
    """

    share: float = 0.15
    budget: Literal["real", "padded"] = "real"
    whole_entities: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"share of masked tokens {self.share} is not between 0 and 1")
        if self.budget not in ("real", "padded"):
            raise ValueError(f"budget is real or padded, not {self.budget!r}")

    def slots(self, length: int) -> int:
        """K, the maximum number of masked tokens in a report of ``length`` tokens including padding."""
        return max(1, round(self.share * length))

    def __call__(
        self,
        input_ids: NDArray[np.int64],
        real: NDArray[np.bool_],
        alignment: NDArray[np.float32],
        mask_id: int,
        vocabulary: int,
        draw: tuple[int, int, NDArray[np.uint64]],
    ) -> MaskedTokens:
        """Mask a batch.

        Args:
            input_ids: (B, L).
            real: (B, L), False for special tokens and padding, which are never masked.
            alignment: (B, M, L) the tokens covered by each entity.
            mask_id, vocabulary: of the tokenizer; random tokens are below ``vocabulary``.
            draw: seed, epoch and study keys (B,).
        """
        batch, length = input_ids.shape
        order = uniform(draw[0], draw[1], _ORDER_STREAM, draw[2], length)
        budget = np.full(batch, self.slots(length))
        if self.budget == "real":
            budget = np.maximum(1, np.round(self.share * real.sum(axis=1)).astype(np.int64))
        units = self.units(real, alignment)
        chosen = _take_units(units, order, budget) & real
        action = uniform(draw[0], draw[1], _ACTION_STREAM, draw[2], length)
        random = (uniform(draw[0], draw[1], _TOKEN_STREAM, draw[2], length) * vocabulary).astype(np.int64)
        replaced = np.where(action < 0.8, mask_id, np.where(action < 0.9, random, input_ids))
        slots = self.slots(length)
        positions = np.argsort(~chosen, axis=1, kind="stable")[:, :slots]
        there = np.take_along_axis(chosen, positions, axis=1)
        return MaskedTokens(
            input_ids=np.where(chosen, replaced, input_ids),
            positions=np.where(there, positions, 0),
            labels=np.where(there, np.take_along_axis(input_ids, positions, axis=1), IGNORED),
            masked=chosen,
        )

    def units(self, real: NDArray[np.bool_], alignment: NDArray[np.float32]) -> NDArray[np.int64]:
        """(B, L) the first token of the unit that each token belongs to; -1 for tokens that are not masked."""
        length = real.shape[1]
        units = np.broadcast_to(np.arange(length), real.shape).copy()
        if self.whole_entities and alignment.shape[1]:
            covered = alignment > 0
            first = np.where(covered.any(axis=2), covered.argmax(axis=2), length)  # (B, M)
            starts = np.where(covered, first[..., None], length).min(axis=1)  # a token belongs to its first entity
            units = np.where(starts < length, starts, units)
        return np.where(real, units, -1)


def _take_units(units: NDArray[np.int64], order: NDArray[np.float32], budget: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(B, L) tokens of the units selected in ``order``, each if it fits into the remaining budget of its row."""
    batch, length = units.shape
    rows = np.arange(batch)
    sizes = np.zeros((batch, length + 1), dtype=np.int64)
    np.add.at(sizes, (rows[:, None], units), 1)  # -1 is counted in the last column
    sizes = sizes[:, :length]
    # Units in random order, empty ones at the end.
    sequence = np.where(sizes > 0, order, 2.0).argsort(axis=1)
    left = budget.copy()
    taken = np.zeros((batch, length + 1), dtype=bool)
    for step in range(length):
        unit = sequence[:, step]
        size = sizes[rows, unit]
        takes = (size > 0) & (size <= left)
        taken[rows[takes], unit[takes]] = True
        left -= size * takes
        if not (left > 0).any():
            break
    chosen: NDArray[np.bool_] = np.take_along_axis(taken, np.where(units < 0, length, units), axis=1)
    return chosen


def without_masked(
    entities: NDArray[np.int64], alignment: NDArray[np.float32], masked: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Entities (B, M) and alignment (B, M, L) without those that overlap a masked token, which they would reveal."""
    touched = np.any((alignment > 0) & masked[:, None, :], axis=2)
    return np.where(touched, NO_ENTITY, entities), np.where(touched[..., None], np.float32(0), alignment)
