"""Residual networks whose last feature map is returned as a sequence of tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from monai.networks.nets import ResNet as MonaiResNet
from torch import Tensor, nn

from medvlp_encoders.adapting import AdaptableEncoder
from medvlp_encoders.tokens import as_tokens, summarise

#: depth -> (block, blocks per stage); He et al. 2016, table 1.
DEPTHS: dict[int, tuple[str, tuple[int, int, int, int]]] = {
    10: ("basic", (1, 1, 1, 1)),
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
}


class ResNetTokens(AdaptableEncoder):
    """A residual network (He et al. 2016; v1.5: bottlenecks stride in their 3×3 convolution) as a token encoder.

    MONAI's ResNet with the standard stem and biasless shortcuts, so that state dicts in the common
    ``conv1 / bn1 / layer1 …`` naming load unchanged. The map of the last kept stage is flattened row by
    row: a 224-pixel image and ``last_stage=3`` give 14 × 14 = 196 tokens, as MedKLIP uses it.

    Args:
        depth: 10, 18, 34, 50, 101 or 152.
        last_stage: 1 to 4, the stage whose map is returned; later stages are not built.
        spatial_dims: 2 for images, 3 for volumes.
        in_channels: channels of the stem. A one-channel image is repeated to fit.
        widths: channels of the stages' first convolutions; (64, 128, 256, 512) is the standard.
        strides: stride of each stage; (1, 2, 2, 2) is the standard.
        pointwise_stages: stages (1 to 4) whose 3×3 convolutions become 1×1: they add depth without
            widening the receptive field, so that a token describes its own position.
        position_encoding: add a fixed sine-cosine encoding of its position to each token (Vaswani et al. 2017, on a
            grid), so that tokens with a small receptive field distinguish left from right. MedKLIP has none.
        weights: file with a state dict of this very encoder, such as ``medvlp import`` writes for a published tower.
        freeze: keep the weights and the batch-norm statistics as they are.
        lora: train low-rank additions to the layers only (:func:`medvlp_encoders.lora.add_adapters`): ``{rank: 8}``.

    Example::

        image_encoder:
          _target_: medvlp_toolkit.encoders.resnet
          depth: 50
    """

    supports_masking = False
    num_prefix_tokens = 0

    if TYPE_CHECKING:  # TorchScript reads class annotations and would treat submodules as attributes
        act: nn.Module
        bn1: nn.Module
        maxpool: nn.Module
        layer1: nn.Module
        layer2: nn.Module
        layer3: nn.Module
        layer4: nn.Module

    def __init__(
        self,
        depth: int = 50,
        last_stage: int = 3,
        spatial_dims: int = 2,
        in_channels: int = 3,
        widths: Sequence[int] = (64, 128, 256, 512),
        strides: Sequence[int] = (1, 2, 2, 2),
        pointwise_stages: Sequence[int] = (),
        position_encoding: bool = False,
        freeze: bool = False,
        lora: Mapping[str, Any] | None = None,
        weights: str | Path | None = None,
    ) -> None:
        super().__init__()
        if depth not in DEPTHS:
            raise ValueError(f"resnet depth {depth} is not one of {', '.join(map(str, DEPTHS))}")
        if not 1 <= last_stage <= 4:
            raise ValueError(f"resnet last_stage {last_stage} is not between 1 and 4")
        if len(widths) < last_stage or len(strides) < last_stage:
            raise ValueError(f"resnet needs a width and a stride for each of its {last_stage} stages")
        self._arguments = {
            "depth": depth,
            "last_stage": last_stage,
            "spatial_dims": spatial_dims,
            "in_channels": in_channels,
            "widths": list(widths),
            "strides": list(strides),
            "pointwise_stages": list(pointwise_stages),
            "position_encoding": position_encoding,
        }
        block, blocks = DEPTHS[depth]
        # MONAI always builds four stages; the unused ones get width 1 and are removed below.
        stage_widths = [*widths[:last_stage], *([1] * (4 - last_stage))]
        net = MonaiResNet(
            block=block,
            layers=list(blocks),
            block_inplanes=stage_widths,
            spatial_dims=spatial_dims,
            n_input_channels=in_channels,
            conv1_t_size=7,
            conv1_t_stride=2,
            bias_downsample=False,
            feed_forward=False,
        )
        self.num_prefix_tokens = 0  # on the instance, because TorchScript ignores class attributes
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.position_encoding = position_encoding
        self.conv1 = net.conv1
        self.bn1 = net.bn1
        self.act = net.act
        self.maxpool = net.maxpool
        for number in range(1, 5):
            layer: nn.Module = getattr(net, f"layer{number}") if number <= last_stage else nn.Identity()
            if number <= last_stage:
                _set_stride(layer, int(strides[number - 1]))
            if number <= last_stage and number in pointwise_stages:
                _make_pointwise(layer)
            self.add_module(f"layer{number}", layer)
        self._strides = [2, 2, *(int(s) for s in strides[:last_stage])]  # stem and pooling first
        expansion = 4 if block == "bottleneck" else 1
        self.num_features = int(widths[last_stage - 1]) * expansion
        #: Channels and stride of each of :meth:`feature_maps`.
        self.feature_channels = (int(widths[0]), *(int(width) * expansion for width in widths[:last_stage]))
        self.feature_strides = (2, *(4 * math.prod(self._strides[2 : 3 + n]) for n in range(last_stage)))
        self.adapt(freeze, lora, weights)

    def forward(self, image: Tensor, keep: Tensor | None = None) -> Tensor:
        """(B, C, *spatial) float -> (B, N, num_features), tokens in row-major order."""
        if keep is not None:
            raise ValueError("a residual network has no patches to keep; masking is not supported")
        features = self.feature_map(image)
        tokens = as_tokens(features)
        if self.position_encoding:
            tokens = tokens + position_table(list(features.shape[2:]), self.num_features, tokens)
        return tokens

    def feature_map(self, image: Tensor) -> Tensor:
        """(B, C, *spatial) -> (B, num_features, *grid)."""
        x: Tensor = self.maxpool(self.stem(image))
        features: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return features

    def stem(self, image: Tensor) -> Tensor:
        """(B, C, *spatial) -> (B, widths[0], *spatial / 2): the first convolution, before pooling."""
        if image.shape[1] != self.in_channels:
            if image.shape[1] != 1:
                raise ValueError(f"resnet reads {self.in_channels} channels, and the image has {image.shape[1]}")
            image = image.repeat_interleave(self.in_channels, dim=1)
        features: Tensor = self.act(self.bn1(self.conv1(image)))
        return features

    def feature_maps(self, image: Tensor) -> list[Tensor]:
        """The stem's map and every stage's, from fine to coarse, for a decoder's skip connections."""
        maps = [self.stem(image)]
        x = self.maxpool(maps[0])
        for number, layer in enumerate((self.layer1, self.layer2, self.layer3, self.layer4), start=1):
            if number < len(self.feature_channels):
                x = layer(x)
                maps.append(x)
        return maps

    def grid_size(self, image_shape: Sequence[int]) -> tuple[int, ...]:
        """Tokens along each spatial axis: every stride halves, rounding up."""
        grid = []
        for size in image_shape:
            for stride in self._strides:
                size = (int(size) - 1) // stride + 1
            grid.append(size)
        return tuple(grid)

    def token_shift(self) -> tuple[float, ...]:
        """Offset of each token's receptive field from the centre of its grid cell, in cells, per axis.

        Odd kernels with half padding centre token i at pixel i · S for a total stride of S, the first pixel of its cell
        instead of its middle: a heat map drawn cell by cell is (S - 1) / 2 pixels too far right and down.
        """
        stride = math.prod(self._strides)
        return (-(stride - 1) / (2 * stride),) * self.spatial_dims

    @torch.jit.unused
    def architecture(self) -> dict[str, Any]:
        """Arguments that build the same network with other weights."""
        return self._arguments | self.adaptation()

    @torch.jit.unused
    def block_names(self) -> list[tuple[str, ...]]:
        """The residual blocks of all stages."""
        return [
            (f"layer{stage}.{number}",)
            for stage in range(1, len(self.feature_channels))
            for number in range(len(self.get_submodule(f"layer{stage}")))  # type: ignore[arg-type]
        ]

    def summary(self, tokens: Tensor) -> Tensor:
        """(B, N, D) -> (B, D): the mean over positions."""
        return summarise(tokens, self.num_prefix_tokens)


