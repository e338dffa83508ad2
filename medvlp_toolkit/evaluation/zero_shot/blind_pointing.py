"""Baselines of the pointing game that ignore the image: chance, and the best fixed point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medvlp_toolkit.data.boxes import Mask
from medvlp_toolkit.evaluation.maps.heat_maps import cells_at, pixel_centres


def touched_cells(mask: Mask, grid: Sequence[int]) -> Mask:
    """(*grid) cells that overlap a mask (*size) by at least one pixel, and so count as hits."""
    touched = np.zeros(tuple(grid), bool)
    cells = [cells_at(pixel_centres(pixels, count), count) for pixels, count in zip(mask.shape, grid, strict=True)]
    touched[tuple(cells[axis][where] for axis, where in enumerate(np.nonzero(mask)))] = True
    return touched


@dataclass(frozen=True, slots=True)
class FixedPoint:
    """One point for every image: ``at`` in fractions of the image (x, y for pictures), and its hit rate."""

    at: tuple[float, ...]
    hit_rate: float


def best_fixed_point(masks: Sequence[Mask]) -> FixedPoint:
    """The single point that hits the most masks.

    Findings have typical locations, so a model has to beat this, not only chance. The point is chosen on the evaluated
    images themselves, which makes it the best possible fixed point.

    Args:
        masks: one per image, all of one shape: pixels (:func:`box_mask`), or cells (:func:`touched_cells`) if
            the model also points at cells.

    Raises:
        ValueError: without masks.
    """
    hits = _hits(masks)
    index = np.unravel_index(int(hits.argmax()), hits.shape)
    place = [(int(i) + 0.5) / n for i, n in zip(index, hits.shape, strict=True)]
    return FixedPoint(tuple(reversed(place)), float(hits.max()) / len(masks))


def chance(masks: Sequence[Mask]) -> float:
    """Hit rate of a uniformly drawn point: the mean share of the image that the masks cover.

    Args:
        masks: as for :func:`best_fixed_point`; overlapping boxes count once.

    Raises:
        ValueError: without masks.
    """
    hits = _hits(masks)
    return float(hits.mean()) / len(masks)


def _hits(masks: Sequence[Mask]) -> NDArray[np.int64]:
    if not len(masks):
        raise ValueError("no image shows the finding, so pointing is undefined; give at least one mask")
    hits = np.zeros(masks[0].shape, np.int64)
    for mask in masks:
        if mask.shape != hits.shape:
            raise ValueError(f"masks of one shape expected, got {mask.shape} and {hits.shape}")
        hits += mask
    return hits
