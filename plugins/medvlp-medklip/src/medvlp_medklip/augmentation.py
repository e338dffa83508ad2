"""MedKLIP's training augmentation, batched on the device: RandomResizedCrop, flip, RandAugment."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from medvlp_toolkit.data.batches.augmentation import IMAGENET_MEAN, IMAGENET_STD, TrainingAugmentation, resample

OPERATIONS = (
    "identity",
    "auto_contrast",
    "equalize",
    "brightness",
    "sharpness",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
)
_FILL = 128 / 255


class MedklipAugmentation(TrainingAugmentation):
    """MedKLIP's training augmentation, with its faults fixed.

    A bicubic random crop of 20 to 100 % of the area, a horizontal flip, then ``count`` operations drawn
    with replacement, each applied with probability one half at magnitude 7 of 10 (Cubuk et al. 2020,
    RandAugment): brightness and sharpness factor 1.36, shear ±0.21, translation ±7 pixels, rotation ±21°,
    grey fill. Two published faults are not repeated: a flip swaps left and right in the position labels,
    and AutoContrast stretches the image instead of saturating it.

    Args: as :class:`~medvlp_toolkit.data.TrainingAugmentation`;
        count: operations per image, published 2.
        probability: of applying each, published 0.5.
        magnitude: 0 to 10, published 7.
    """

    def __init__(
        self,
        image_size: int = 224,
        positions: Sequence[str] = (),
        mirrors: Mapping[str, str | None] | None = None,
        flip: float = 0.5,
        crop_scale: Sequence[float] = (0.2, 1.0),
        count: int = 2,
        probability: float = 0.5,
        magnitude: float = 7,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        super().__init__(
            image_size,
            positions,
            mirrors,
            flip=flip,
            crop_scale=crop_scale,
            interpolation="bicubic",
            mean=mean,
            std=std,
        )
        self.count, self.probability, self.magnitude = count, probability, magnitude

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        if "mask" in batch:
            raise ValueError(
                "MedKLIP's augmentation shears and rotates images without their masks; use "
                "medvlp_toolkit.data.batches.augmentation.TrainingAugmentation for segmentation"
            )
        return super().forward(batch)

    def intensity(self, image: Tensor, draws: Tensor) -> Tensor:
        """Apply the drawn operations; (B, C, H, W) in [0, 1]."""
        for number in range(self.count):
            which, applied, sign = draws[:, self.USED_DRAWS + 3 * number : self.USED_DRAWS + 3 * number + 3].unbind(1)
            operation = (which * len(OPERATIONS)).long().clamp(max=len(OPERATIONS) - 1)
            operation = torch.where(applied < self.probability, operation, 0)
            image = self.operate_each(image, operation, torch.where(sign < 0.5, -1.0, 1.0))
        return image

    def operate_each(self, image: Tensor, operation: Tensor, sign: Tensor) -> Tensor:
        """(B,) operation indices and signs; each operation runs on the images that drew it."""
        image = image.clone()
        # Read back once per call, because the drawn operations determine the shapes of the work.
        drawn = operation.tolist()
        for index in sorted(set(drawn) - {0}):
            chosen = torch.tensor([i for i, op in enumerate(drawn) if op == index], device=image.device)
            image[chosen] = self.operate(OPERATIONS[index], image[chosen], sign[chosen])
        return image

    def operate(self, name: str, image: Tensor, sign: Tensor) -> Tensor:
        """One operation on all the given images."""
        level = self.magnitude / 10
        if name == "auto_contrast":
            return auto_contrast(image)
        if name == "equalize":
            return equalize(image)
        if name == "brightness":
            return (image * (0.1 + 1.8 * level)).clamp(0, 1)
        if name == "sharpness":
            return sharpen(image, 0.1 + 1.8 * level)
        return resample(image, self.affine(name, sign * level, image.shape[-1]), image.shape[-2:], fill=_FILL)

    def affine(self, name: str, level: Tensor, size: int) -> Tensor:
        """(B,) signed levels in [-1, 1] -> (B, 2, 3) maps."""
        maps = torch.eye(2, 3, device=level.device).repeat(len(level), 1, 1)
        if name == "rotate":
            angle = level * math.radians(30)
            maps[:, 0, 0], maps[:, 0, 1] = angle.cos(), angle.sin()
            maps[:, 1, 0], maps[:, 1, 1] = -angle.sin(), angle.cos()
        elif name.startswith("shear"):
            row, column = (0, 1) if name.endswith("x") else (1, 0)
            maps[:, row, column] = 0.3 * level
        else:
            maps[:, 0 if name.endswith("x") else 1, 2] = 2 * 10 * level / size
        return maps


def auto_contrast(image: Tensor) -> Tensor:
    """Stretch each channel of each image to [0, 1]; a flat channel is unchanged."""
    low, high = image.amin(dim=(-2, -1), keepdim=True), image.amax(dim=(-2, -1), keepdim=True)
    spread = high - low
    return torch.where(spread > 0, (image - low) / spread.clamp(min=1e-12), image)


def equalize(image: Tensor) -> Tensor:
    """Histogram equalisation of each channel over 256 levels."""
    levels = (image * 255).round().long().clamp(0, 255).flatten(2)
    histogram = torch.zeros(*levels.shape[:2], 256, device=image.device).scatter_add_(
        2, levels, torch.ones_like(levels, dtype=torch.float32)
    )
    cumulative = histogram.cumsum(-1)
    first = torch.where(histogram > 0, cumulative, torch.inf).amin(-1, keepdim=True)
    total = cumulative[..., -1:]
    table = ((cumulative - first) / (total - first).clamp(min=1)).clamp(0, 1)
    equalized = table.gather(2, levels).view_as(image)
    return torch.where((total > first)[..., None], equalized, image)


def sharpen(image: Tensor, factor: float) -> Tensor:
    """Blend with a smoothed copy, weights (1 - factor, factor); the border keeps its values."""
    kernel = torch.ones(3, 3, device=image.device, dtype=image.dtype)
    kernel[1, 1] = 5
    kernel = (kernel / kernel.sum()).expand(image.shape[1], 1, 3, 3)
    smooth = image.clone()
    smooth[..., 1:-1, 1:-1] = F.conv2d(image, kernel, groups=image.shape[1])
    return (smooth + factor * (image - smooth)).clamp(0, 1)
