"""Conversion of the store's integers to encoder input, on the training device, a whole batch at once.

Both transforms take and return the batch dict. Random ones read ``augmentation_draws`` (B, R), uniform numbers of the
batch; nothing is drawn on the device, so results do not depend on the device or on repetition. A horizontal flip also
swaps left and right in the labels, or is refused. A ``negative_image`` (K, C, H, W) is transformed like the image of
the row that it replaces.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: ImageNet's mean and standard deviation per RGB channel, with which published 2-D recipes normalise.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class EvaluationTransform(nn.Module):
    """Resize to the model's input and normalise, without randomness. A ``mask`` in the batch is resized too.

    Args:
        image_size: pixels of the square input; 0 keeps the stored size.
        mean, std: per channel, for input in [0, 1]. A one-channel image is repeated to as many channels.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, image_size: int, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
    ) -> None:
        super().__init__()
        if len(mean) != len(std):
            raise ValueError(f"mean has {len(mean)} channels and std {len(std)}; give one value per channel in both")
        self.image_size = image_size
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("std", torch.tensor(std), persistent=False)

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        batch = dict(batch)
        for key in ("image", "negative_image"):
            if key in batch:
                batch[key] = self.normalise(self.resize(to_unit_range(batch[key])))
        if "mask" in batch:
            batch["mask"] = self.resize_mask(batch["mask"].to(torch.float32))
        return batch

    def resize(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, image_size, image_size), bilinear with antialiasing, ignoring the aspect ratio."""
        size = self.size_of(image)
        return image if image.shape[-2:] == size else F.interpolate(image, size=size, mode="bilinear", antialias=True)

    def resize_mask(self, mask: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, 1, image_size, image_size): nearest neighbour of each pixel's centre."""
        size = self.size_of(mask)
        return mask if mask.shape[-2:] == size else F.interpolate(mask, size=size, mode="nearest-exact")

    def size_of(self, image: Tensor) -> tuple[int, int]:
        """(height, width) of the model's input for images (B, C, H, W)."""
        return self.input_size(image.shape[-2:])

    def input_size(self, stored: Sequence[int]) -> tuple[int, int]:
        """(height, width) of the model's input for images stored with this one."""
        return (self.image_size or stored[0], self.image_size or stored[1])

    def normalise(self, image: Tensor) -> Tensor:
        """(B, C, *spatial) in [0, 1] -> (B, len(mean), *spatial)."""
        channels = int(self.mean.numel())
        if image.shape[1] not in (1, channels):
            raise ValueError(f"the store's images have {image.shape[1]} channels, and mean is given for {channels}")
        shape = (1, channels, *([1] * (image.ndim - 2)))
        normalised: Tensor = (image - self.mean.view(shape)) / self.std.view(shape)
        return normalised


