"""Heat maps as files for other programs: NIfTI in the input's space, NumPy on the token grid."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medvlp_toolkit.data.boxes import within
from medvlp_toolkit.evaluation.maps.heat_maps import pixel_centres, upsample
from medvlp_toolkit.files import name_part

MapFormat = Literal["png", "npy", "nifti"]
FORMATS: tuple[MapFormat, ...] = ("png", "npy", "nifti")
_SUFFIX: dict[MapFormat, str] = {"npy": ".npy", "nifti": ".nii.gz"}

#: Pixel columns of a radiograph run to the patient's left, rows to the feet; the pixel size is unknown.
RADIOGRAPH_AFFINE = np.diag([-1.0, 1.0, -1.0, 1.0])


def map_formats(asked: str | Sequence[str]) -> tuple[MapFormat, ...]:
    """The formats given as one word, as comma-separated words, or as a list."""
    names = [name.strip() for name in asked.split(",")] if isinstance(asked, str) else list(asked)
    unknown = [name for name in names if name not in FORMATS]
    if unknown:
        raise ValueError(f"save_maps names {', '.join(map(repr, unknown))}; expected any of {', '.join(FORMATS)}")
    return tuple(name for name in FORMATS if name in names)


def map_path(folder: Path, number: int, entity: str, format_: MapFormat) -> Path:
    """The file of a map, ``map_001_<entity>.nii.gz``: a running number and what is drawn, never the image's name."""
    return folder / f"map_{number:03d}_{name_part(entity)}{_SUFFIX[format_]}"


def clear_maps(folder: Path) -> None:
    """Remove the maps of an earlier run, by their names, and no other file."""
    for old in folder.glob("map_*"):
        if re.fullmatch(r"map_\d{3,}_[a-z0-9_-]+\.(npy|nii\.gz)", old.name):
            old.unlink()


def map_on_file(
    heat: NDArray[np.floating], item: Mapping[str, NDArray[Any]], shift: Sequence[float] = ()
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """A map on the token grid -> the same on the pixels or voxels of the image's file, and an affine (RAS, mm).

    What of the file the model did not see gets 0.

    Args:
        heat: (*grid), over the whole ``image``.
        item: arrays of one image: ``image`` (C, *size) as the store or :class:`~medvlp_toolkit.data.ImageFiles` has it,
            before the model's transform. Of a picture's file ``input_shape``, ``input_share`` and ``input_start``;
            ``affine`` of a volume, and of its file ``input_shape`` and ``input_affine``. Without those the map lies on
            ``image``.
        shift: where tokens look within their cell (:func:`~medvlp_toolkit.evaluation.upsample`).

    Returns:
        (height, width) or (i, j, k) float32, and (4, 4): of the voxels, or for a picture :data:`RADIOGRAPH_AFFINE`,
        which is that of the array (width, 1, height) that :func:`write_nifti` makes of it.
    """
    stored = item["image"].shape[1:]
    size = tuple(int(side) for side in item.get("input_shape", stored))
    if heat.ndim == 2:
        extent, start = (
            [float(part) for part in item.get(key, whole)]
            for key, whole in (("input_share", (1.0, 1.0)), ("input_start", (0.0, 0.0)))
        )
        pixels = upsample(heat, size, "linear", shift, extent, start).astype(np.float32)
        rows, columns = (
            within(pixel_centres(side, 1, *place), 0, 1) for side, *place in zip(size, extent, start, strict=True)
        )
        return np.where(rows[:, None] & columns, pixels, np.float32(0)), RADIOGRAPH_AFFINE
    voxels = upsample(heat, stored, "linear", shift).astype(np.float32)
    if "input_affine" not in item:
        return voxels, np.asarray(item["affine"], np.float64)
    return resampled(voxels, item["affine"], size, item["input_affine"]), np.asarray(item["input_affine"], np.float64)


def item_of(batch: Mapping[str, Any], index: int) -> dict[str, NDArray[Any]]:
    """One image's arrays of a batch."""
    return {key: value[index].cpu().numpy() for key, value in batch.items() if hasattr(value, "cpu")}


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
    """An array (i, j, k) as NIfTI with its affine.

    One (height, width) becomes (width, 1, height): with :data:`RADIOGRAPH_AFFINE` a coronal slice, one millimetre a
    pixel, which viewers show upright with the patient's right on the left.
    """
    import nibabel

    if values.ndim == 2:
        values = values.T[:, None, :]

    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(values), np.asarray(affine, dtype=np.float64)), file)
    return file


def _inside(
    size: Sequence[int], affine: NDArray[np.floating], shape: Sequence[int], onto: NDArray[np.floating]
) -> NDArray[np.bool_]:
    """(*shape) True for voxels of the second grid whose centre is within the first."""
    to_source = np.linalg.inv(affine) @ onto
    axes = np.meshgrid(*(np.arange(side) for side in shape), indexing="ij", sparse=True)
    inside = np.ones(tuple(shape), bool)
    for row, side in zip(to_source[:3], size, strict=True):
        place = row[0] * axes[0] + row[1] * axes[1] + row[2] * axes[2] + row[3]
        inside &= within(place, -0.5, side - 0.5)
    return inside


def _tensor(affine: ArrayLike) -> Any:
    import torch

    return torch.as_tensor(np.asarray(affine, dtype=np.float64))