def position_table(grid: list[int], channels: int, like: Tensor) -> Tensor:
    """Fixed sine-cosine encodings of the positions of a grid: (N, channels), row-major.

    Each axis has an equal share of the channels, with wavelengths from four times the image (to distinguish its ends)
    to an eighth of it.
    """
    frequencies = channels // (2 * len(grid))
    steps = torch.arange(frequencies, dtype=torch.float32, device=like.device) / max(frequencies - 1, 1)
    rates = 0.5 * math.pi * 32.0**steps
    axes = [torch.linspace(-1.0, 1.0, size, dtype=torch.float32, device=like.device) for size in grid]
    places = torch.stack(torch.meshgrid(axes, indexing="ij"), dim=-1).flatten(0, -2)  # (N, axes)
    angles = places.unsqueeze(-1) * rates
    table = torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(1)
    return torch.nn.functional.pad(table, [0, channels - table.shape[1]]).to(like.dtype)


def _set_stride(layer: nn.Module, stride: int) -> None:
    """Give a stage another stride than the one it was built with (1 for the first stage, else 2)."""
    first = layer[0]  # type: ignore[index]
    strided = [first.conv2 if hasattr(first, "conv3") else first.conv1]
    if isinstance(first.downsample, nn.Sequential):
        strided.append(first.downsample[0])
    elif stride != 1:
        raise ValueError("a first stage without shortcut projection keeps stride 1")
    for convolution in strided:
        convolution.stride = tuple(stride for _ in convolution.stride)


def _make_pointwise(layer: nn.Module) -> None:
    """Replace each 3×3 convolution of a stage by a 1×1 of the same stride."""
    for module in list(layer.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Conv2d | nn.Conv3d) and max(child.kernel_size) > 1:
                pointwise = type(child)(
                    child.in_channels, child.out_channels, kernel_size=1, stride=child.stride[0], bias=False
                )
                nn.init.kaiming_normal_(torch.as_tensor(pointwise.weight), mode="fan_out", nonlinearity="relu")
                setattr(module, name, pointwise)
