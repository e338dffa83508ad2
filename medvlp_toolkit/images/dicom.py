"""DICOM files with one frame: header, stored values, and the picture for display."""

from __future__ import annotations

import logging
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from medvlp_toolkit.images.decoder_process import decode as decode_here
from medvlp_toolkit.images.decoders import DecodeError, decode_frame
from medvlp_toolkit.images.dicom_display import grey_to_uint8, palette_to_uint8, photometric_interpretation
from medvlp_toolkit.images.errors import ImageReadError
from medvlp_toolkit.images.fit import Fit, fit_picture
from medvlp_toolkit.images.limits import MOST_PIXELS, check_unpacked
from medvlp_toolkit.images.transfer_syntax import code_stream, transfer_syntax

if TYPE_CHECKING:
    from pydicom import Dataset

#: Bytes that a deflated file may grow to: the largest picture of 16 bits, and a generous header.
MOST_INFLATED = 2 * MOST_PIXELS + 2**26
HEAD = 132  # bytes of a file that show whether it is DICOM
_FIRST_GROUPS = (b"\2\0", b"\0\2", b"\10\0", b"\0\10")  # 2 and 8 in either byte order
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_FRACTIONS = ("FloatPixelData", "DoubleFloatPixelData")
#: What decoders have to know, by pydicom's names for it.
_OPTIONS = {
    "rows": "Rows",
    "columns": "Columns",
    "samples_per_pixel": "SamplesPerPixel",
    "bits_allocated": "BitsAllocated",
    "bits_stored": "BitsStored",
    "pixel_representation": "PixelRepresentation",
    "photometric_interpretation": "PhotometricInterpretation",
    "planar_configuration": "PlanarConfiguration",
}
Array = npt.NDArray[Any]


def is_dicom(head: bytes) -> bool:
    """Whether a file's first 132 bytes are a DICOM preamble and prefix (PS3.10, 7.1), or a data set without them."""
    return head[128:132] == b"DICM" or (
        head[:2] in _FIRST_GROUPS and any(_begins_data_set(head, order) for order in "<>")
    )


def _begins_data_set(head: bytes, order: str) -> bool:
    """Whether the data begins with two elements in ascending order, the first of group 2 or 8."""
    place, tags = 0, [(0, 0)]
    while len(tags) < 3:
        if place + 12 > len(head):
            return len(tags) == 2  # the first element fills what was read
        tag = struct.unpack_from(f"{order}HH", head, place)
        if tag <= tags[-1] or tag[0] not in (2, 8) or not (tag[1] < 0x3000 or tag[1] in (0x9007, 0x9215)):
            return False
        tags.append(tag)
        if not head[place + 4 : place + 6].isalpha():  # implicit VR: the length follows the tag
            (length,) = struct.unpack_from(f"{order}I", head, place + 4)
            place += 8
        elif head[place + 4 : place + 6] in (b"OB", b"OW", b"SQ", b"UN", b"UT"):
            (length,) = struct.unpack_from(f"{order}I", head, place + 8)
            place += 12
        else:
            (length,) = struct.unpack_from(f"{order}H", head, place + 6)
            place += 8
        if length > 4096:
            return False
        place += length
    return True


