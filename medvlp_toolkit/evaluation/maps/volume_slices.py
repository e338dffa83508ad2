"""The picture of a map on its image; of a volume, the axial slice with the map's highest value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medvlp_toolkit.data.boxes import bounding_boxes
from medvlp_toolkit.evaluation.maps.overlays import Overlay


def axial_slice(volume: NDArray[Any], index: int) -> NDArray[Any]:
    """(D, H, W) in RAS -> (H, D) in radiological orientation: anterior up, the patient's right on the left."""
    return volume[::-1, ::-1, index].T


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
    """The picture of a map: every drawing of one begins here.

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
    from nibabel.orientations import apply_orientation, io_orientation

    scan, shift = image[0], tuple(shift) or (0.0, 0.0, 0.0)
    if affine is not None:
        turn = io_orientation(np.asarray(affine))
        scan, heat = apply_orientation(scan, turn), apply_orientation(heat, turn)
        truth = apply_orientation(truth, turn) if isinstance(truth, np.ndarray) else truth
        turned = {int(axis): float(sign) * part for part, (axis, sign) in zip(shift, turn, strict=True)}
        shift = (turned[0], turned[1], turned[2])
    along, across, up = shift
    layer = int(np.unravel_index(int(heat.argmax()), heat.shape)[2])
    layers = scan.shape[2]
    index = min(int((layer + 0.5 + up) * layers / heat.shape[2]), layers - 1)
    boxes = bounding_boxes(axial_slice(truth, index)) if isinstance(truth, np.ndarray) else []
    note = f"slice {index + 1} of {layers}"
    # The slice shows the second axis downwards and the first one leftwards: both are turned round.
    shown = axial_slice(scan, index), axial_slice(heat, layer)
    return Overlay(*shown, label, score, boxes, note, shift=(-across, -along), name=name)
