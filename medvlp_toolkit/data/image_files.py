"""Image files as batches for inference: one radiograph, or a folder of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from medvlp_toolkit.data.dataset import whole_batch
from medvlp_toolkit.data.images import ImageReadError, read_image

logger = logging.getLogger(__name__)

SUFFIXES = frozenset({".dcm", ".dicom", ".png", ".jpg", ".jpeg"})


class ImageFiles(Dataset):
    """Radiographs read from files, resized to a square.

    Args:
        path: a file (any name: DICOM often has no suffix), or a folder searched for .dcm, .png and .jpg files.
        image_size: pixels of the square.

    Raises:
        FileNotFoundError: when there is no such file, or the folder holds no image.
    """

    def __init__(self, path: str | Path, image_size: int) -> None:
        root = Path(path)
        if root.is_file():
            self.paths = [root]
            self.names = [root.name]
        elif root.is_dir():
            self.paths = sorted(p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES)
            self.names = [str(p.relative_to(root)) for p in self.paths]
        else:
            raise FileNotFoundError(f"no image at {root}; give a DICOM, PNG or JPEG file, or a folder of them")
        if not self.paths:
            raise FileNotFoundError(f"{root} holds no .dcm, .png or .jpg file")
        self.image_size = image_size
        self.unreadable: list[ImageReadError] = []

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        batch = self.__getitems__([index])
        return {key: value[0] for key, value in batch.items()}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        """The readable images among ``indices``; one that is not is warned of and left out.

        Raises:
            ImageReadError: when it is the only image asked for.
        """
        images, rows = [], []
        for index in indices:
            try:
                images.append(read_image(self.paths[index], self.image_size))
                rows.append(index)
            except ImageReadError as error:
                if len(self.paths) == 1:
                    raise
                logger.warning("left out: %s", error)
                self.unreadable.append(error)
        shape = (0, 1, self.image_size, self.image_size)
        stacked = np.stack(images) if images else np.zeros(shape, dtype=np.uint8)
        return {
            "image": torch.from_numpy(stacked),
            "row": torch.tensor(rows, dtype=torch.int64),
            "study_id": [self.names[row] for row in rows],
        }


def image_loader(dataset: ImageFiles, batch_size: int) -> DataLoader:
    """Batches of ``dataset`` in its order."""
    return DataLoader(dataset, batch_size=batch_size, collate_fn=whole_batch)
