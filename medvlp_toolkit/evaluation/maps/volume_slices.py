"""Pictures of images with and without maps, in two dimensions and three: where every drawing begins.

Of a volume they show an axial slice: the one with the map's highest value, or the middle one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medvlp_toolkit.data.boxes import bounding_boxes
from medvlp_toolkit.evaluation.maps.overlays import Overlay
from medvlp_toolkit.images.volume import oriented


def in_ras(volume: NDArray[Any], affine: ArrayLike | None) -> NDArray[Any]:
    """A volume, or a map or mask of one, with axes in RAS: the first runs to the patient's right.

    ``affine`` (4, 4) is the volume's, whose axes may run any way; without one the axes are in RAS already.
    """
    return volume if affine is None else oriented(volume, np.asarray(affine, np.float64), "RAS")[0]


def axial_slice(volume: NDArray[Any], index: int) -> NDArray[Any]:
    """(D, H, W) in RAS -> (H, D) in radiological orientation: anterior up, the patient's right on the left."""
    return volume[::-1, ::-1, index].T


def picture_of(image: NDArray[Any], affine: ArrayLike | None = None) -> NDArray[Any]:
    """The picture of an image without a map: itself, or of a volume (1, D, H, W) its middle axial slice (H, D)."""
    return overlay_of(image, no_map(image), "", affine=affine).image


def no_map(image: NDArray[Any]) -> NDArray[np.float32]:
    """A map of one token for an image (C, *size), which shows nothing."""
    return np.zeros((1,) * (image.ndim - 1), np.float32)


def overlay_of(
    image: NDArray[Any],
    heat: NDArray[np.floating],
    label: str,
    score: float | None = None,
    truth: Any = None,
    shift: Sequence[float] = (),
    affine: ArrayLike | None = None,
    name: str = "",
) -> Overlay:
    """The picture of a map on its image.

    Args:
        image: (C, H, W), or (1, D, H, W) of a volume, of which the slice with the map's highest value is taken.
        heat: (h, w) or (d, h, w) on the token grid.
        label, score, name: see :class:`~medvlp_toolkit.evaluation.Overlay`.
        truth: boxes of the finding, or its mask (H, W) or (D, H, W), which is boxed; of a volume, in the slice.
        shift: where tokens look within their cell (:func:`~medvlp_toolkit.evaluation.upsample`).
        affine: (4, 4) of the volume, whose axes may run any way; in RAS when None.
    """
    if heat.ndim == 2:
        boxes = bounding_boxes(truth) if isinstance(truth, np.ndarray) else truth or ()
        return Overlay(image, heat, label, score, boxes, shift=shift, name=name)
    from nibabel.orientations import io_orientation

    scan, heat = in_ras(image[0], affine), in_ras(heat, affine)
    turn = io_orientation(np.eye(4) if affine is None else np.asarray(affine))
    moved = zip(shift or (0.0, 0.0, 0.0), turn, strict=True)
    (_, along), (_, across), (_, up) = sorted((int(axis), float(sign) * part) for part, (axis, sign) in moved)
    layer = int(np.unravel_index(int(heat.argmax()), heat.shape)[2])
    layers = scan.shape[2]
    index = min(int((layer + 0.5 + up) * layers / heat.shape[2]), layers - 1)
    boxes = bounding_boxes(axial_slice(in_ras(truth, affine), index)) if isinstance(truth, np.ndarray) else []
    note = f"slice {index + 1} of {layers}"
    # The slice shows the second axis downwards and the first one leftwards: both are turned round.
    shown = axial_slice(scan, index), axial_slice(heat, layer)
    return Overlay(*shown, label, score, boxes, note, shift=(-across, -along), name=name)
