"""Images that an export is checked on: a user's, or generated ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medvlp_toolkit.data.inputs.image_files import open_images

#: Generated images, and at most so many of a user's folder.
COUNT = 4
#: Grey cells along an axis of a generated image, one image each.
_CELLS = (2, 5, 11, 23)


def sample_files(given: Path | None, image_size: int | Sequence[int], folder: Path) -> list[Path]:
    """Files to check on: those given, or blurred noise written to ``folder``.

    Generated pictures are not square, so that how they are fitted to the network's size shows.

    Raises:
        FileNotFoundError: when there is no such file, or the folder holds no image.
    """
    if given is not None:
        return open_images(given, image_size).paths[:COUNT]
    return list(_pictures(image_size, folder) if isinstance(image_size, int) else _volumes(image_size, folder))


def _pictures(size: int, folder: Path) -> Iterator[Path]:
    for number, cells in enumerate(_CELLS):
        path = folder / f"sample_{number}.png"
        values = _noise((cells, cells + 1), number)
        picture = Image.fromarray(np.rint(255 * values).astype(np.uint8))
        picture.resize((size + size // 3 + 3, size + 1), Image.Resampling.BICUBIC).save(path)
        yield path


def _volumes(size: Sequence[int], folder: Path) -> Iterator[Path]:
    import nibabel

    for number, cells in enumerate(_CELLS):
        coarse = _noise((cells,) * 3, number)
        for axis, side in enumerate(size):
            coarse = coarse.take(np.arange(side) * cells // side, axis)
        voxels = np.rint(1600 * coarse - 1100).astype(np.int16)  # from air to dense bone, as in CT
        path = folder / f"sample_{number}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), path)
        yield path


def _noise(shape: tuple[int, ...], seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).random(shape)
