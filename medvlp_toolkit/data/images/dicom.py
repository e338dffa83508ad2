"""DICOM radiographs as pictures to look at: modality and VOI transformations, photometric interpretation, 8 bits."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from medvlp_toolkit.data.images.errors import ImageReadError
from medvlp_toolkit.data.images.fit import Fit, fit_picture, stretch_to_uint8

if TYPE_CHECKING:
    from pydicom import Dataset

MAX_PIXELS = 178_956_970  # Pillow's limit for pictures, so that a damaged header cannot ask for all memory


def is_dicom(head: bytes) -> bool:
    """Whether a file's first 132 bytes are a DICOM preamble and prefix (PS3.10, 7.1)."""
    return head[128:132] == b"DICM"


def read_dicom(
    file: IO[bytes], path: Path, size: tuple[int, int] | None, channels: int, fit: Fit
) -> tuple[npt.NDArray[np.uint8], tuple[int, int]]:
    """The picture as uint8 ``(channels, height, width)``, and its original ``(height, width)``.

    Grey: stored values go through the modality transformation (rescale or LUT), then the first VOI LUT or
    window (PS3.3, C.11.2), and MONOCHROME1 is turned over so that bright is dense. Without a window the
    image's own range is used. Colour is converted to RGB.
    """
    with quiet_pydicom():
        dataset = read_header(file, path)
        pixels = decode(path, dataset)
        try:
            grey = pixels.ndim == 2
            shown = grey_to_uint8(path, pixels, dataset) if grey else colour_to_uint8(pixels, dataset)
        except ImageReadError:
            raise
        except Exception as error:
            raise ImageReadError(path, f"the DICOM display attributes are invalid ({type(error).__name__})") from None
    return fit_picture(Image.fromarray(shown), size, channels, fit), (shown.shape[0], shown.shape[1])


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keep pydicom's warnings and log lines back: they quote attribute values, patients' names among them."""
    logger = logging.getLogger("pydicom")  # its level is that of the loggers below it
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def read_header(file: IO[bytes], path: Path) -> Dataset:
    """The dataset, checked to hold one frame of 8 to 16 bits; pixel data is not decoded yet."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        dataset = pydicom.dcmread(file)
        if not any(keyword in dataset for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
            raise ImageReadError(path, "the DICOM file has no pixel data")
        if "PixelData" not in dataset:
            raise ImageReadError(path, "floating-point DICOM pixel data; 8 to 16 bit integers are expected")
        frames = int(dataset.get("NumberOfFrames", 1) or 1)
        rows, columns = int(dataset.get("Rows", 0) or 0), int(dataset.get("Columns", 0) or 0)
        allocated, stored = int(dataset.get("BitsAllocated", 0) or 0), int(dataset.get("BitsStored", 0) or 0)
        length = len(dataset.PixelData or b"")
    except ImageReadError:
        raise
    except InvalidDicomError:
        raise ImageReadError(path, "not a DICOM file") from None
    except Exception as error:
        raise ImageReadError(path, f"the DICOM header is damaged ({type(error).__name__})") from None
    if frames != 1:
        raise ImageReadError(path, f"a multi-frame DICOM of {frames} frames; a single frame is expected")
    if rows < 1 or columns < 1 or length == 0:
        raise ImageReadError(path, f"an empty DICOM image ({rows} × {columns} pixels, {length} bytes)")
    if rows * columns > MAX_PIXELS:
        raise ImageReadError(path, f"more than {MAX_PIXELS:,} pixels")
    if allocated not in (8, 16) or not 1 <= stored <= allocated:
        raise ImageReadError(path, f"{stored} of {allocated} bits per DICOM pixel; 8 to 16 bits are expected")
    return dataset


def decode(path: Path, dataset: Dataset) -> npt.NDArray[np.generic]:
    """Stored values ``(rows, columns)``, or RGB ``(rows, columns, 3)``."""
    from pydicom.pixels import pixel_array

    try:
        pixels = pixel_array(dataset)
    except (RuntimeError, NotImplementedError):
        # pydicom's words for "no plugin can decode this transfer syntax", and for a broken code stream
        syntax = dataset.file_meta.get("TransferSyntaxUID", "") if hasattr(dataset, "file_meta") else ""
        name = getattr(syntax, "name", "") or "unknown"
        raise ImageReadError(path, f"pixel data of transfer syntax {name!r} cannot be decoded") from None
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the RLE decoder's panics (Rust) are no Exception
        raise ImageReadError(path, f"the DICOM pixel data cannot be decoded ({type(error).__name__})") from None
    if pixels.size == 0 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))):
        raise ImageReadError(path, f"DICOM pixel data of shape {pixels.shape}; one grey or colour frame is expected")
    return pixels


