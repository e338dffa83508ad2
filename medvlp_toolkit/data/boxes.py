"""Boxes and masks of findings, in fractions of the image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medvlp_toolkit.data.records import Box

#: A :class:`Box`, or (x, y, width, height); fractions of the image, from the upper left.
AnyBox = Box | tuple[float, float, float, float]


Mask = NDArray[np.bool_]
_ROUNDING = 1e-6


def box_mask(boxes: Sequence[AnyBox], size: tuple[int, int]) -> Mask:
    """(height, width) mask of the pixels whose centre is in at least one box.

    For boxes on whole pixels of a larger image this is that image's mask resampled by nearest neighbour, as in
    MedKLIP's published grounding (1024 × 1024 to 224 × 224).
    """
    height, width = size
    mask = np.zeros((height, width), bool)
    for box in boxes:
        x, y, w, h = corners(box)
        rows = within(np.arange(height) + 0.5, y * height, (y + h) * height)
        mask[np.ix_(rows, within(np.arange(width) + 0.5, x * width, (x + w) * width))] = True
    return mask


def within(centres: NDArray[np.number], low: float, high: float) -> Mask:
    """True where the centres of pixels or voxels lie along an axis from ``low`` up to, and not including, ``high``.

    So that of two intervals with a common end one has the pixel between them. Ends are rounded (to a millionth of a
    pixel, or of a millimetre): a fraction such as 100/1024 times 1024 may be slightly above the integer.
    """
    inside: Mask = (centres >= low - _ROUNDING) & (centres < high - _ROUNDING)
    return inside


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