class TrainingAugmentation(EvaluationTransform):
    """Random resized crop, horizontal flip, rotation, shift, zoom and intensity, then normalise.

    A ``mask`` in the batch moves with its image.

    Args:
        image_size: pixels of the square input; 0 keeps the stored size.
        positions: position ids in the order of ``entity_position_candidates``; required for flipping.
        mirrors: position id -> its id in a mirrored image, None if it has no counterpart. A study with a present entity
            at such a position is not flipped. An empty mapping means that no label of the batch names a side.
        flip: probability of a horizontal flip.
        crop_scale: (min, max) share of the image's area in the random crop, whose aspect ratio varies within (3/4, 4/3)
            unless it is the whole image.
        rotate: maximum rotation in either direction, degrees.
        shift: maximum shift in either direction, as a share of the image.
        zoom: maximum change of size in either direction, as a share.
        brightness, contrast: maximum change in either direction, as a share of the intensity range.

    Raises:
        ValueError: when ``flip`` is set without mirrors for every position.
    """

    #: Number of a sample's draws used here for geometry and intensity; subclasses use the rest.
    USED_DRAWS = 12
    mirror_index: Tensor

    def __init__(
        self,
        image_size: int,
        positions: Sequence[str] = (),
        mirrors: Mapping[str, str | None] | None = None,
        flip: float = 0.0,
        crop_scale: Sequence[float] = (1.0, 1.0),
        rotate: float = 0.0,
        shift: float = 0.0,
        zoom: float = 0.0,
        brightness: float = 0.0,
        contrast: float = 0.0,
        interpolation: str = "bilinear",
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        super().__init__(image_size, mean, std)
        self.flip = flip
        self.crop_scale = (float(crop_scale[0]), float(crop_scale[1]))
        self.rotate, self.shift, self.zoom = rotate, shift, zoom
        self.brightness, self.contrast = brightness, contrast
        self.interpolation = interpolation
        self.register_buffer("mirror_index", mirror_table(positions, mirrors, flip), persistent=False)

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        batch = dict(batch)
        draws = batch["augmentation_draws"]
        flipped = self.choose_flips(batch, draws[:, 0])
        image = to_unit_range(batch["image"])
        maps = self.geometry(draws, flipped)
        image = resample(image, maps, self.size_of(image), self.interpolation)
        image = self.intensity(image.clamp(0, 1), draws)
        batch["image"] = self.normalise(image)
        if "negative_image" in batch:
            other = to_unit_range(batch["negative_image"])
            # The mismatched rows in order, without synchronising with the device for their number.
            rows = batch["is_pair"].to(torch.uint8).argsort(stable=True)[: other.shape[0]]
            other = resample(other, maps[rows], self.size_of(other), self.interpolation)
            batch["negative_image"] = self.normalise(self.intensity(other.clamp(0, 1), draws[rows]))
        if "mask" in batch:
            mask = batch["mask"].to(torch.float32)
            batch["mask"] = resample(mask, maps, self.size_of(mask), "nearest")
        if "entity_position_candidates" in batch and self.flip > 0:
            batch["entity_position_candidates"] = self.mirror(batch["entity_position_candidates"], flipped)
        return batch

    # -- left and right -----------------------------------------------------------------------

    def choose_flips(self, batch: Mapping[str, Any], draw: Tensor) -> Tensor:
        """(B,) True for studies to flip: those drawn, if all their positions have a mirror."""
        if self.flip <= 0:
            return torch.zeros_like(draw, dtype=torch.bool)
        if "input_ids" in batch:
            raise ValueError(
                "a flipped image contradicts the left and right of its report's words, and this batch holds report "
                "tokens; set flip: 0"
            )
        flipped = draw < self.flip
        if "entity_position_candidates" in batch:
            if not len(self.mirror_index):
                raise ValueError("this batch names positions; give positions and mirrors to flip it, or set flip: 0")
            stated = batch["entity_position_candidates"][..., 0]
            unmirrored = (self.mirror_index[stated] < 0) & (batch["entity_presence"] == 1)
            flipped = flipped & ~unmirrored.any(dim=1)
        return flipped

    def mirror(self, candidates: Tensor, flipped: Tensor) -> Tensor:
        """(B, Q, K) positions with left and right swapped if flipped; a negative without a mirror is unchanged."""
        swapped = self.mirror_index[candidates]
        swapped = torch.where(swapped < 0, candidates, swapped)
        return torch.where(flipped[:, None, None], swapped, candidates)

    # -- random maps --------------------------------------------------------------------------

    def geometry(self, draws: Tensor, flipped: Tensor) -> Tensor:
        """(B, 2, 3) affine maps from output to input coordinates, both in [-1, 1]: crop, flip, rotate, shift, zoom."""
        low, high = self.crop_scale
        area = low + (high - low) * draws[:, 1]
        ratio = torch.exp((2 * draws[:, 2] - 1) * math.log(4 / 3)) if low < 1 else torch.ones_like(area)
        width = (area * ratio).sqrt().clamp(max=1)
        height = (area / ratio).sqrt().clamp(max=1)
        centre_x = (2 * draws[:, 3] - 1) * (1 - width)
        centre_y = (2 * draws[:, 4] - 1) * (1 - height)
        angle = (2 * draws[:, 5] - 1) * math.radians(self.rotate)
        zoom = 1 + (2 * draws[:, 6] - 1) * self.zoom
        shift_x, shift_y = (2 * (2 * draws[:, i] - 1) * self.shift for i in (7, 8))
        sign = torch.where(flipped, -1.0, 1.0)
        rows = [
            torch.stack([sign * width * zoom * angle.cos(), -width * zoom * angle.sin(), centre_x + shift_x], dim=1),
            torch.stack([sign * height * zoom * angle.sin(), height * zoom * angle.cos(), centre_y + shift_y], dim=1),
        ]
        return torch.stack(rows, dim=1)

    def intensity(self, image: Tensor, draws: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1]: contrast around mid-grey, then brightness."""
        if not self.brightness and not self.contrast:
            return image
        gain = 1 + (2 * draws[:, 9] - 1) * self.contrast
        offset = (2 * draws[:, 10] - 1) * self.brightness
        image = (image - 0.5) * gain[:, None, None, None] + 0.5 + offset[:, None, None, None]
        return image.clamp(0, 1)


def to_unit_range(image: Tensor) -> Tensor:
    """uint8 (B, C, *spatial) -> float32 in [0, 1]; floating-point images are assumed to be in that range."""
    return image.to(torch.float32) / 255 if image.dtype == torch.uint8 else image.to(torch.float32)


def resample(
    image: Tensor, maps: Tensor, size: Sequence[int], interpolation: str = "bilinear", fill: float = 0.0
) -> Tensor:
    """(B, C, H, W) sampled at affine ``maps`` (B, 2, 3) of a grid of ``size`` (h, w); ``fill`` outside the image."""
    grid = F.affine_grid(maps.to(image.dtype), [*image.shape[:2], *size], align_corners=False)
    return F.grid_sample(image - fill, grid, mode=interpolation, padding_mode="zeros", align_corners=False) + fill


def mirror_table(positions: Sequence[str], mirrors: Mapping[str, str | None] | None, flip: float) -> Tensor:
    """(P,) index of each position's mirror, -1 if it has none."""
    if flip <= 0:
        return torch.zeros(max(len(positions), 1), dtype=torch.long)
    if mirrors is None or (mirrors and not positions):
        raise ValueError(
            "a horizontal flip swaps left and right: give positions and mirrors so that labels follow, or set flip: 0"
        )
    unknown = [name for name in positions if name not in mirrors]
    if unknown:
        raise ValueError(f"mirrors has no entry for the positions {', '.join(unknown)}; name a mirror or None for each")
    index = {name: i for i, name in enumerate(positions)}
    return torch.tensor([index.get(mirrors[name] or "", -1) for name in positions], dtype=torch.long)
