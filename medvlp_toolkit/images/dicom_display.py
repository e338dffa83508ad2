"""From a radiograph's stored values to the displayed ones: modality and VOI transformations, padding, polarity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medvlp_toolkit.images.errors import ImageReadError
from medvlp_toolkit.images.fit import looked_up, stretch_to_uint8
from medvlp_toolkit.images.lookup_tables import LookupTable, first_table, table_of

if TYPE_CHECKING:
    from pydicom import Dataset

Array = npt.NDArray[Any]
GREY = ("MONOCHROME1", "MONOCHROME2")


def grey_to_uint8(path: Path, raw: Array, dataset: Dataset) -> npt.NDArray[np.uint8]:
    """The display pipeline, computed once per possible stored value and then looked up per pixel.

    Without a VOI LUT or window, or if the window leaves no contrast, the image's own range is used.
    Padding pixels are black and excluded from the range (PS3.3, C.7.5.1.1.2).

    Raises:
        ImageReadError: for a photometric interpretation that is not grey, values that cannot be rescaled, or an image
            of padding only.
    """
    photometric = photometric_interpretation(dataset)
    if photometric not in GREY:
        raise ImageReadError(path, f"photometric interpretation {photometric!r} with one value per pixel")
    padding = padding_of(raw, dataset)
    pixels = stored_values(raw, dataset)
    low, high = darkest, brightest = int(pixels.min()), int(pixels.max())
    if padding is not None:
        shown = pixels[~padding]
        if not shown.size:
            raise ImageReadError(path, "every pixel is padding")
        darkest, brightest = int(shown.min()), int(shown.max())
    values = modality_values(path, np.arange(low, high + 1), dataset)
    present = slice(darkest - low, brightest - low + 1)
    table = voi(values, dataset)
    if table is None or (brightest > darkest and np.ptp(table[present]) == 0):
        table = np.zeros(len(values), np.uint8)
        table[present] = stretch_to_uint8(values[present])
    if inverted(dataset, photometric):
        table = 255 - table
    picture = looked_up(table, pixels, low)
    if padding is not None:
        picture[padding] = 0
    return picture


def photometric_interpretation(dataset: Dataset) -> str:
    """The attribute, stripped; grey if it is absent, as in files older than DICOM."""
    return str(dataset.get("PhotometricInterpretation") or "MONOCHROME2").strip().upper()


def stored_values(raw: Array, dataset: Dataset) -> Array:
    """The bits of each pixel cell that hold its value; the others are undefined (PS3.5, 8.1.1).

    Old files use the upper bits. If the values are in the lower bits although the header says otherwise, they are taken
    from there.
    """
    allocated = 8 * raw.dtype.itemsize
    stored = min(int(dataset.BitsStored), allocated)
    unused = allocated - stored
    if not unused:
        return raw
    cells = raw.view(f"u{raw.dtype.itemsize}")
    high = dataset.get("HighBit")
    shift = 0 if high is None else min(int(high), allocated - 1) + 1 - stored
    others = int(cells.max()) >> stored
    if shift > 0 and others:
        cells = cells >> shift
    elif raw.dtype.kind == "u" and not others:
        return raw  # as in most files; masking copies the picture
    if raw.dtype.kind == "i":
        return (cells << unused).view(raw.dtype) >> unused
    return cells & cells.dtype.type((1 << stored) - 1)


def padding_of(raw: Array, dataset: Dataset) -> npt.NDArray[np.bool_] | None:
    """Mask of padding pixels; None if there is no padding value.

    The value is compared with whole pixel cells, because it may need more bits than are stored. It may be written as
    signed or unsigned.
    """
    values = [_integer(dataset.get(name)) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    if values[0] is None:
        return None
    limits = np.iinfo(raw.dtype)
    ends = []
    for value in values:
        if value is not None:
            size = 2**limits.bits
            ends.append(value if limits.min <= value <= limits.max else (value - limits.min) % size + limits.min)
    mask: npt.NDArray[np.bool_] = (raw >= min(ends)) & (raw <= max(ends))
    return mask if mask.any() else None


def modality_values(path: Path, stored: Array, dataset: Dataset) -> Array:
    """Stored values after the modality LUT or the rescale; Hounsfield units of CT.

    Raises:
        ImageReadError: for a slope of zero, or a slope or intercept that is not a number.
    """
    signed = is_signed(dataset)
    table = first_table(dataset.get("ModalityLUTSequence"), little_endian(dataset), signed)
    if table is not None:
        return table(stored)
    slope, intercept = (_number(dataset.get(name)) for name in ("RescaleSlope", "RescaleIntercept"))
    slope = 1.0 if slope is None else slope
    intercept = 0.0 if intercept is None else intercept
    if not np.isfinite([slope, intercept]).all() or slope == 0:
        raise ImageReadError(path, "RescaleSlope or RescaleIntercept is not usable (0, NaN or infinite)")
    if slope == 1 and intercept == int(intercept):
        return stored.astype(np.int32) + int(intercept)
    return stored * slope + intercept


def voi(values: Array, dataset: Dataset) -> npt.NDArray[np.uint8] | None:
    """Values through the first usable VOI LUT, else the first usable window; None if there is neither."""
    signed = bool(values.min() < 0)
    table: LookupTable | None = first_table(dataset.get("VOILUTSequence"), little_endian(dataset), signed)
    if table is not None:
        return _to_uint8(table(values) / table.white)
    function = str(dataset.get("VOILUTFunction") or "").strip().upper()
    widths = _numbers(dataset.get("WindowWidth"))
    for centre, width in zip(_numbers(dataset.get("WindowCenter")), widths, strict=False):
        if np.isfinite([centre, width]).all() and width > 0:
            share = windowed(values, centre, width, function)
            if share is not None:
                return _to_uint8(share)
    return None


def windowed(values: Array, centre: float, width: float, function: str) -> npt.NDArray[np.float64] | None:
    """Values through a window, 0 to 1 (PS3.3, C.11.2.1.2 and C.11.2.1.3); LINEAR unless another function is given.

    None for a linear window narrower than 1, which is undefined.
    """
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
    if function == "LINEAR_EXACT":
        return (values - centre) / width + 0.5
    if width < 1:
        return None
    if width == 1:
        return (values > centre - 0.5).astype(np.float64)
    return (values - (centre - 0.5)) / (width - 1) + 0.5


def inverted(dataset: Dataset, photometric: str) -> bool:
    """Whether small values are shown bright. A presentation LUT shape takes precedence (PS3.3, C.11.6.1.2)."""
    shape = str(dataset.get("PresentationLUTShape") or "").strip().upper()
    if shape in ("IDENTITY", "INVERSE"):
        return shape == "INVERSE"
    return photometric == "MONOCHROME1"


def palette_to_uint8(path: Path, raw: Array, dataset: Dataset) -> npt.NDArray[np.uint8]:
    """RGB of a PALETTE COLOR image."""
    pixels = stored_values(raw, dataset)
    if "SegmentedRedPaletteColorLookupTableData" in dataset and "RedPaletteColorLookupTableData" not in dataset:
        from pydicom.pixels import apply_color_lut

        segmented = apply_color_lut(pixels, dataset)[..., :3]
        return segmented if segmented.dtype == np.uint8 else (segmented >> 8).astype(np.uint8)
    channels = []
    for colour in ("Red", "Green", "Blue"):
        name = f"{colour}PaletteColorLookupTable"
        table = table_of(dataset, f"{name}Descriptor", f"{name}Data", little_endian(dataset), is_signed(dataset))
        if table is None:
            raise ImageReadError(path, "PALETTE COLOR without usable palettes")
        channels.append(table)
    brightest = max(int(table.entries.max()) for table in channels)
    bits = max(int(dataset.RedPaletteColorLookupTableDescriptor[2]), brightest.bit_length())
    shift = bits - 8 if brightest > 255 else 0  # some 8-bit palettes are declared as 16-bit
    low, high = int(pixels.min()), int(pixels.max())
    values = np.arange(low, high + 1)
    colours = np.stack([np.right_shift(channel(values), shift) for channel in channels], axis=-1).astype(np.uint8)
    return looked_up(colours, pixels, low)


def little_endian(dataset: Dataset) -> bool:
    """The byte order of the file."""
    return dataset.original_encoding[1] is not False


def is_signed(dataset: Dataset) -> bool:
    return _integer(dataset.get("PixelRepresentation")) == 1


def _to_uint8(share: Array) -> npt.NDArray[np.uint8]:
    return np.rint(np.clip(share, 0.0, 1.0) * 255.0).astype(np.uint8)


def _numbers(value: Any) -> list[float]:
    """The numbers of an attribute of any multiplicity; values that are not numbers become NaN."""
    if value is None or value == "":
        return []
    several = value if isinstance(value, Sequence) and not isinstance(value, (str, bytes)) else [value]
    return [_float(number) for number in several]


def _number(value: Any) -> float | None:
    """The first number of an attribute; None if it is absent or empty."""
    numbers = _numbers(value)
    return numbers[0] if numbers else None


def _float(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _integer(value: Any) -> int | None:
    number = _number(value)
    return int(number) if number is not None and np.isfinite(number) else None
