"""PNG, JPEG and other picture files, read with Pillow."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from medvlp_toolkit.images.errors import ImageReadError, NoContrastError
from medvlp_toolkit.images.fit import DEEP, Fit, fit_picture, placement, to_channels
from medvlp_toolkit.images.limits import check_unpacked

#: Pillow's name of each format that is read -> the suffixes of its files, and what their content begins with.
FORMATS: dict[str, tuple[tuple[str, ...], bytes]] = {
    "JPEG": ((".jpg", ".jpeg", ".jpe", ".jfif"), rb"\xff\xd8\xff"),
    "PNG": ((".png",), rb"\x89PNG\r\n\x1a\n"),
    "BMP": ((".bmp",), rb"BM.{4}\0{4}"),
    "TIFF": ((".tif", ".tiff"), rb"II[*+]\0|MM\0[*+]"),
    "GIF": ((".gif",), rb"GIF8[79]a"),
    "WEBP": ((".webp",), rb"RIFF.{4}WEBP"),
    "PPM": ((".ppm", ".pgm", ".pbm", ".pnm", ".pfm"), rb"P[1-6f]\s"),
    "JPEG2000": ((".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"), rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n"),
}
SUFFIXES = frozenset(suffix for suffixes, _ in FORMATS.values() for suffix in suffixes)
_BEGINNING = re.compile(b"|".join(b"(?:%s)" % content for _, content in FORMATS.values()), re.DOTALL)
EXIF_ORIENTATION = 0x0112
#: Orientations of pictures whose rows are shown as columns.
LYING = (5, 6, 7, 8)
PHOTOMETRIC = 262
#: 16-bit colour whose upper bytes stay below this uses 14 bits or fewer.
FEWEST_LEVELS = 64


def read_raster(
    file: BinaryIO, path: Path, size: tuple[int, int] | None, channels: int, fit: Fit
) -> tuple[npt.NDArray[np.uint8], tuple[int, int]]:
    """The picture as uint8 ``(channels, height, width)``, and its original ``(height, width)``."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's warnings name the file, and its errors suffice
            with Image.open(file, formats=tuple(FORMATS)) as picture:
                frames = int(getattr(picture, "n_frames", 1))
                if frames > 1 and picture.format != "MPO":
                    raise ImageReadError(path, f"the file holds {frames} pictures; one is expected")
                original = (picture.height, picture.width)
                depth = 2 if ";16" in str(picture.tile[:1]) else 1
                unpacked = picture.height * picture.width * len(picture.getbands()) * depth
                check_unpacked(unpacked, os.fstat(file.fileno()).st_size, path)
                check_depth(picture, path)
                orientation = picture.getexif().get(EXIF_ORIENTATION, 1)
                lying = orientation in LYING
                if lying:
                    original = (original[1], original[0])
                if size is not None and picture.format == "JPEG":
                    # The decoder skips high DCT frequencies; the result is never smaller than requested.
                    tall, wide = placement(original, size, fit).target
                    picture.draft("L" if channels == 1 else "RGB", (tall, wide) if lying else (wide, tall))
                upright = ImageOps.exif_transpose(picture) if orientation != 1 else picture
                if is_white_zero(picture):
                    upright = ImageOps.invert(to_channels(upright, 1))
                return fit_picture(upright, size, channels, fit), original
    except ImageReadError:
        raise
    except UnidentifiedImageError:
        raise ImageReadError(
            path, "no image of a known kind (DICOM, PNG, JPEG, TIFF, BMP, WebP …), or its header is damaged"
        ) from None
    except Image.DecompressionBombError:
        raise ImageReadError(path, f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels") from None
    except NoContrastError as error:
        raise ImageReadError(path, str(error)) from None
    except (OSError, SyntaxError, ValueError, EOFError, TypeError, MemoryError, OverflowError) as error:
        raise ImageReadError(path, f"the picture cannot be decoded ({type(error).__name__})") from None


def is_raster(head: bytes) -> bool:
    """Whether a file that begins with these bytes is a picture of one of :data:`FORMATS`."""
    return _BEGINNING.match(head) is not None


def check_depth(picture: ImageFile.ImageFile, path: Path) -> None:
    """Raise `ImageReadError` for 16-bit colour that uses only the lower bits: Pillow keeps the upper eight."""
    if picture.format not in ("PNG", "TIFF") or picture.mode in DEEP or ";16" not in str(picture.tile[:1]):
        return
    values = picture.getchannel(0) if picture.mode == "LA" else picture.convert("RGB")
    ends = values.getextrema()
    brightest = max(int(np.max(end)) for end in ends)
    if brightest < FEWEST_LEVELS:
        raise ImageReadError(path, "16-bit colour or transparency that uses only the lower bits; save it as 8 bits")


def is_white_zero(picture: ImageFile.ImageFile) -> bool:
    """Whether 0 is white in a TIFF of more than 8 bits; Pillow inverts only those of 8 bits or fewer."""
    return picture.format == "TIFF" and picture.mode in DEEP and picture.tag_v2.get(PHOTOMETRIC) == 0  # type: ignore[attr-defined]
