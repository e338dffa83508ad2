"""Ground truth in volumes: boxes in the patient's space, and as masks on a voxel grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medvlp_toolkit.data.boxes import within
from medvlp_toolkit.tables.table import Table

#: x_min, y_min, z_min, x_max, y_max, z_max in millimetres, axes RAS.
VolumeBox = tuple[float, float, float, float, float, float]
COLUMNS = ("study_id", "label", "x_min", "y_min", "z_min", "x_max", "y_max", "z_max")


@dataclass(frozen=True)
class VolumeBoxes:
    """Boxes of findings in volumes, by study and label.

    Millimetres in the patient's space are valid whatever grid the store's volumes were resampled to.
    """

    boxes: Mapping[tuple[str, str], Sequence[VolumeBox]]

    @classmethod
    def read(cls, path: str | Path) -> VolumeBoxes:
        """Read a CSV table with the columns :data:`COLUMNS`.

        Raises:
            FileNotFoundError: when there is no such table.
            ValueError: when a column is missing or a row does not contain numbers; names the line.
        """
        file = Path(path)
        if not file.is_file():
            raise FileNotFoundError(f"no table of boxes at {file}; give a CSV file with {', '.join(COLUMNS)}")
        boxes: dict[tuple[str, str], list[VolumeBox]] = {}
        table = Table(file, expected=COLUMNS)
        table.require(*COLUMNS)
        for row in table:
            if row.values is None:
                raise ValueError(f"{file}, {row.place}: {row.problem}")
            try:
                x, y, z, far_x, far_y, far_z = (float(row.values[name]) for name in COLUMNS[2:])
            except ValueError:
                raise ValueError(f"{file}, {row.place}: expected six numbers in millimetres") from None
            key = (row.values["study_id"].strip(), row.values["label"].strip())
            boxes.setdefault(key, []).append((x, y, z, far_x, far_y, far_z))
        return cls(boxes)

    @cached_property
    def _labels(self) -> dict[str, list[str]]:
        labels: dict[str, list[str]] = {}
        for study, label in self.boxes:
            labels.setdefault(study, []).append(label)
        return labels

    def labels_of(self, study_id: str) -> Sequence[str]:
        """The labels that have boxes in a study."""
        return self._labels.get(study_id, ())

    def mask(self, study_id: str, label: str, shape: Sequence[int], affine: ArrayLike) -> NDArray[np.bool_] | None:
        """(*shape) voxels whose centre is in a box of this finding; None if the study has none.

        ``affine`` (4, 4) maps the grid's voxel indices to millimetres.
        """
        boxes = self.boxes.get((study_id, label))
        if boxes is None:
            return None
        to_space = np.asarray(affine, float)
        axes = np.meshgrid(*(np.arange(side) for side in shape), indexing="ij", sparse=True)
        centres = [row[0] * axes[0] + row[1] * axes[1] + row[2] * axes[2] + row[3] for row in to_space[:3]]
        mask = np.zeros(tuple(shape), bool)
        for box in boxes:
            inside = [within(centres[i], box[i], box[i + 3]) for i in range(3)]
            mask |= inside[0] & inside[1] & inside[2]
        return mask
