"""PNG, JPEG and other picture files, read with Pillow."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from medvlp_toolkit.images.errors import ImageReadError, NoContrastError
from medvlp_toolkit.images.fit import DEEP, Fit, fit_picture, to_channels
from medvlp_toolkit.images.limits import check_unpacked

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "GIF", "WEBP", "PPM", "JPEG2000")
EXIF_ORIENTATION = 0x0112
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
            with Image.open(file, formats=FORMATS) as picture:
                frames = int(getattr(picture, "n_frames", 1))
                if frames > 1 and picture.format != "MPO":
                    raise ImageReadError(path, f"the file holds {frames} pictures; one is expected")
                original = (picture.height, picture.width)
                depth = 2 if ";16" in str(picture.tile[:1]) else 1
                unpacked = picture.height * picture.width * len(picture.getbands()) * depth
                check_unpacked(unpacked, os.fstat(file.fileno()).st_size, path)
                check_depth(picture, path)
                if size is not None and picture.format == "JPEG":
                    # The decoder skips high DCT frequencies; the result is never smaller than requested.
                    picture.draft("L" if channels == 1 else "RGB", size_for_draft(picture, size, fit))
                turned = picture.getexif().get(EXIF_ORIENTATION, 1) != 1
                upright = ImageOps.exif_transpose(picture) if turned else picture
                if is_white_zero(picture):
                    upright = ImageOps.invert(to_channels(upright, 1))
                if turned and upright.height != picture.height:
                    original = (original[1], original[0])
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


def size_for_draft(picture: Image.Image, size: tuple[int, int], fit: Fit) -> tuple[int, int]:
    """The smallest ``(width, height)`` to decode at, so that the picture is never enlarged afterwards."""
    height, width = size
    if fit == "stretch":
        return width, height
    choose = min if fit == "pad" else max
    scale = choose(width / picture.width, height / picture.height)
    return max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
