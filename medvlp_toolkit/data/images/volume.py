"""Volumes: NIfTI files and folders of a DICOM series, through MONAI's readers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medvlp_toolkit.data.images.errors import ImageReadError

INT16 = np.iinfo(np.int16)


def is_volume(path: Path | str) -> bool:
    """Whether a path is read as a volume: ``.nii``, ``.nii.gz`` or a folder."""
    name = Path(path).name.lower()
    return name.endswith((".nii", ".nii.gz")) or Path(path).is_dir()


def read_volume(
    path: Path | str,
    size: Sequence[int] | None = None,
    spacing: Sequence[float] | None = None,
    orientation: str = "RAS",
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.float64]]:
    """Read a NIfTI file or a folder with one DICOM series.

    Returns int16 values ``(1, D, H, W)`` and the affine (4, 4) from voxel index to millimetres in RAS. The three
    spatial axes follow ``orientation``: with RAS the first runs to the patient's right, the second to anterior,
    the third to superior. With ``spacing`` (millimetres per axis) the volume is resampled; ``size`` then crops or
    pads it around its centre (padding with its smallest value). With ``size`` alone the whole volume is resampled
    to that grid. Values (Hounsfield units for CT, after rescale) are rounded and cut to int16.
    Raises `ImageReadError` for whatever is wrong with the file.
    """
    values, affine, _ = read_volume_and_grid(path, size, spacing, orientation)
    return values, affine


@dataclass(frozen=True, slots=True, eq=False)
class VolumeGrid:
    """The voxels of a volume as its file has them: how many along each axis, and where they lie.

    ``affine`` (4, 4) maps a voxel index to millimetres in RAS.
    """

    shape: tuple[int, int, int]
    affine: npt.NDArray[np.float64]


def read_volume_and_grid(
    path: Path | str,
    size: Sequence[int] | None = None,
    spacing: Sequence[float] | None = None,
    orientation: str = "RAS",
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.float64], VolumeGrid]:
    """As `read_volume`, with the grid the volume had in its file."""
    path = Path(path)
    if not path.exists():
        raise ImageReadError(path, "the file does not exist")
    if not is_volume(path):
        raise ImageReadError(path, "not a volume: a .nii or .nii.gz file, or a folder with a DICOM series")
    from monai.transforms import Orientation, Resize, ResizeWithPadOrCrop, Spacing

    volume = load(path)
    depth, height, width = volume.shape[1:]
    grid = VolumeGrid((depth, height, width), np.asarray(volume.affine.numpy(), dtype=np.float64))
    try:
        volume = Orientation(axcodes=orientation, labels=None)(volume)
        if spacing is not None:
            volume = Spacing(pixdim=tuple(spacing), mode="bilinear", padding_mode="border")(volume)
        if size is not None and spacing is not None:
            low = float(volume.min())
            volume = ResizeWithPadOrCrop(spatial_size=tuple(size), mode="constant", value=low)(volume)
        elif size is not None:
            volume = Resize(spatial_size=tuple(size), mode="trilinear", anti_aliasing=True)(volume)
        values = np.asarray(volume.numpy())
        affine = np.asarray(volume.affine.numpy(), dtype=np.float64)
    except Exception as error:
        raise ImageReadError(path, f"the volume cannot be brought to the grid ({type(error).__name__})") from None
    return np.rint(np.clip(np.nan_to_num(values), INT16.min, INT16.max)).astype(np.int16), affine, grid


def load(path: Path) -> Any:
    """A MONAI MetaTensor (1, i, j, k) in float32, with its affine."""
    import torch
    from monai.data.meta_tensor import MetaTensor

    from medvlp_toolkit.data.images.dicom import quiet_pydicom

    reader, source = reader_for(path)
    try:
        with quiet_pydicom():
            array, meta = reader.get_data(reader.read(source))
    except ImageReadError:
        raise
    except Exception as error:
        raise ImageReadError(path, f"the volume cannot be read ({type(error).__name__})") from None
    if array.ndim != 3 or min(array.shape) < 1:
        raise ImageReadError(path, f"values of shape {tuple(array.shape)}; one volume of three axes is expected")
    return MetaTensor(torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))[None], affine=meta["affine"])


def reader_for(path: Path) -> tuple[Any, Any]:
    """MONAI's reader, and what to hand to it."""
    if path.is_dir():
        from monai.data.image_reader import PydicomReader

        return PydicomReader(), str(series_folder(path))
    from monai.data.image_reader import NibabelReader

    return NibabelReader(), str(path)


def series_folder(path: Path) -> Path:
    """The folder itself, once it is sure that it holds exactly one series of single-frame images."""
    import pydicom

    from medvlp_toolkit.data.images.dicom import quiet_pydicom

    series: set[str] = set()
    with quiet_pydicom():
        for file in sorted(path.iterdir()):
            if not file.is_file():
                continue
            try:
                tags = ["SeriesInstanceUID", "NumberOfFrames"]
                header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=tags)
            except Exception:
                raise ImageReadError(path, "the folder holds a file that is not DICOM, or is damaged") from None
            if int(header.get("NumberOfFrames", 1) or 1) > 1:
                raise ImageReadError(path, "the series holds a multi-frame DICOM; single-frame images are expected")
            series.add(str(header.get("SeriesInstanceUID", "")))
    if not series:
        raise ImageReadError(path, "the folder is empty; a DICOM series is expected")
    if len(series) > 1:
        raise ImageReadError(path, f"the folder holds {len(series)} DICOM series; one is expected")
    return path
