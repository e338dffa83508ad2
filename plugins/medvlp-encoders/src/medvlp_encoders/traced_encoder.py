"""Image encoders around networks of libraries: what they promise is read from a pass without storage."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from medvlp_encoders.adapting import AdaptableEncoder
from medvlp_encoders.strides import shift_of
from medvlp_encoders.tokens import as_tokens


class Outline(NamedTuple):
    """What a pass over images of one size gives."""

    prefix: int
    width: int
    grid: tuple[int, ...]
    maps: tuple[tuple[int, int, int], ...]  # of the last map of every resolution: index, channels, stride
    shift: tuple[float, ...]
    unread: tuple[str, ...]


class TracedEncoder(AdaptableEncoder):
    """Base of encoders whose network comes from a library.

    A subclass implements :meth:`encode`. Widths, grids, prefix tokens, feature maps and the shift of tokens follow from
    a pass on torch's meta device, and hold for every network of the library.
    """

    # For isinstance checks of protocols: set where the network has stages.
    feature_channels: Sequence[int]
    feature_strides: Sequence[int]

    def encode(self, image: Tensor, with_maps: bool = False) -> tuple[Tensor, list[Tensor]]:
        """(B, C, *spatial) -> tokens (B, T, D) or a map (B, D, *grid), and the maps of all stages if requested."""
        raise NotImplementedError

    def patch_sides(self) -> tuple[int, ...] | None:
        """Pixels of a patch along each axis, of a network that gives tokens without maps."""
        return None

    def complete(self, label: str, in_channels: int, usual_size: Sequence[int], supports_masking: bool = False) -> None:
        """Set the attributes of the contract, once the network is as it will be; :meth:`adapt` follows.

        Args:
            label: names the network in messages.
            usual_size: of an image, at which strides are counted.
        """
        self.label = label
        self.in_channels = in_channels
        self.spatial_dims = len(usual_size)
        self.supports_masking = supports_masking
        self._usual_size = tuple(int(size) for size in usual_size)
        self._outlines: dict[tuple[int, ...], Outline] = {}
        self._kept: Tensor | None = None
        outline = self.outline(self._usual_size)
        self.num_prefix_tokens = outline.prefix
        self.num_features = outline.width
        if outline.maps:
            self.feature_channels = tuple(channels for _, channels, _ in outline.maps)
            self.feature_strides = tuple(stride for _, _, stride in outline.maps)
        parameters = dict(self.named_parameters())
        for name in outline.unread:  # a parameter without gradient stops DDP
            parameters[name].requires_grad_(False)

    def forward(self, image: Tensor, keep: Tensor | None = None) -> Tensor:
        """(B, C, *spatial) float -> (B, prefix + N, num_features), patches or positions in row-major order.

        ``keep`` (B, K) int64 are the visible patches of a network that supports masking; the result is then
        (B, prefix + K, num_features), in their order.
        """
        if keep is not None and not self.supports_masking:
            raise ValueError(f"{self.label} relates patches to their neighbours; masking is not supported")
        image = self.with_channels(image)
        if image.shape[0] == 0:  # not len(), which exporters take for a constant
            tokens = math.prod(self.grid_size(image.shape[2:])) if keep is None else keep.shape[1]
            return image.new_zeros(0, self.num_prefix_tokens + tokens, self.num_features)
        self._kept = keep
        try:
            last, _ = self.encode(image)
        finally:
            self._kept = None
        return last if last.ndim == 3 else as_tokens(last)

    def feature_maps(self, image: Tensor) -> list[Tensor]:
        """The last map of every resolution, from fine to coarse, for a decoder's skip connections."""
        _, maps = self.encode(self.with_channels(image), with_maps=True)
        return [maps[index] for index, _, _ in self.outline(self._usual_size).maps]

    def grid_size(self, image_shape: Sequence[int]) -> tuple[int, ...]:
        """Tokens along each spatial axis."""
        return self.outline(tuple(int(size) for size in image_shape)).grid

    def token_shift(self) -> tuple[float, ...]:
        """Offset of each token's receptive field from the centre of its grid cell, in cells, per axis."""
        return self.outline(self._usual_size).shift

    def with_channels(self, image: Tensor) -> Tensor:
        """The image with the channels that the network reads: one is repeated."""
        if image.shape[1] == self.in_channels:
            return image
        if image.shape[1] != 1:
            raise ValueError(f"{self.label} reads {self.in_channels} channels, and the image has {image.shape[1]}")
        return image.expand(-1, self.in_channels, *(-1,) * (image.ndim - 2))

    def kept(self, tokens: Tensor, prefix: int) -> Tensor:
        """Class and register tokens, and of the patches those in ``keep``; to be called once positions are added."""
        if self._kept is None:
            return tokens
        first, patches = tokens.split([prefix, tokens.shape[1] - prefix], dim=1)
        chosen = self._kept.unsqueeze(-1).expand(-1, -1, patches.shape[-1])
        return torch.cat([first, patches.gather(1, chosen)], dim=1)

    def outline(self, shape: tuple[int, ...]) -> Outline:
        """Pass an image of zeros without storage, and see what comes out and which parameters were read.

        Raises:
            ValueError: when the network cannot read such an image, or gives tokens that are not on a grid.
        """
        if shape not in self._outlines:
            self._outlines[shape] = self._traced(shape)
        return self._outlines[shape]

    def _traced(self, shape: tuple[int, ...]) -> Outline:
        image = torch.zeros(2, self.in_channels, *shape, device="meta")
        sides = " × ".join(map(str, shape))
        try:
            with torch.enable_grad():
                (last, maps), shift, unread = _without_storage(self, image)
        except (NotImplementedError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(
                f"{self.label} cannot read an image of {sides}: {(str(error).splitlines() or [''])[0]}"
            ) from error
        found = _by_resolution(shape, maps)
        if last.ndim > 3:
            return Outline(0, last.shape[1], tuple(last.shape[2:]), found, shift, unread)
        patch = self.patch_sides()
        if maps:
            grid = tuple(maps[-1].shape[2:])
        else:
            grid = tuple(size // side for size, side in zip(shape, patch, strict=True)) if patch else (0,)
        prefix = last.shape[1] - math.prod(grid)
        if prefix < 0 or 0 in grid:
            raise ValueError(
                f"{self.label} gives {last.shape[1]} tokens of an image of {sides}, which are no grid of patches"
            )
        return Outline(prefix, last.shape[2], grid, found, shift, unread)


def _without_storage(
    encoder: TracedEncoder, image: Tensor
) -> tuple[tuple[Tensor, list[Tensor]], tuple[float, ...], tuple[str, ...]]:
    """The encoder's output on the meta device, the shift of its tokens, and the parameters it does not read."""
    # A copy, because transformers leaves hooks in a model whose maps were requested, and they cannot be pickled.
    copies: dict[int, Any] = {}
    for parameter in encoder.parameters():
        copies[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta"))
    for buffer in encoder.buffers():
        copies[id(buffer)] = torch.empty_like(buffer, device="meta")
    twin = copy.deepcopy(encoder, copies)
    output, shift = shift_of(lambda: twin.encode(image, with_maps=True), twin, image.ndim - 2)
    output[0].sum().backward()
    return output, shift, tuple(name for name, value in twin.named_parameters() if value.grad is None)


def _by_resolution(shape: tuple[int, ...], maps: Sequence[Tensor]) -> tuple[tuple[int, int, int], ...]:
    """Index, channels and stride of the last map of every resolution."""
    last = {tuple(one.shape[2:]): index for index, one in enumerate(maps)}
    return tuple((index, maps[index].shape[1], round(shape[0] / sides[0])) for sides, index in last.items())
