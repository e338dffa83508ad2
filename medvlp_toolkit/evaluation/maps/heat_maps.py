"""Converts attention over image tokens to maps on the token grid and on the pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from torch import Tensor

Upsampling = Literal["nearest", "linear"]


def attention_maps(
    attention: Tensor | ArrayLike,
    grid: Sequence[int],
    layers: int | Sequence[int] | None = None,
    prefix_tokens: int = 0,
) -> NDArray[np.float32]:
    """Attention of every query as a map on the token grid.

    Args:
        attention: (B, layers, Q, N), averaged over heads, tokens in row-major order.
        grid: tokens along each spatial axis (``image_encoder.grid_size(shape)``); 2-D or 3-D.
        layers: one layer, several to average, or None for the mean over all (as published); negative from the end.
        prefix_tokens: number of class tokens before the patches (``image_encoder.num_prefix_tokens``) to remove.

    Returns:
        (B, Q, *grid) float32. Without prefix tokens each map sums to 1.
    """
    array = _numpy(attention)
    if array.ndim != 4:
        raise ValueError(f"attention is (B, layers, Q, N), got {array.shape}")
    tokens = array.shape[-1] - prefix_tokens
    if tokens != math.prod(grid):
        raise ValueError(
            f"attention covers {array.shape[-1]} tokens, {prefix_tokens} of them before the patches; "
            f"a grid of {'×'.join(map(str, grid))} needs {math.prod(grid)}"
        )
    if layers is not None:
        chosen = [layers] if isinstance(layers, int) else list(layers)
        depth = array.shape[1]
        if not chosen or any(not -depth <= layer < depth for layer in chosen):
            raise ValueError(f"attention has layers 0 to {depth - 1}, and layers={layers} was requested")
        array = array[:, chosen]
    mean = array.mean(axis=1, dtype=np.float32)[..., prefix_tokens:]
    return mean.reshape(*mean.shape[:2], *grid)


def upsample(
    heat: ArrayLike,
    size: Sequence[int],
    mode: Upsampling = "nearest",
    shift: Sequence[float] = (),
    extent: Sequence[float] = (),
    start: Sequence[float] = (),
) -> NDArray[np.floating]:
    """Upsample a map to the pixels: (*grid) -> (*size), in 2-D or 3-D.

    ``nearest`` gives each pixel the value of the cell that contains its centre (as published: a 14×14 map becomes
    blocks of 16×16 pixels). ``linear`` is bilinear or trilinear between the cells' centres, constant beyond the
    outermost ones. Values are not rescaled: they remain attention per token.

    ``shift`` is, per axis and in cells, the offset of a token's receptive field from the centre of its cell
    (``image_encoder.token_shift()``); ``linear`` places it there. ``nearest`` ignores it, as published.

    ``extent`` is, per axis, that of the pixels as a share of the map's, 1 when left out; ``start`` where they begin in
    the map, as a share of it, about one centre when left out.
    """
    spread: NDArray[Any] = np.asarray(heat)
    if spread.ndim != len(size) or min(size) < 1:
        raise ValueError(f"a map of shape {spread.shape} cannot be spread over {tuple(size)}: one size per axis")
    if mode not in ("nearest", "linear"):
        raise ValueError(f"upsampling is 'nearest' or 'linear', got {mode!r}")
    for axis, (cells, pixels) in enumerate(zip(spread.shape, size, strict=True)):
        share = extent[axis] if extent else 1.0
        centres = pixel_centres(pixels, cells, share, start[axis] if start else (1 - share) / 2)
        if mode == "nearest":
            spread = spread.take(cells_at(centres, cells), axis)
            continue
        place = np.clip(centres - 0.5 - (shift[axis] if shift else 0.0), 0, cells - 1)
        low = place.astype(int)
        upper = (place - low).astype(spread.dtype if spread.dtype.kind == "f" else float)
        upper = upper.reshape([-1 if a == axis else 1 for a in range(spread.ndim)])
        spread = spread.take(low, axis) * (1 - upper) + spread.take(np.minimum(low + 1, cells - 1), axis) * upper
    return spread


def pixel_centres(pixels: int, cells: int, extent: float = 1.0, start: float = 0.0) -> NDArray[np.float64]:
    """(pixels,) Where the pixels' centres lie along an axis of cells, in cells from the edge of the first.

    ``extent`` is that of the pixels as a share of the cells', ``start`` where they begin.
    """
    centres: NDArray[np.float64] = (np.arange(pixels) + 0.5) * cells / pixels
    return centres * extent + start * cells


def cells_at(centres: NDArray[np.float64], cells: int) -> NDArray[np.intp]:
    """The cell that contains each place along an axis; the outermost ones extend beyond it."""
    return np.clip(centres.astype(np.intp), 0, cells - 1)


def share_of(heat: NDArray[np.floating]) -> NDArray[np.float64]:
    """A map from 0 at its lowest value to 1 at its highest; 0 where all are equal."""
    values = np.asarray(heat, float)
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.zeros(values.shape)


def _numpy(values: Any) -> NDArray[Any]:
    if hasattr(values, "detach"):  # a tensor, detected without importing torch
        values = values.detach().float().cpu().numpy()
    return np.asarray(values)