def grey_to_uint8(path: Path, pixels: npt.NDArray[np.generic], dataset: Dataset) -> npt.NDArray[np.uint8]:
    """The display pipeline, computed once for each stored value that can occur and then looked up per pixel."""
    from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut

    photometric = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
    if photometric == "PALETTE COLOR":
        return colour_to_uint8(apply_color_lut(pixels, dataset), dataset)
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise ImageReadError(path, f"photometric interpretation {photometric!r} with one value per pixel")
    low, high = int(pixels.min()), int(pixels.max())
    values = np.arange(low, high + 1, dtype=pixels.dtype)
    modality = apply_modality_lut(values, dataset)
    if has_voi(dataset):
        voi = apply_voi_lut(modality, dataset)
        bottom, top = voi_range(dataset)
        table = np.rint(np.clip((voi - bottom) / (top - bottom), 0.0, 1.0) * 255.0).astype(np.uint8)
    else:
        table = stretch_to_uint8(modality)
    if photometric == "MONOCHROME1":
        table = 255 - table
    index = pixels if low == 0 else pixels.astype(np.int32) - low
    return table[index]


def has_voi(dataset: Dataset) -> bool:
    """Whether a VOI LUT or a window of positive width is there to apply."""
    if dataset.get("VOILUTSequence"):
        return True
    width, center = dataset.get("WindowWidth"), dataset.get("WindowCenter")
    if width is None or center is None:
        return False
    first = width[0] if isinstance(width, (list, tuple)) or hasattr(width, "__len__") else width
    return float(first) >= 1


def voi_range(dataset: Dataset) -> tuple[float, float]:
    """Smallest and largest value that pydicom's VOI transformation gives for this dataset.

    A LUT gives its own bits; a window spans the range of the stored bits after the modality transformation.
    """
    sequence = dataset.get("VOILUTSequence")
    if sequence:
        return 0.0, float(2 ** int(sequence[0].LUTDescriptor[2]) - 1)
    if dataset.get("ModalityLUTSequence"):
        return 0.0, float(2 ** int(dataset.ModalityLUTSequence[0].LUTDescriptor[2]) - 1)
    bits = int(dataset.BitsStored)
    signed = int(dataset.PixelRepresentation) == 1
    bottom, top = (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if signed else (0.0, 2.0**bits - 1)
    if "RescaleSlope" in dataset and "RescaleIntercept" in dataset:
        slope, intercept = float(dataset.RescaleSlope), float(dataset.RescaleIntercept)
        bottom, top = bottom * slope + intercept, top * slope + intercept
    return bottom, top


def colour_to_uint8(pixels: npt.NDArray[np.generic], dataset: Dataset) -> npt.NDArray[np.uint8]:
    """RGB values at 8 bits; 16-bit colour keeps its upper stored bits."""
    colour = pixels[..., :3]
    if colour.dtype == np.uint8:
        return np.ascontiguousarray(colour)
    bits = 16 if str(dataset.get("PhotometricInterpretation", "")) == "PALETTE COLOR" else int(dataset.BitsStored)
    return np.ascontiguousarray(np.right_shift(colour.astype(np.uint16), max(bits - 8, 0)).astype(np.uint8))
