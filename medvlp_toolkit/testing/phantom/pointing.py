"""What pointing at boxes scores without looking: the baselines that a model has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medvlp_toolkit.testing.phantom.finding import BoxTuple


@dataclass(frozen=True, slots=True)
class FixedPoint:
    """The point (fractions of the image) that lies in the boxes of most images, and in what share of them."""

    x: float
    y: float
    hit_rate: float


def box_mask(boxes: Sequence[BoxTuple], size: int) -> NDArray[np.bool_]:
    """(size, size) pixels whose centre lies in at least one of the boxes."""
    mask = np.zeros((size, size), bool)
    for x, y, width, height in boxes:
        # A centre (i + 0.5) / size lies in [x, x + width) for i from ceil(x size - 0.5) on.
        left, right = (int(np.ceil(edge * size - 0.5)) for edge in (x, x + width))
        top, bottom = (int(np.ceil(edge * size - 0.5)) for edge in (y, y + height))
        mask[max(top, 0) : bottom, max(left, 0) : right] = True
    return mask


def best_fixed_point(boxes: Sequence[Sequence[BoxTuple]], size: int = 128) -> FixedPoint:
    """The single pixel that hits a box of a finding in most images.

    ``boxes`` has one entry an image that shows the finding: its boxes (x, y, width, height) in
    fractions. Raises ValueError without images.
    """
    if not boxes:
        raise ValueError("no image shows the finding, so there is no best fixed point; give at least one image's boxes")
    hits = np.zeros((size, size), np.int64)
    for one_image in boxes:
        hits += box_mask(one_image, size)
    row, column = np.unravel_index(int(hits.argmax()), hits.shape)
    return FixedPoint((int(column) + 0.5) / size, (int(row) + 0.5) / size, float(hits.max()) / len(boxes))


def chance(boxes: Sequence[Sequence[BoxTuple]], size: int = 128) -> float:
    """Hit rate of a point drawn evenly from the image: the mean share of the image that the boxes cover.

    Boxes that overlap count once. Raises ValueError without images.
    """
    if not boxes:
        raise ValueError("no image shows the finding, so chance is undefined; give at least one image's boxes")
    return float(np.mean([box_mask(one_image, size).mean() for one_image in boxes]))
