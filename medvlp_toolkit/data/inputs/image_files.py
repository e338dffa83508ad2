"""Batches for inference from image files: one radiograph or volume, or a folder of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from medvlp_toolkit.data.batches.dataset import whole_batch
from medvlp_toolkit.data.inputs.folders import FoundImages, pictures_below, shown_name, volumes_below
from medvlp_toolkit.data.store.store import PackedStore
from medvlp_toolkit.images import ImageReadError, StoredFormat

logger = logging.getLogger(__name__)


class ImageFiles(Dataset):
    """Radiographs or volumes read from files, as a store has them.

    A batch has what :meth:`~medvlp_toolkit.images.StoredFormat.read` gives, ``row`` and ``study_id``, the file's name.
    ``passed_over`` is how many files of a folder are no image.

    Args:
        path: a file (any name: DICOM often has no suffix), or a folder searched for images; files without a suffix
            that says what they are, are looked into. Of volumes a .nii or .nii.gz file, a folder of them, a folder that
            directly holds DICOM images, or a folder of such folders.
        stored_format: of the store, whose sides decide which of the two.

    Raises:
        FileNotFoundError: when there is no such file, or the folder contains no image.
    """

    def __init__(self, path: str | Path, stored_format: StoredFormat) -> None:
        self.stored_format = stored_format
        self.unreadable: list[ImageReadError] = []
        root = Path(path)
        found = self.find(root)
        self.paths, self.passed_over = found.paths, found.passed_over
        self.names = [shown_name(path, root) for path in self.paths]
        if self.passed_over:
            logger.warning("%s: %d non-image files skipped", root, self.passed_over)

    def find(self, root: Path) -> FoundImages:
        """The files to read."""
        volume = self.stored_format.volume
        if not root.is_dir():
            if not root.exists():
                kinds = "NIfTI file, a DICOM series" if volume else "DICOM, PNG or JPEG file"
                what = "volume" if volume else "image"
                raise FileNotFoundError(f"no {what} at {root}; give a {kinds}, or a folder of them")
            return FoundImages([root], 0)
        found = volumes_below(root) if volume else pictures_below(root)
        if not found.paths:
            kinds = ".nii or .nii.gz file and no DICOM series" if volume else "DICOM, PNG or JPEG file"
            raise FileNotFoundError(f"{root} holds no {kinds} ({found.passed_over} other files)")
        return found

    def __repr__(self) -> str:
        """Counts; no names."""
        return f"{type(self).__name__}({len(self.paths):,} files)"

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
                items.append(self.stored_format.read(self.paths[index]))
                rows.append(index)
            except ImageReadError as error:
                if len(self.paths) == 1:
                    raise
                logger.warning("left out: %s", error)
                self.unreadable.append(error)
        stacked = {key: np.stack([item[key] for item in items]) for key in items[0]} if items else None
        arrays = stacked or self.stored_format.nothing()
        return {
            **{key: torch.from_numpy(array) for key, array in arrays.items()},
            "row": torch.tensor(rows, dtype=torch.int64),
            "study_id": [self.names[row] for row in rows],
        }


def open_images(
    path: str | Path,
    image_size: int | Sequence[int],
    spacing: Sequence[float] | None = None,
    series: str | int | None = None,
    stored_format: Mapping[str, Any] | str | Path | None = None,
) -> ImageFiles:
    """Image files as batches: volumes where the format, or else ``image_size``, has three sides; else radiographs."""
    return ImageFiles(path, file_format(image_size, stored_format, spacing, series))


def file_format(
    image_size: int | Sequence[int],
    stored_format: Mapping[str, Any] | str | Path | None = None,
    spacing: Sequence[float] | None = None,
    series: str | int | None = None,
) -> StoredFormat:
    """How files are read, so that a file gets the scores that it gets from a store.

    Args:
        image_size: of the model's input. Without ``stored_format`` files are read at this size, grey, stretched.
        stored_format: of the store that was trained on, as ``model.json`` and ``store.json`` have it; or the folder of
            a store, whose format is taken.
        spacing: of volumes, where there is no ``stored_format``.
        series: which volume of a folder with several, in place of the format's.

    Raises:
        ValueError: for another ``spacing`` than that of the format, or a store without images.
    """
    if stored_format is None:
        return StoredFormat.of(image_size, spacing=spacing, series=series)
    if isinstance(stored_format, Mapping):
        known = StoredFormat.from_mapping(stored_format)
    else:
        found = PackedStore.open(stored_format).stored_format
        if found is None:
            raise ValueError(f"{stored_format}: this store has no images; name one that has, or leave it out")
        known = found
    if spacing is not None and known.spacing != tuple(float(step) for step in spacing):
        theirs = None if known.spacing is None else list(known.spacing)
        raise ValueError(f"spacing is {list(spacing)} here, and the stored volumes have {theirs}; leave spacing out")
    return known if series is None else replace(known, series=str(series))


def image_loader(dataset: ImageFiles, batch_size: int) -> DataLoader:
    """Batches of ``dataset``, in order."""
    return DataLoader(dataset, batch_size=batch_size, collate_fn=whole_batch)
