"""Geometry of the slices of a DICOM series: order, even spacing, and the affine.

highdicom orders the slices; the other conditions for a volume are checked here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medvlp_toolkit.images.errors import ImageReadError
from medvlp_toolkit.images.nifti import check_affine

Vector = npt.NDArray[np.float64]
Affine = npt.NDArray[np.float64]
#: Tolerance of a slice's position: a share of the distance between slices, and in millimetres.
OFF_PLACE = 0.05


@dataclass(frozen=True, eq=False)
class Place:
    """The position attributes of one image; None for those that are missing or not numbers."""

    position: Vector | None  # (3,) centre of the first pixel, millimetres in DICOM's axes
    orientation: Vector | None  # (6,) directions along a row and along a column
    spacing: Vector | None  # (2,) millimetres between rows, and between columns
    thickness: float | None  # slice thickness, millimetres


def placed(folder: Path, slices: list[Place]) -> tuple[list[int], Affine]:
    """The order of the slices along the normal of their planes, and the affine (RAS, mm).

    Raises:
        ImageReadError: when a slice's position is incomplete, or the slices are not evenly spaced.
    """
    row, column = directions(folder, slices)
    spacing = pixel_spacing(folder, slices)
    positions = np.stack([slice_.position for slice_ in slices if slice_.position is not None])
    order = slice_order(folder, positions, np.concatenate([row, column]))
    first, last = positions[order[0]], positions[order[-1]]
    if len(slices) > 1:
        step = (last - first) / (len(slices) - 1)
        check_even(folder, positions[order] - first, step)
    elif slices[0].thickness is None:
        raise ImageReadError(folder, "a single image without SliceThickness: its extent is unknown")
    else:
        step = np.cross(row, column) * slices[0].thickness
    affine = np.eye(4)
    affine[:3] = np.stack([row * spacing[1], column * spacing[0], step, first], axis=1)
    affine[:2] *= -1  # DICOM's axes point to the patient's left and back
    check_affine(affine, folder)
    return order, affine


def directions(folder: Path, slices: list[Place]) -> tuple[Vector, Vector]:
    """Unit vectors along the rows and along the columns of the planes."""
    for keyword, values in (
        ("ImagePositionPatient", [slice_.position for slice_ in slices]),
        ("ImageOrientationPatient", [slice_.orientation for slice_ in slices]),
    ):
        missing = sum(value is None for value in values)
        if missing:
            raise ImageReadError(
                folder, f"{missing} of {len(slices)} images have no usable {keyword}: their position is unknown"
            )
    both = slices[0].orientation
    assert both is not None
    row, column = both[:3], both[3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(length - 1) for length in lengths) > 0.01 or abs(row @ column) > 0.01:
        raise ImageReadError(folder, "ImageOrientationPatient is damaged: not two perpendicular directions")
    return row / lengths[0], column / lengths[1]


def pixel_spacing(folder: Path, slices: list[Place]) -> Vector:
    """Millimetres between rows, and between columns."""
    usable = [slice_.spacing for slice_ in slices if slice_.spacing is not None and slice_.spacing.min() > 0]
    if len(usable) < len(slices):
        raise ImageReadError(
            folder, f"{len(slices) - len(usable)} of {len(slices)} images have no usable PixelSpacing (absent or 0)"
        )
    spacing = np.stack(usable)
    if np.ptp(spacing, axis=0).max() > 1e-3 * spacing.min():
        raise ImageReadError(folder, "PixelSpacing differs between the images of the series")
    return spacing[0]


def slice_order(folder: Path, positions: Vector, orientation: Vector) -> list[int]:
    """The slices ordered along the normal; raises `ImageReadError` for duplicate, missing or uneven positions."""
    from highdicom.spatial import get_normal_vector, get_volume_positions

    # Any tilt is accepted: the affine includes the shear.
    _, places = get_volume_positions(
        positions.tolist(), orientation.tolist(), atol=2 * tolerance(positions), perpendicular_tol=2.0
    )
    if places is not None:
        return [int(index) for index in np.argsort(places)]
    along = np.sort(positions @ get_normal_vector(orientation.tolist()))
    steps = np.diff(along)
    typical = float(np.median(steps[steps > 0.01])) if (steps > 0.01).any() else 0.0
    at_one_place = int((steps <= 0.01).sum())
    if at_one_place or not typical:
        raise ImageReadError(
            folder,
            f"{at_one_place + 1 if not typical else at_one_place} of {len(along)} images are at the place of another, "
            "and their headers do not distinguish two volumes; keep one volume in the folder",
        )
    missing = int(np.rint(steps / typical - 1).clip(0).sum())
    if missing and np.abs(steps / typical - np.rint(steps / typical)).max() < 0.1:
        raise ImageReadError(
            folder, f"{missing} slice{'s are' if missing > 1 else ' is'} missing: images are {typical:.4g} mm apart, "
            f"and once {steps.max():.4g} mm; complete the series",
        )  # fmt: skip
    raise ImageReadError(
        folder, f"the images are unevenly spaced, {steps.min():.4g} to {steps.max():.4g} mm apart; resample the series"
    )


def tolerance(positions: Vector) -> float:
    """Tolerance of a slice's position in millimetres."""
    extent = float(np.linalg.norm(np.ptp(positions, axis=0)))
    return OFF_PLACE * max(extent / max(len(positions) - 1, 1), 1.0)


def check_even(folder: Path, offsets: Vector, step: Vector) -> None:
    """Raise `ImageReadError` if a slice deviates from its multiple of the step, in the normal or within the planes."""
    expected = np.arange(len(offsets))[:, None] * step
    off = float(np.linalg.norm(offsets - expected, axis=1).max())
    if off > tolerance(offsets):
        raise ImageReadError(folder, f"the images are not on one line: one is {off:.3g} mm off; resample the series")
