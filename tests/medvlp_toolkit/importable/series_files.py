"""DICOM series of a phantom whose voxels tell where they are: 2000 + x + 3 y + 7 z, in millimetres of RAS."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from dicom_files import radiograph

ROWS, COLUMNS = 6, 5
ROW_SPACING, COLUMN_SPACING = 2.0, 1.0  # between rows, between columns
STEP = 3.0
WEIGHTS = np.array([1.0, 3.0, 7.0])
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def write_slice(path: Path, position: Iterable[float], orientation: Iterable[float] = AXIAL, **attributes: Any) -> Path:
    """One image at a place in DICOM's axes; an attribute given as None is left out."""
    position, orientation = np.array(tuple(position)), np.array(tuple(orientation))
    row, column = np.mgrid[0:ROWS, 0:COLUMNS]
    places = (
        position + column[..., None] * COLUMN_SPACING * orientation[:3] + row[..., None] * ROW_SPACING * orientation[3:]
    )
    values = np.rint(2000 + (places * [-1, -1, 1]) @ WEIGHTS)
    described: dict[str, Any] = {
        "Modality": "CT",
        "BitsStored": 16,
        "SeriesInstanceUID": "1.2.3",
        "SeriesNumber": 4,
        "ImagePositionPatient": position.tolist(),
        "ImageOrientationPatient": orientation.tolist(),
        "PixelSpacing": [ROW_SPACING, COLUMN_SPACING],
        "SliceThickness": STEP,
        **attributes,
    }
    dataset = radiograph(values.astype(np.uint16), **{k: v for k, v in described.items() if v is not None})
    path.parent.mkdir(exist_ok=True, parents=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_series(
    folder: Path,
    slices: Iterable[int] = range(5),
    shift: tuple[float, float, float] = (0.0, 0.0, STEP),
    orientation: Iterable[float] = AXIAL,
    each: Mapping[int, Mapping[str, Any]] | None = None,
    prefix: str = "",
    **attributes: Any,
) -> Path:
    """Slices at ``(-20, -30, -40) + number × shift``; ``each`` has further attributes by number."""
    for name, number in enumerate(slices):
        position = np.array([-20.0, -30.0, -40.0]) + number * np.array(shift)
        more = {"InstanceNumber": number + 1, **attributes, **((each or {}).get(number, {}))}
        write_slice(folder / f"{prefix}{name:03}", position, orientation, **more)
    return folder


def off_place(voxels: np.ndarray, affine: np.ndarray) -> float:
    """The greatest difference of a voxel's value from that of the place where the affine says it is."""
    grid = np.stack(np.meshgrid(*(np.arange(side) for side in voxels.shape[1:]), indexing="ij"), -1)
    world = grid @ affine[:3, :3].T + affine[:3, 3]
    return float(np.abs(voxels[0] - (2000 + world @ WEIGHTS)).max())
