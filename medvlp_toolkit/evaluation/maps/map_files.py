"""Heat maps as files for other programs: NIfTI in the input's space, NumPy on the token grid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medvlp_toolkit.evaluation.maps.heat_maps import upsample

MapFormat = Literal["png", "npy", "nifti"]
FORMATS: tuple[MapFormat, ...] = ("png", "npy", "nifti")
SUFFIX: dict[MapFormat, str] = {"png": ".png", "npy": ".npy", "nifti": ".nii.gz"}

#: Pixel columns of a radiograph run to the patient's left, rows to the feet; the pixel size is unknown.
RADIOGRAPH_AFFINE = np.diag([-1.0, 1.0, -1.0, 1.0])


def map_formats(asked: str | Sequence[str]) -> tuple[MapFormat, ...]:
    """The formats given as one word, as comma-separated words, or as a list."""
    names = [name.strip() for name in asked.split(",")] if isinstance(asked, str) else list(asked)
    unknown = [name for name in names if name not in FORMATS]
    if unknown:
        raise ValueError(f"save_maps names {', '.join(map(repr, unknown))}; expected any of {', '.join(FORMATS)}")
    return tuple(name for name in FORMATS if name in names)


def write_radiograph_map(
    path: Path | str, heat: NDArray[np.floating], size: Sequence[int], shift: Sequence[float] = ()
) -> Path:
    """Write a map (*grid) as NIfTI, upsampled to the pixels ``size`` (height, width) of the radiograph.

    The array is (width, 1, height): a coronal slice with one millimetre per pixel, which viewers show upright with the
    patient's right on the left.
    """
    pixels = upsample(heat, size, "linear", shift).astype(np.float32)
    return write_nifti(path, pixels.T[:, None, :], RADIOGRAPH_AFFINE)


def write_volume_map(
    path: Path | str,
    heat: NDArray[np.floating],
    size: Sequence[int],
    affine: ArrayLike,
    input_shape: Sequence[int] | None = None,
    input_affine: ArrayLike | None = None,
    shift: Sequence[float] = (),
) -> Path:
    """Write a map (*grid) as NIfTI, in the space of its volume.

    Args:
        path: ``.nii`` or ``.nii.gz``.
        heat: on the token grid.
        size: (D, H, W) of the model's input volume.
        affine: (4, 4) of that volume.
        input_shape, input_affine: the grid of the input file, to resample the map to; the volume's own when None.
            Voxels outside the model's input get 0.
        shift: offset of the tokens within their cells (:func:`~medvlp_toolkit.evaluation.upsample`).
    """
    voxels = upsample(heat, size, "linear", shift).astype(np.float32)
    if input_shape is None or input_affine is None:
        return write_nifti(path, voxels, affine)
    return write_nifti(path, resampled(voxels, affine, input_shape, input_affine), input_affine)


def resampled(
    voxels: NDArray[np.floating], affine: ArrayLike, shape: Sequence[int], onto: ArrayLike
) -> NDArray[np.float32]:
    """Values on a grid (affine to millimetres), interpolated trilinearly at the voxels of another grid; 0 outside."""
    import torch
    from monai.data.meta_tensor import MetaTensor
    from monai.transforms import SpatialResample

    source = MetaTensor(torch.from_numpy(np.ascontiguousarray(voxels, np.float32))[None], affine=_tensor(affine))
    # The half voxel between the outermost centres and the volume's edge keeps the outermost value.
    spread = SpatialResample(mode="bilinear", padding_mode="border", dtype=torch.float32)
    values = spread(source, dst_affine=_tensor(onto), spatial_size=tuple(int(side) for side in shape)).numpy()[0]
    inside = _inside(np.asarray(voxels).shape, np.asarray(affine, float), shape, np.asarray(onto, float))
    return np.where(inside, values, 0).astype(np.float32)


def write_nifti(path: Path | str, values: NDArray[Any], affine: ArrayLike) -> Path:
    """An array (i, j, k) as NIfTI with its affine."""
    import nibabel

    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(values), np.asarray(affine, dtype=np.float64)), file)
    return file


def _inside(
    size: Sequence[int], affine: NDArray[np.floating], shape: Sequence[int], onto: NDArray[np.floating]
) -> NDArray[np.bool_]:
    """(*shape) True for voxels of the second grid whose centre is within the first."""
    to_source = np.linalg.inv(affine) @ onto
    axes = np.meshgrid(*(np.arange(side, dtype=np.float32) for side in shape), indexing="ij", sparse=True)
    inside = np.ones(tuple(shape), bool)
    for row, side in zip(to_source[:3], size, strict=True):
        place = row[0] * axes[0] + row[1] * axes[1] + row[2] * axes[2] + row[3]
        inside &= (place >= -0.5 - 1e-3) & (place <= side - 0.5 + 1e-3)
    return inside


def _tensor(affine: ArrayLike) -> Any:
    import torch

    return torch.as_tensor(np.asarray(affine, dtype=np.float64))
