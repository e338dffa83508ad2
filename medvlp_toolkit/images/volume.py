"""Volumes: NIfTI files and folders of a DICOM series, resampled to one grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medvlp_toolkit.images.errors import ImageReadError, NoContrastError
from medvlp_toolkit.images.nifti import NIFTI_SUFFIXES, read_nifti
from medvlp_toolkit.images.opening import MISSING
from medvlp_toolkit.images.stored_scale import StoredScale, memory_order, scale_of, stored

Array = npt.NDArray[Any]
Affine = npt.NDArray[np.float64]
#: Voxels resampled at a time.
_BLOCK = 1 << 22
#: Voxels that a volume may be resampled to, whatever it had: a damaged header asks for any number.
_MOST_SPACED = 1 << 27


def is_volume(path: Path | str) -> bool:
    """Whether a path is read as a volume: ``.nii``, ``.nii.gz`` or a folder."""
    return Path(path).name.lower().endswith(NIFTI_SUFFIXES) or Path(path).is_dir()


@dataclass(frozen=True, slots=True, eq=False)
class VolumeGrid:
    """The grid of a volume in its file: number of voxels along each axis, and their positions.

    ``affine`` (4, 4) maps a voxel index to millimetres in RAS.
    """

    shape: tuple[int, int, int]
    affine: Affine


@dataclass(frozen=True, slots=True, eq=False)
class StoredVolume:
    """A volume in the form of a store: the file's values are ``voxels × slope + intercept``.

    ``voxels`` is int16 (1, D, H, W), ``affine`` (4, 4) maps a voxel index to millimetres in RAS, ``grid`` is the
    file's.
    """

    voxels: npt.NDArray[np.int16]
    affine: Affine
    slope: float
    intercept: float
    grid: VolumeGrid


def read_volume(
    path: Path | str,
    size: Sequence[int] | None = None,
    spacing: Sequence[float] | None = None,
    orientation: str = "RAS",
    window: Sequence[float] | None = None,
    series: str | int | None = None,
) -> tuple[npt.NDArray[np.int16], Affine]:
    """The voxels and the affine of `read_stored_volume`."""
    volume = read_stored_volume(path, size, spacing, orientation, window, series)
    return volume.voxels, volume.affine


def read_stored_volume(
    path: Path | str,
    size: Sequence[int] | None = None,
    spacing: Sequence[float] | None = None,
    orientation: str = "RAS",
    window: Sequence[float] | None = None,
    series: str | int | None = None,
) -> StoredVolume:
    """Read a NIfTI file or a folder with a DICOM series.

    The three spatial axes follow ``orientation``: with RAS the first runs to the patient's right, the second to
    anterior, the third to superior. Values (Hounsfield units for CT, after rescale) become int16: rounded with slope 1
    if they fit, else scaled so that their contrast is kept (`medvlp_toolkit.images.stored_scale`).

    Args:
        path: file or folder.
        size: (D, H, W). Without ``spacing``, the whole volume is resampled to this grid; with it, the volume is cropped
            around its centre or padded with its smallest value.
        spacing: millimetres per axis to resample to.
        orientation: axis codes.
        window: (low, high) to clip values to.
        series: which volume to read from a folder with several (`medvlp_toolkit.images.series.read_series`).

    Raises:
        ImageReadError: for any defect of the file.
    """
    path = Path(path)
    if not path.exists():
        raise ImageReadError(path, MISSING)
    if not is_volume(path):
        raise ImageReadError(path, "not a volume: a .nii or .nii.gz file, or a folder with a DICOM series")
    values, affine = load(path, series)
    grid = VolumeGrid((values.shape[0], values.shape[1], values.shape[2]), affine)
    try:
        scale = scale_of(values, window)
        values, affine = oriented(values, affine, orientation)
        if spacing is not None:
            resampled, affine = spaced(scale(values), affine, spacing, size)
        elif size is not None:
            resampled, affine = resized(values, affine, size, scale)
        else:
            resampled = scale(values)
    except NoContrastError as error:
        raise ImageReadError(path, str(error)) from None
    except Exception as error:
        raise ImageReadError(path, f"the volume cannot be resampled to the grid ({type(error).__name__})") from None
    return StoredVolume(stored(resampled)[None], affine, scale.slope, scale.intercept, grid)


def load(path: Path, series: str | int | None) -> tuple[Array, Affine]:
    """Values ``(i, j, k)`` and their affine, as in the file."""
    if not path.is_dir():
        return read_nifti(path)
    from medvlp_toolkit.images.series import read_series

    return read_series(path, series)


def oriented(values: Array, affine: Affine, orientation: str) -> tuple[Array, Affine]:
    """Axes permuted and flipped to the axis codes; a view of the same memory."""
    from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

    change = ornt_transform(io_orientation(affine), axcodes2ornt(orientation))
    turned: Array = apply_orientation(values, change)
    return turned, affine @ inv_ornt_aff(change, values.shape)


def spaced(
    values: npt.NDArray[np.float32], affine: Affine, spacing: Sequence[float], size: Sequence[int] | None
) -> tuple[Array, Affine]:
    """Resampled to millimetres per axis, then cropped or padded with the smallest value."""
    import torch
    from monai.data.meta_tensor import MetaTensor
    from monai.transforms import ResizeWithPadOrCrop, Spacing

    lengths = np.linalg.norm(affine[:3, :3], axis=0) * values.shape
    if np.prod(lengths / np.asarray(spacing)) > max(_MOST_SPACED, 8 * values.size):
        extent = " × ".join(f"{length:.4g}" for length in lengths)
        raise NoContrastError(f"a volume of {extent} mm is too large for voxels of {list(spacing)} mm")
    volume: Any = MetaTensor(torch.from_numpy(np.ascontiguousarray(values))[None], affine=torch.from_numpy(affine))
    volume = Spacing(pixdim=tuple(spacing), mode="bilinear", padding_mode="border", dtype=np.float32)(volume)
    if size is not None:
        low = float(volume.min())
        volume = ResizeWithPadOrCrop(spatial_size=tuple(size), mode="constant", value=low)(volume)
    return volume.numpy()[0], np.asarray(volume.affine.numpy(), dtype=np.float64)


def resized(values: Array, affine: Affine, size: Sequence[int], scale: StoredScale) -> tuple[Array, Affine]:
    """Resampled to ``size`` voxels: linear, with averaging over each output voxel when shrinking.

    First within planes, some at a time, then across them. (MONAI's Resize smooths with zeros beyond the edge, which
    darkens or, for air of -1000, brightens the outer voxels, and needs the memory of several volumes.)
    """
    from monai.transforms.utils import scale_affine

    order = memory_order(values)
    planes = values.transpose(order)
    depth, height, width = (int(size[axis]) for axis in order)
    smaller = np.empty((len(planes), height * width), np.float32)
    several = max(1, _BLOCK // planes[0].size)
    for start in range(0, len(planes), several):
        part = _interpolated(scale(planes[start : start + several]), (height, width))
        smaller[start : start + several] = part.reshape(len(part), -1)
    across = _interpolated(smaller[None], (depth, height * width))[0]
    placed: Affine = affine @ np.asarray(scale_affine(values.shape, tuple(size)), dtype=np.float64)
    return across.reshape(depth, height, width).transpose(np.argsort(order)), placed


def _interpolated(planes: npt.NDArray[np.float32], size: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """(n, height, width) -> (n, *size)."""
    import torch
    from torch.nn.functional import interpolate

    content = torch.from_numpy(np.ascontiguousarray(planes))[:, None]
    changed = interpolate(content, size=size, mode="bilinear", antialias=True, align_corners=False)
    return np.asarray(changed[:, 0].numpy(), dtype=np.float32)
