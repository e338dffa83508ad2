"""Batches for inference from image files: one radiograph or volume, or a folder of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from medvlp_toolkit.data.batches.dataset import whole_batch
from medvlp_toolkit.data.inputs.folders import FoundImages, pictures_below, shown_name, volumes_below
from medvlp_toolkit.images import ImageReadError, read_image_and_size, read_stored_volume

logger = logging.getLogger(__name__)

Item = dict[str, NDArray[Any]]


class ImageFiles(Dataset):
    """Radiographs read from files, resized to a square.

    A batch has ``image``, ``row``, ``study_id`` (the file's name) and ``input_shape`` (B, 2), the size in the file.
    ``passed_over`` is the number of other files in the folder.

    Args:
        path: a file of any name (DICOM often has no suffix), or a folder to search for images; files without a known
            suffix are recognised by their content.
        image_size: pixels of the square.

    Raises:
        FileNotFoundError: when there is no such file, or the folder contains no image.
    """

    def __init__(self, path: str | Path, image_size: int) -> None:
        self.image_size = image_size
        self.unreadable: list[ImageReadError] = []
        root = Path(path)
        found = self.find(root)
        self.paths, self.passed_over = found.paths, found.passed_over
        self.names = [shown_name(path, root) for path in self.paths]
        if self.passed_over:
            logger.warning("%s: %d files passed over, which are no images", root, self.passed_over)

    def find(self, root: Path) -> FoundImages:
        """The files to read."""
        if not root.is_dir():
            if not root.exists():
                raise FileNotFoundError(f"no image at {root}; give a DICOM, PNG or JPEG file, or a folder of them")
            return FoundImages([root], 0)
        found = pictures_below(root)
        if not found.paths:
            raise FileNotFoundError(f"{root} holds no DICOM, PNG or JPEG file ({found.passed_over} other files)")
        return found

    def read(self, path: Path) -> Item:
        """One file's entries in the arrays of a batch."""
        image, shape = read_image_and_size(path, self.image_size)
        return {"image": image, "input_shape": np.array(shape, np.int64)}

    def nothing(self) -> Item:
        """The arrays of a batch without a readable file."""
        empty = np.zeros((0, 1, self.image_size, self.image_size), np.uint8)
        return {"image": empty, "input_shape": np.zeros((0, 2), np.int64)}

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        batch = self.__getitems__([index])
        return {key: value[0] for key, value in batch.items()}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        """The readable images among ``indices``; unreadable ones are skipped with a warning.

        Raises:
            ImageReadError: when the only requested image is unreadable.
        """
        items, rows = [], []
        for index in indices:
            try:
                items.append(self.read(self.paths[index]))
                rows.append(index)
            except ImageReadError as error:
                if len(self.paths) == 1:
                    raise
                logger.warning("left out: %s", error)
                self.unreadable.append(error)
        arrays = {key: np.stack([item[key] for item in items]) for key in items[0]} if items else self.nothing()
        return {
            **{key: torch.from_numpy(array) for key, array in arrays.items()},
            "row": torch.tensor(rows, dtype=torch.int64),
            "study_id": [self.names[row] for row in rows],
        }


class VolumeFiles(ImageFiles):
    """Volumes read from NIfTI files or DICOM series, resampled to one grid.

    A batch has ``image`` (B, 1, D, H, W) int16, ``image_scale`` (B, 2), ``affine`` (B, 4, 4) of that grid, and
    ``input_shape`` (B, 3) and ``input_affine`` (B, 4, 4), the grid of the file, to which maps are resampled.

    Args:
        path: a .nii or .nii.gz file, a folder of them, a folder with one DICOM series, or a folder of such folders.
        size, spacing, orientation: the settings that the store was prepared with; see
            :func:`~medvlp_toolkit.images.read_volume`.
        series: which volume to read from a folder with several.

    Raises:
        FileNotFoundError: when there is no such file, or the folder contains no volume.
    """

    def __init__(
        self,
        path: str | Path,
        size: Sequence[int],
        spacing: Sequence[float] | None = None,
        orientation: str = "RAS",
        series: str | int | None = None,
    ) -> None:
        self.size = tuple(size)
        self.spacing, self.orientation, self.series = spacing, orientation, series
        super().__init__(path, image_size=0)

    def find(self, root: Path) -> FoundImages:
        if not root.is_dir():
            if not root.exists():
                raise FileNotFoundError(f"no volume at {root}; give a NIfTI file, a DICOM series, or a folder of them")
            return FoundImages([root], 0)
        found = volumes_below(root)
        if not found.paths:
            raise FileNotFoundError(
                f"{root} holds no .nii or .nii.gz file and no DICOM series ({found.passed_over} other files)"
            )
        return found

    def read(self, path: Path) -> Item:
        volume = read_stored_volume(path, self.size, self.spacing, self.orientation, series=self.series)
        return {
            "image": volume.voxels,
            "image_scale": np.array([volume.slope, volume.intercept], np.float32),
            "affine": volume.affine,
            "input_shape": np.array(volume.grid.shape, np.int64),
            "input_affine": volume.grid.affine,
        }

    def nothing(self) -> Item:
        return {
            "image": np.zeros((0, 1, *self.size), np.int16),
            "image_scale": np.zeros((0, 2), np.float32),
            "affine": np.zeros((0, 4, 4)),
            "input_shape": np.zeros((0, 3), np.int64),
            "input_affine": np.zeros((0, 4, 4)),
        }


def open_images(
    path: str | Path,
    image_size: int | Sequence[int],
    spacing: Sequence[float] | None = None,
    series: str | int | None = None,
) -> ImageFiles:
    """Radiographs if ``image_size`` is one number, volumes if it is three."""
    if isinstance(image_size, int):
        return ImageFiles(path, image_size)
    return VolumeFiles(path, image_size, spacing, series=series)


def image_loader(dataset: ImageFiles, batch_size: int) -> DataLoader:
    """Batches of ``dataset``, in order."""
    return DataLoader(dataset, batch_size=batch_size, collate_fn=whole_batch)
