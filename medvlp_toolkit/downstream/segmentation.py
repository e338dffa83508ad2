"""A U-shaped network whose contracting path is a pre-trained image encoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.networks.blocks import Convolution, UpSample
from monai.networks.nets.basic_unet import TwoConv
from torch import Tensor, nn

from medvlp_toolkit.interfaces import GivesFeatureMaps

_ACT, _NORM = "RELU", "BATCH"


class UpBlock(nn.Module):
    """Transposed convolution to the skip connection's size, concatenation, two convolutions.

    Args:
        spatial_dims: 2 or 3.
        in_channels, skip_channels, out_channels: of the coarser map, of the skip connection, of the result.
        scale: how much finer the skip connection is; 1 upsamples nothing.
        dropout: after each convolution.
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, skip_channels: int, out_channels: int, scale: int, dropout: float
    ) -> None:
        super().__init__()
        self.up: nn.Module = (
            UpSample(spatial_dims, in_channels, out_channels, scale_factor=scale, mode="deconv")
            if scale > 1
            else Convolution(spatial_dims, in_channels, out_channels, kernel_size=1, conv_only=True)
        )
        self.convolutions = TwoConv(
            spatial_dims, out_channels + skip_channels, out_channels, act=_ACT, norm=_NORM, bias=False, dropout=dropout
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.up(x)
        if x.shape[2:] != skip.shape[2:]:  # an odd size was rounded up on the way down
            x = F.interpolate(x, size=skip.shape[2:], mode="nearest")
        joined: Tensor = self.convolutions(torch.cat([skip, x], dim=1))
        return joined


class UShapedSegmenter(nn.Module):
    """A decoder with skip connections on a pre-trained encoder (Ronneberger et al. 2015): a logit per pixel and class.

    As in MedKLIP's segmentation fine-tuning: skip connections from the image itself, the stem and every stage but the
    last; two convolutions on the last; then per upsampling step a transposed convolution, the skip connection and two
    convolutions; a final 1×1 convolution. With its ResNet-50 up to the third stage the steps have 512, 256, 128 and 64
    channels.

    Args:
        image_encoder: one that :class:`~medvlp_toolkit.interfaces.GivesFeatureMaps`, as
            ``medvlp_toolkit.encoders.resnet`` does.
        classes: of the output.
        widths: channels of the upsampling steps, the coarsest first; half the encoder's, a quarter, … when None.
        dropout: after each convolution of the decoder, published 0.2.
        freeze: train only the decoder.
    """

    def __init__(
        self,
        image_encoder: nn.Module,
        classes: int = 1,
        widths: Sequence[int] | None = None,
        dropout: float = 0.2,
        freeze: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(image_encoder, GivesFeatureMaps):
            raise ValueError(
                f"{type(image_encoder).__name__} offers no feature_maps for skip connections; "
                "segmentation needs an encoder such as medvlp_toolkit.encoders.resnet"
            )
        channels = (image_encoder.in_channels, *image_encoder.feature_channels)
        strides = (1, *image_encoder.feature_strides)
        steps = len(channels) - 1
        widths = [max(channels[-1] // 2 ** (n + 1), 8) for n in range(steps)] if widths is None else list(widths)
        if len(widths) != steps:
            raise ValueError(f"widths has {len(widths)} entries; this encoder has {steps} steps up")
        dims = image_encoder.spatial_dims
        self.image_encoder = image_encoder
        self.freeze = freeze
        self.bridge = TwoConv(dims, channels[-1], channels[-1], act=_ACT, norm=_NORM, bias=False, dropout=dropout)
        coming = [channels[-1], *widths[:-1]]
        self.steps = nn.ModuleList(
            UpBlock(dims, coming[n], channels[-2 - n], widths[n], strides[-1 - n] // strides[-2 - n], dropout)
            for n in range(steps)
        )
        self.head = Convolution(dims, widths[-1], classes, kernel_size=1, conv_only=True)
        if freeze:
            image_encoder.requires_grad_(False)
            image_encoder.eval()

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, *spatial) float -> (B, classes, *spatial) logits."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze):
            maps: list[Tensor] = self.image_encoder.feature_maps(image)  # type: ignore[operator]
        if image.shape[1] != self.image_encoder.in_channels:
            image = image.repeat_interleave(int(self.image_encoder.in_channels), dim=1)  # type: ignore[arg-type]
        skips = [image, *maps[:-1]]
        x: Tensor = self.bridge(maps[-1])
        for n, step in enumerate(self.steps):
            x = step(x, skips[-1 - n])
        logits: Tensor = self.head(x)
        return logits

    def train(self, mode: bool = True) -> UShapedSegmenter:
        super().train(mode)
        if self.freeze:
            self.image_encoder.eval()
        return self
