"""Pictures of volumes: the axial slice with the highest value of a map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvlp_toolkit.data.boxes import bounding_boxes
from medvlp_toolkit.evaluation.maps.overlays import Overlay


def axial_slice(volume: NDArray[Any], index: int) -> NDArray[Any]:
    """(D, H, W) in RAS -> (H, D) in radiological orientation: anterior up, the patient's right on the left."""
    return volume[::-1, ::-1, index].T


def slice_overlay(
    volume: NDArray[Any],
    heat: NDArray[np.floating],
    label: str,
    score: float | None = None,
    truth: Any = None,
    shift: Sequence[float] = (),
) -> Overlay:
    """The slice with the map's highest value.

    Args:
        volume: (1, D, H, W) in RAS.
        heat: (d, h, w) on the token grid.
        label, score: see :class:`~medvlp_toolkit.evaluation.Overlay`.
        truth: mask (D, H, W) of the finding; a box is drawn around its part in the slice.
        shift: offset of the tokens within their cells (:func:`~medvlp_toolkit.evaluation.upsample`).
    """
    along, across, up = shift or (0.0, 0.0, 0.0)
    layer = int(np.unravel_index(int(heat.argmax()), heat.shape)[2])
    layers = volume.shape[3]
    index = min(int((layer + 0.5 + up) * layers / heat.shape[2]), layers - 1)
    boxes = bounding_boxes(axial_slice(truth, index)) if isinstance(truth, np.ndarray) else []
    note = f"slice {index + 1} of {layers}"
    # The slice shows the second axis downwards and the first one leftwards, so both are reversed.
    shown = axial_slice(volume[0], index), axial_slice(heat, layer)
    return Overlay(*shown, label, score, boxes, note, shift=(-across, -along))