def read_dicom(
    file: BinaryIO, path: Path, size: tuple[int, int] | None, channels: int, fit: Fit
) -> tuple[npt.NDArray[np.uint8], tuple[int, int]]:
    """The picture as uint8 ``(channels, height, width)``, and its original ``(height, width)``.

    Grey: stored values go through the modality transformation (rescale or LUT), then the first VOI LUT or
    window (PS3.3, C.11.2), and MONOCHROME1 is inverted so that bright is dense. Without a window the
    image's own range is used; padding is black. Colour is converted to RGB.
    """
    with quiet_pydicom():
        dataset = read_header(file, path)
        pixels = decode(path, dataset)
        try:
            shown = to_uint8(path, pixels, dataset)
        except ImageReadError:
            raise
        except Exception as error:
            raise ImageReadError(path, f"the DICOM display attributes are invalid ({type(error).__name__})") from None
    return fit_picture(Image.fromarray(shown), size, channels, fit), (shown.shape[0], shown.shape[1])


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Suppress pydicom's warnings and log lines: they quote attribute values, including patients' names."""
    logger = logging.getLogger("pydicom")  # child loggers inherit its level
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def read_header(file: BinaryIO, path: Path) -> Dataset:
    """The dataset, checked to have one frame of 8 to 16 bits; pixel data is not decoded yet.

    Attributes that are absent, rightly or wrongly, are set to their usual values.
    """
    dataset = read_dataset(file, path)
    try:
        check_size(dataset, path)
        settle(dataset)
    except ImageReadError:
        raise
    except Exception as error:
        raise ImageReadError(path, f"the DICOM header is damaged ({type(error).__name__})") from None
    return dataset


def read_dataset(file: BinaryIO, path: Path, tags: list[str] | None = None) -> Dataset:
    """The dataset of a file; with ``tags`` only those elements, without pixel data."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        check_inflated(file, path)
        return pydicom.dcmread(file, force=True, stop_before_pixels=tags is not None, specific_tags=tags)  # type: ignore[arg-type]
    except ImageReadError:
        raise
    except InvalidDicomError:
        raise ImageReadError(path, "not a DICOM file") from None
    except Exception as error:
        raise ImageReadError(path, f"the DICOM header is damaged ({type(error).__name__})") from None


def check_inflated(file: BinaryIO, path: Path) -> None:
    """Raise `ImageReadError` for a deflated file of more than the largest picture: pydicom inflates it at once."""
    start, size = file.tell(), os.fstat(file.fileno()).st_size
    head = file.read(4096)
    try:
        if _DEFLATED not in head:
            return
        file.seek(start + _after_meta(head))
        inflate, inflated = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while part := file.read(2**16):
            while part:
                inflated += len(inflate.decompress(part, 2**20))
                part = inflate.unconsumed_tail
            check_unpacked(inflated, size, path)
            if inflated > MOST_INFLATED:
                raise ImageReadError(path, f"a deflated DICOM file of more than {MOST_INFLATED:,} bytes")
    except zlib.error:
        pass  # not deflated after all, or damaged: pydicom reports it
    finally:
        file.seek(start)


def _after_meta(head: bytes) -> int:
    """The offset at which the elements of group 2, which are never deflated, end."""
    place = HEAD
    while head[place : place + 2] == b"\x02\0" and place + 12 <= len(head):
        long = head[place + 4 : place + 6] in (b"OB", b"OW", b"SQ", b"UN", b"UT")
        length = struct.unpack_from("<I" if long else "<H", head, place + (8 if long else 6))[0]
        place += (12 if long else 8) + int(length)
    return place


