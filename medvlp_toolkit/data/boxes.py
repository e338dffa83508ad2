"""Boxes and masks of findings, in fractions of the image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medvlp_toolkit.data.records import Box

#: A :class:`Box`, or (x, y, width, height); fractions of the image, from the upper left.
AnyBox = Box | tuple[float, float, float, float]


Mask = NDArray[np.bool_]


def box_mask(boxes: Sequence[AnyBox], size: tuple[int, int]) -> Mask:
    """(height, width) mask of the pixels whose centre is in at least one box.

    For boxes on whole pixels of a larger image this is that image's mask resampled by nearest neighbour, as in
    MedKLIP's published grounding (1024 × 1024 to 224 × 224).
    """
    height, width = size
    mask = np.zeros((height, width), bool)
    for box in boxes:
        x, y, w, h = corners(box)
        # A centre (i + 0.5) / n is in [x, x + w) for i >= ceil(x n - 0.5). Round first, because a fraction such as
        # 100/1024 times 1024 may be slightly above the integer.
        left, right = (int(np.ceil(round(edge * width - 0.5, 6))) for edge in (x, x + w))
        top, bottom = (int(np.ceil(round(edge * height - 0.5, 6))) for edge in (y, y + h))
        mask[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = True
    return mask


def bounding_boxes(mask: Mask) -> list[AnyBox]:
    """The bounding box of a mask (height, width), in fractions of the image; empty for an empty mask."""
    if not mask.any():
        return []
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top = columns[0] / mask.shape[1], rows[0] / mask.shape[0]
    width, height = (columns[-1] + 1) / mask.shape[1] - left, (rows[-1] + 1) / mask.shape[0] - top
    return [(float(left), float(top), float(width), float(height))]


def corners(box: AnyBox) -> tuple[float, float, float, float]:
    """(x, y, width, height) of a box; raises ValueError if it is not in fractions of the image."""
    x, y, width, height = (box.x, box.y, box.width, box.height) if isinstance(box, Box) else box
    if width < 0 or height < 0 or max(abs(x), abs(y), width, height) > 2:
        raise ValueError(
            f"box x={x:g} y={y:g} width={width:g} height={height:g} is not in fractions of the image; "
            "divide pixels by the image's size"
        )
    return x, y, width, height
