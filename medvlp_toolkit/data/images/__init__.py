"""Reading images: pictures and DICOM as uint8, NIfTI and DICOM series as int16 volumes."""

from __future__ import annotations

from medvlp_toolkit.data.images.errors import ImageReadError
from medvlp_toolkit.data.images.fit import Fit, Size, fit_box, height_and_width
from medvlp_toolkit.data.images.picture import read_image, read_image_and_size
from medvlp_toolkit.data.images.volume import (
    StoredVolume,
    VolumeGrid,
    is_volume,
    read_stored_volume,
    read_volume,
    read_volume_and_grid,
)

__all__ = [
    "Fit",
    "ImageReadError",
    "Size",
    "StoredVolume",
    "VolumeGrid",
    "fit_box",
    "height_and_width",
    "is_volume",
    "read_image",
    "read_image_and_size",
    "read_stored_volume",
    "read_volume",
    "read_volume_and_grid",
]
