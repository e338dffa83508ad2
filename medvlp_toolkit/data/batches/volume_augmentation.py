"""Conversion of the store's volumes to input of a 3-D encoder, on the training device, a whole batch at once.

The transforms take and return the batch dict, as those for pictures do
(:mod:`medvlp_toolkit.data.batches.augmentation`). Stored volumes share one orientation, so nothing is flipped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Percentiles mapped to 0 and 1 if no intensity window is given, as for MR.
PERCENTILES = (0.5, 99.5)
#: Maximum number of voxels that a percentile is computed from.
_SAMPLE = 100_000


class VolumeTransform(nn.Module):
    """Intensity window to [0, 1], resize, normalise; no randomness.

    Args:
        size: (D, H, W) of the model's input; None keeps the stored size.
        window: (low, high), for CT in Hounsfield units; None uses each volume's 0.5 and 99.5 percentile. Values are
            the file's: stored integers are converted by ``image_scale`` of the batch, if it has one.
        mean, std: for input in [0, 1].
    """

    def __init__(
        self,
        size: Sequence[int] | None = None,
        window: Sequence[float] | None = (-1000.0, 400.0),
        mean: float = 0.5,
        std: float = 0.25,
    ) -> None:
        super().__init__()
        if size is not None and len(size) != 3:
            raise ValueError(f"a volume's size is (D, H, W), not {tuple(size)}")
        if window is not None and not window[0] < window[1]:
            raise ValueError(f"an intensity window is (low, high), not {tuple(window)}")
        self.size = None if size is None else tuple(int(side) for side in size)
        self.window = None if window is None else (float(window[0]), float(window[1]))
        self.mean, self.std = mean, std

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        batch = dict(batch)
        volume = self.windowed(batch["image"], batch.pop("image_scale", None))
        batch["image"] = self.normalise(self.resize(volume))
        return batch

    def windowed(self, volume: Tensor, scale: Tensor | None = None) -> Tensor:
        """(B, C, D, H, W) int16, and (B, 2) slopes and intercepts -> float32 in [0, 1]."""
        if volume.ndim != 5:
            raise ValueError(f"volumes are (B, C, D, H, W), got {tuple(volume.shape)}; is this a store of pictures?")
        values = volume.to(torch.float32)
        if scale is not None:
            slope, intercept = (part.view(-1, 1, 1, 1, 1) for part in scale.to(values).unbind(dim=1))
            values = values * slope + intercept
        if self.window is not None:
            low, high = self.window
            return ((values - low) / (high - low)).clamp(0, 1)
        flat = values.flatten(1)
        flat = flat[:, :: max(1, flat.shape[1] // _SAMPLE)]
        ends = torch.quantile(flat, torch.tensor(PERCENTILES, device=flat.device) / 100, dim=1)
        lowest, highest = (end.view(-1, 1, 1, 1, 1) for end in ends)
        return ((values - lowest) / (highest - lowest).clamp(min=1e-6)).clamp(0, 1)

    def resize(self, volume: Tensor) -> Tensor:
        """(B, C, D, H, W) -> (B, C, *size), trilinear; averaged over regions where it shrinks by half or more."""
        if self.size is None or volume.shape[2:] == self.size:
            return volume
        if all(2 * new <= old for new, old in zip(self.size, volume.shape[2:], strict=True)):
            return F.interpolate(volume, size=self.size, mode="area")
        return F.interpolate(volume, size=self.size, mode="trilinear")

    def normalise(self, volume: Tensor) -> Tensor:
        return (volume - self.mean) / self.std


class VolumeAugmentation(VolumeTransform):
    """Random small shifts, scaling, rotations about the long axis and intensity; then normalise.

    Random numbers are part of the batch (``augmentation_draws``); none are drawn on the device. There is no flip, so
    positions keep their side.

    Args:
        size, window, mean, std: see :class:`VolumeTransform`.
        shift: maximum shift in either direction along each axis, as a share of the volume.
        zoom: maximum change of size in either direction, as a share.
        rotate: maximum rotation in either direction about the third axis (in RAS the body's long axis), degrees.
        brightness, contrast: maximum change in either direction, as a share of the intensity range.
    """

    #: Number of a sample's draws used here.
    USED_DRAWS = 7

    def __init__(
        self,
        size: Sequence[int] | None = None,
        window: Sequence[float] | None = (-1000.0, 400.0),
        mean: float = 0.5,
        std: float = 0.25,
        shift: float = 0.05,
        zoom: float = 0.08,
        rotate: float = 5.0,
        brightness: float = 0.05,
        contrast: float = 0.1,
    ) -> None:
        super().__init__(size, window, mean, std)
        self.shift, self.zoom, self.rotate = shift, zoom, rotate
        self.brightness, self.contrast = brightness, contrast

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        batch = dict(batch)
        signed = 2 * batch["augmentation_draws"] - 1
        volume = self.resize(self.windowed(batch["image"], batch.pop("image_scale", None)))
        # Fill with air, the lowest value after windowing.
        grid = F.affine_grid(self.geometry(signed, volume.shape[2:]), list(volume.shape), align_corners=False)
        volume = F.grid_sample(volume, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        gain = 1 + self.contrast * signed[:, 5].view(-1, 1, 1, 1, 1)
        offset = self.brightness * signed[:, 6].view(-1, 1, 1, 1, 1)
        batch["image"] = self.normalise(((volume - 0.5) * gain + 0.5 + offset).clamp(0, 1))
        return batch

    def geometry(self, signed: Tensor, size: Sequence[int]) -> Tensor:
        """(B, R) draws in [-1, 1) -> (B, 3, 4) maps from output to input, coordinates in [-1, 1], last axis first."""
        zoom = 1 + self.zoom * signed[:, 0]
        angle = math.radians(self.rotate) * signed[:, 1]
        shift = 2 * self.shift * signed[:, 2:5]
        cos, sin, zero = angle.cos() * zoom, angle.sin() * zoom, torch.zeros_like(zoom)
        # Rotate in voxels: in normalised coordinates unequal sides would shear.
        ratio = size[0] / size[1]
        rows = [
            torch.stack([zoom, zero, zero, shift[:, 2]], dim=1),
            torch.stack([zero, cos, sin * ratio, shift[:, 1]], dim=1),
            torch.stack([zero, -sin / ratio, cos, shift[:, 0]], dim=1),
        ]
        return torch.stack(rows, dim=1)
