"""Mismatched images for reports: the negatives of image-text matching."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from medvlp_toolkit.data.batches.draws import uniform

_MATCHING_STREAM = 8


class Mismatches:
    """Draws for each study whether its report is paired with its own image or with which other image.

    Each study is a pair with probability one half, independently of its batch. (Published code pairs exactly half of a
    batch, so that the draw depends on the batching.)

    Args:
        groups: one value per study: its vector of labels, or its patient. A report is never paired with another image
            of its own group.

    Raises:
        ValueError: when all studies are in one group.
    """

    def __init__(self, groups: Sequence[Hashable]) -> None:
        numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
        if len(numbers) < 2:
            raise ValueError(
                "image-text matching needs studies that differ, and all of these have the same labels (or patient); "
                "take more studies, or set matching to patients"
            )
        group = np.array([numbers[value] for value in groups], dtype=np.int64)
        self.order = np.argsort(group, kind="stable")  # studies sorted by group
        self.size = np.bincount(group)[group]
        self.begin = np.searchsorted(group[self.order], group)

    def draw(
        self, studies: NDArray[np.int64], seed: int, epoch: int, keys: NDArray[np.uint64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """(B,) studies -> (B,) is a pair, (B,) a study of another group."""
        draws = uniform(seed, epoch, _MATCHING_STREAM, keys, 2).astype(np.float64)
        others = len(self.order) - self.size[studies]
        place = np.minimum((draws[:, 1] * others).astype(np.int64), others - 1)
        begin = self.begin[studies]
        place = np.where(place < begin, place, place + self.size[studies])  # skip the study's own group
        return draws[:, 0] < 0.5, self.order[place]
