"""Reading of any two-dimensional image file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from medvlp_toolkit.images.dicom import HEAD, is_dicom, read_dicom
from medvlp_toolkit.images.errors import ImageReadError
from medvlp_toolkit.images.fit import Fit, Size, height_and_width
from medvlp_toolkit.images.nifti import NIFTI_SUFFIXES
from medvlp_toolkit.images.opening import opened
from medvlp_toolkit.images.raster import read_raster


def read_image(
    path: Path | str, size: Size | None = None, channels: int = 1, fit: Fit = "stretch"
) -> npt.NDArray[np.uint8]:
    """Read a DICOM, PNG, JPEG, TIFF or BMP file as uint8 ``(channels, height, width)``.

    The format is detected from the content, not from the name. ``size`` is one number or ``(height, width)``
    (default: unchanged); ``fit`` determines how the aspect ratio is treated (`medvlp_toolkit.images.fit.resize`).
    A JPEG is decoded at reduced size if that suffices. Raises `ImageReadError` for any defect of the file, and
    ValueError for an invalid argument.
    """
    return read_image_and_size(path, size, channels, fit)[0]


def read_image_and_size(
    path: Path | str, size: Size | None = None, channels: int = 1, fit: Fit = "stretch"
) -> tuple[npt.NDArray[np.uint8], tuple[int, int]]:
    """Like `read_image`, with the ``(height, width)`` of the image in its file."""
    path = path if isinstance(path, Path) else Path(path)
    target = None if size is None else height_and_width(size)
    with opened(path) as file:
        head = file.read(HEAD)
        if str(path).lower().endswith(NIFTI_SUFFIXES):
            raise ImageReadError(path, "a volume; give three sizes (D, H, W) to pack volumes")
        if not head:
            raise ImageReadError(path, "the file is empty")
        file.seek(0)
        read = read_dicom if is_dicom(head) else read_raster
        return read(file, path, target, channels, fit)
