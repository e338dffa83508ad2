"""Convert a decoded picture to the depth, channels and size of a store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from medvlp_toolkit.images.errors import NoContrastError

Fit = Literal["stretch", "pad", "crop"]
Size = int | tuple[int, int]
Array = npt.NDArray[Any]
#: Pillow's modes of grey values deeper than 8 bits.
DEEP = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")
#: Pixels converted at a time.
_BLOCK = 1 << 20


def height_and_width(size: Size | list[int]) -> tuple[int, int]:
    """``(height, width)`` of a size given as one number or as two; raises ValueError for anything else."""
    pair = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if len(pair) != 2 or not all(isinstance(side, int) and side > 0 for side in pair):
        raise ValueError(f"an image size is a positive whole number or (height, width), not {size!r}")
    return pair[0], pair[1]


def stretch_to_uint8(values: Array) -> npt.NDArray[np.uint8]:
    """Map the smallest value to 0 and the largest to 255; NaN and constant images become 0.

    For depths without a display window (16-bit PNG, DICOM without window): radiographs use 10 to 14 of the 16 bits, so
    dividing by 257 would give a nearly black picture.

    Raises:
        NoContrastError: when no value is finite.
    """
    if values.dtype.kind in "iu":
        low, high = float(values.min()), float(values.max())
    else:
        finite = values[np.isfinite(values)]
        if not finite.size:
            raise NoContrastError("no pixel has a finite value")
        low, high = float(finite.min()), float(finite.max())
    if values.dtype.kind in "iu" and high - low < 65536 < values.size:
        table = stretch_to_uint8(np.arange(low, high + 1, dtype=np.int64))
        return looked_up(table, values, int(low))
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    scale = 255.0 / (high - low)
    if values.dtype.kind in "iu":
        return _by_rows(lambda part: np.rint((part.astype(np.float64) - low) * scale), values, values.shape)
    return _by_rows(
        lambda part: np.rint(np.clip(np.nan_to_num(part.astype(np.float64), nan=low) - low, 0, high - low) * scale),
        values,
        values.shape,
    )


def looked_up(table: npt.NDArray[np.uint8], values: Array, first: int) -> npt.NDArray[np.uint8]:
    """``table[values - first]``, for integers of any shape; a table of colours adds an axis."""
    shape = values.shape + table.shape[1:]
    if not first and values.dtype.kind == "u":
        return _by_rows(lambda part: table[part], values, shape)
    return _by_rows(lambda part: table[part.astype(np.int32) - first], values, shape)


def _by_rows(change: Callable[[Array], Array], values: Array, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Apply ``change`` to some rows at a time: all at once would take many times a picture's size in memory."""
    result = np.empty(shape, np.uint8)
    rows = max(1, _BLOCK * len(values) // max(1, values.size))
    for start in range(0, len(values), rows):
        result[start : start + rows] = change(values[start : start + rows])
    return result


def to_channels(picture: Image.Image, channels: int) -> Image.Image:
    """Grey (1) or colour (3) picture of 8 bits; colour becomes grey by ITU-R 601 luma, transparency black."""
    if picture.mode in DEEP:
        picture = Image.fromarray(stretch_to_uint8(np.asarray(picture)))
    elif picture.has_transparency_data:
        picture = on_black(picture)
    mode = "L" if channels == 1 else "RGB"
    if picture.mode == mode:
        return picture
    # A palette is mapped to colours first, else its indices would become grey values; Lab has no conversion to grey.
    if picture.mode in ("P", "LAB"):
        picture = picture.convert("RGB")
    return picture.convert(mode)


def on_black(picture: Image.Image) -> Image.Image:
    """The picture on a black background: colours of transparent pixels are not meant to be visible."""
    layered = picture.convert("RGBA")
    if layered.getchannel("A").getextrema() == (255, 255):
        return layered.convert("RGB")
    return Image.alpha_composite(Image.new("RGBA", layered.size, (0, 0, 0, 255)), layered).convert("RGB")


class Placement(NamedTuple):
    """What a picture is resized to, ``(height, width)``, and where in it the upper left corner of the result lies,
    ``(rows, columns)``: below 0 where the picture is padded."""

    target: tuple[int, int]
    offset: tuple[int, int]


def placement(original: tuple[int, int], size: tuple[int, int], fit: Fit) -> Placement:
    """How a picture of ``original`` ``(height, width)`` is made to fit ``size``, in whole pixels.

    ``stretch`` ignores the aspect ratio, ``pad`` keeps it and fills with black, ``crop`` keeps it and crops the longer
    side at both ends.
    """
    if fit == "stretch":
        return Placement(size, (0, 0))
    if fit not in ("pad", "crop"):
        raise ValueError(f"fit is 'stretch', 'pad' or 'crop', not {fit!r}")
    choose = min if fit == "pad" else max
    scale = choose(size[1] / original[1], size[0] / original[0])
    tall, wide = max(1, round(original[0] * scale)), max(1, round(original[1] * scale))
    return Placement((tall, wide), ((tall - size[0]) // 2, (wide - size[1]) // 2))


def resize(picture: Image.Image, size: tuple[int, int] | None, fit: Fit) -> Image.Image:
    """Bilinear resize with antialiasing to ``(height, width)``, as :func:`placement` says."""
    if size is None:
        return picture
    height, width = size
    (tall, wide), (top, left) = placement((picture.height, picture.width), size, fit)
    if picture.size != (wide, tall):
        picture = picture.resize((wide, tall), Image.Resampling.BILINEAR)
    if picture.size == (width, height):
        return picture
    return picture.crop((left, top, left + width, top + height))


def fit_picture(picture: Image.Image, size: tuple[int, int] | None, channels: int, fit: Fit) -> npt.NDArray[np.uint8]:
    """uint8 ``(channels, height, width)`` of any Pillow picture."""
    if channels not in (1, 3):
        raise ValueError(f"channels is 1 (grey) or 3 (colour), not {channels!r}")
    pixels = np.asarray(resize(to_channels(picture, channels), size, fit))
    return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def fit_box(
    box: tuple[float, float, float, float], original: tuple[int, int], size: tuple[int, int] | None, fit: Fit
) -> tuple[float, float, float, float]:
    """The position after `resize` of a box ``(x, y, width, height)`` in fractions of the original ``(height, width)``.

    The result is in fractions of the resized picture, clipped at its edges.
    """
    if size is None or fit == "stretch":
        return box
    (top, left), (tall, wide) = (shown(original, size, fit) for shown in (shown_start, shown_share))
    edges = []
    for start, length, first, share in ((box[0], box[2], left, wide), (box[1], box[3], top, tall)):
        begin = first + start * share
        end = begin + length * share
        edges.append((min(max(begin, 0.0), 1.0), min(max(end, 0.0), 1.0)))
    (left, right), (top, bottom) = edges
    return left, top, right - left, bottom - top


def shown_share(original: tuple[int, int], size: tuple[int, int], fit: Fit) -> tuple[float, float]:
    """Height and width of the whole original after `resize`, as shares of the resized picture's.

    Less than 1 where the original is padded, more where it is cut.
    """
    tall, wide = placement(original, size, fit).target
    return tall / size[0], wide / size[1]


def shown_start(original: tuple[int, int], size: tuple[int, int], fit: Fit) -> tuple[float, float]:
    """Where the original's upper edge and left edge lie after `resize`, as shares of the resized picture.

    Above 0 where the original is padded, below 0 where it is cut; by a pixel not in the middle where the rest is odd.
    """
    top, left = placement(original, size, fit).offset
    return -top / size[0], -left / size[1]
