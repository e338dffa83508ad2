"""Where a convolutional network's tokens look, from its strided layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar, runtime_checkable

from torch import Tensor, nn

Output = TypeVar("Output")
_STRIDED = (nn.Conv2d, nn.Conv3d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool2d, nn.AvgPool3d)
_PADS = (nn.ConstantPad2d, nn.ConstantPad3d)


@runtime_checkable
class PadsInput(Protocol):
    """A layer that pads the input of the next one, by an amount that may depend on its size."""

    def pixels_before(self, sides: tuple[int, ...]) -> list[int]:
        """Pixels added before the first, per axis, to an input of these sides."""
        ...


def shift_of(run: Callable[[], Output], network: nn.Module, axes: int) -> tuple[Output, tuple[float, ...]]:
    """Run a network, and give its output and its tokens' offset from the centres of their cells, in cells per axis.

    A layer with kernel k, stride s and padding p centres its output i on input pixel i · s + (k - 1) / 2 - p. Of the
    layers that leave one resolution, the one with the largest kernel counts (others are shortcuts beside it).
    """
    steps: dict[tuple[int, ...], tuple[list[int], list[int], list[float]]] = {}
    padded: list[tuple[tuple[int, ...], list[int]]] = []  # the last padding layer: sides of its output, and pads

    def seen(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        sides = tuple(inputs[0].shape[2:])
        if isinstance(layer, (*_PADS, PadsInput)):
            given = layer.padding[::2][::-1] if isinstance(layer, _PADS) else layer.pixels_before(sides)
            before = [int(one) for one in given]  # torch gives those of the last axis first
            padded[:] = [(tuple(output.shape[2:]), before)]
            return
        kernel, stride = _per_axis(layer.kernel_size, axes), _per_axis(layer.stride, axes)
        if max(stride) == 1 or not isinstance(output, Tensor):
            return
        pads = _per_axis(0 if layer.padding == "valid" else layer.padding, axes)  # "same" has a stride of one
        if padded and padded[0][0] == sides:
            pads = [own + pad for own, pad in zip(pads, padded[0][1], strict=True)]
        # Before or after padding, it is the same resolution: named by what comes out.
        resolution = tuple(output.shape[2:])
        if resolution not in steps or kernel > steps[resolution][0]:
            steps[resolution] = (kernel, stride, [float(one) for one in pads])

    kinds = (*_STRIDED, *_PADS, PadsInput)
    handles = [one.register_forward_hook(seen) for one in network.modules() if isinstance(one, kinds)]
    try:
        output = run()
    finally:
        for handle in handles:
            handle.remove()
    centre, cell = [0.0] * axes, [1] * axes
    for kernel, stride, pads in steps.values():
        for axis in range(axes):
            centre[axis] += cell[axis] * ((kernel[axis] - 1) / 2 - pads[axis])
            cell[axis] *= stride[axis]
    return output, tuple((centre[axis] - (cell[axis] - 1) / 2) / cell[axis] for axis in range(axes))


def _per_axis(value: Any, axes: int) -> list[Any]:
    return [value] * axes if isinstance(value, int) else list(value)