def check_size(dataset: Dataset, path: Path) -> None:
    """Raise `ImageReadError` for anything but one frame of 8 to 16 bits that is neither empty nor too large."""
    if "PixelData" not in dataset:
        if any(keyword in dataset for keyword in _FRACTIONS):
            raise ImageReadError(path, "floating-point DICOM pixel data; 8 to 16 bit integers are expected")
        raise ImageReadError(path, "the DICOM file has no pixel data")
    frames = number_of_frames(dataset, path)
    rows, columns = int(dataset.get("Rows", 0) or 0), int(dataset.get("Columns", 0) or 0)
    allocated = int(dataset.get("BitsAllocated", 0) or 0)
    stored = dataset.get("BitsStored")
    stored = allocated if stored is None else int(stored)
    length = len(dataset.PixelData or b"")
    if frames != 1:
        raise ImageReadError(path, f"a multi-frame DICOM of {frames} frames; a single frame is expected")
    if rows < 1 or columns < 1 or length == 0:
        raise ImageReadError(path, f"an empty DICOM image ({rows} × {columns} pixels, {length} bytes)")
    if rows * columns > MOST_PIXELS:
        raise ImageReadError(path, f"more than {MOST_PIXELS:,} pixels")
    check_unpacked(rows * columns * int(dataset.get("SamplesPerPixel") or 1) * allocated // 8, length, path)
    if allocated not in (8, 16) or not 1 <= stored <= allocated:
        raise ImageReadError(path, f"{stored} of {allocated} bits per DICOM pixel; 8 to 16 bits are expected")


def number_of_frames(dataset: Dataset, path: Path) -> int:
    """The number of frames; 1 if the attribute is absent or empty. Raises `ImageReadError` if it is not a number."""
    try:
        value = dataset.get("NumberOfFrames")
        number = 1.0 if value is None or value == "" else float(value)
        if number != int(number):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise ImageReadError(path, "NumberOfFrames is not a whole number") from None
    return int(number) or 1


def settle(dataset: Dataset) -> None:
    """Set absent attributes that describe the pixels, including the transfer syntax, to their usual values."""
    from pydicom.dataset import FileMetaDataset

    for keyword, value in (("SamplesPerPixel", 1), ("PixelRepresentation", 0), ("BitsStored", dataset.BitsAllocated)):
        if dataset.get(keyword) is None:
            setattr(dataset, keyword, value)
    if int(dataset.SamplesPerPixel) > 1 and dataset.get("PlanarConfiguration") is None:
        dataset.PlanarConfiguration = 0
    photometric = photometric_interpretation(dataset)
    if dataset.get("PhotometricInterpretation") != photometric:
        dataset.PhotometricInterpretation = photometric
    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = FileMetaDataset()
    syntax = transfer_syntax(dataset)
    if dataset.file_meta.get("TransferSyntaxUID") != syntax:
        dataset.file_meta.TransferSyntaxUID = syntax


def decode(path: Path, dataset: Dataset) -> Array:
    """Pixel cells ``(rows, columns)`` with all their bits, or RGB ``(rows, columns, 3)``."""
    syntax = dataset.file_meta.TransferSyntaxUID
    attributes: dict[str, Any] = {
        name: str(value) if isinstance(value, str) else int(value)
        for name, keyword in _OPTIONS.items()
        if (value := dataset.get(keyword)) is not None
    }
    attributes |= {"number_of_frames": 1, "pixel_vr": dataset["PixelData"].VR}
    content = bytes(dataset.PixelData)
    try:
        if syntax.is_encapsulated:
            check_code_stream(content, attributes, path)
            pixels, _ = decode_frame(syntax, content, attributes)
        else:
            pixels = decode_here(syntax, "", content, attributes)
    except ImageReadError:
        raise
    except DecodeError as error:
        what = f"pixel data of transfer syntax {syntax.name!r}"
        raise ImageReadError(path, f"{what} cannot be decoded ({error})") from None
    except Exception as error:
        raise ImageReadError(path, f"the DICOM pixel data cannot be decoded ({type(error).__name__})") from None
    if pixels.size == 0 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))):
        raise ImageReadError(path, f"DICOM pixel data of shape {pixels.shape}; one grey or colour frame is expected")
    return pixels


def check_code_stream(content: bytes, attributes: dict[str, Any], path: Path) -> None:
    """Raise `ImageReadError` where compressed data is of another size than the header says: decoders would cut it,
    or mix rows and colours up, and a damaged size would ask for any amount of memory.
    """
    stream = code_stream(content)
    if stream is None:
        return
    declared = [int(attributes[name]) for name in ("rows", "columns", "samples_per_pixel")]
    seen = [stream.rows or declared[0], stream.columns, stream.samples]
    if seen != declared:
        sizes = ["{} × {} pixels of {}".format(*numbers) for numbers in (seen, declared)]
        raise ImageReadError(path, f"the compressed data is {sizes[0]} values, the DICOM header says {sizes[1]}")


def to_uint8(path: Path, pixels: Array, dataset: Dataset) -> npt.NDArray[np.uint8]:
    """``(rows, columns)``, or RGB ``(rows, columns, 3)``, for display; 16-bit colour keeps its upper bits."""
    if pixels.ndim == 2:
        palette = dataset.PhotometricInterpretation == "PALETTE COLOR"
        return palette_to_uint8(path, pixels, dataset) if palette else grey_to_uint8(path, pixels, dataset)
    colour = pixels[..., :3]
    if colour.dtype != np.uint8:
        colour = np.right_shift(colour.astype(np.uint16), max(int(dataset.BitsStored) - 8, 0)).astype(np.uint8)
    return np.ascontiguousarray(colour)
