"""Finds the images of a folder: by suffix if there is a known one, else by content."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from medvlp_toolkit.images import ImageReadError
from medvlp_toolkit.images.dicom import HEAD, is_dicom
from medvlp_toolkit.images.nifti import NIFTI_SUFFIXES
from medvlp_toolkit.images.opening import opened
from medvlp_toolkit.images.raster import SUFFIXES as PICTURE_SUFFIXES
from medvlp_toolkit.images.raster import is_raster
from medvlp_toolkit.images.series import is_report

logger = logging.getLogger(__name__)

SUFFIXES = PICTURE_SUFFIXES | {".dcm", ".dicom"}


@dataclass(frozen=True)
class FoundImages:
    """``paths`` of the images below a folder, sorted by name, and the number of other files."""

    paths: list[Path]
    passed_over: int


def pictures_below(root: Path) -> FoundImages:
    """Radiographs and other pictures. Hospital archives name DICOM files without a suffix, or by a UID."""
    return _found(root, lambda path: path.suffix.lower() in SUFFIXES or is_image(path), lambda path: path)


def volumes_below(root: Path) -> FoundImages:
    """NIfTI files, and the folders that directly hold DICOM images: such a folder is one volume, as for a store, and
    what is in folders below it is not read."""
    series: set[Path] = set()

    def is_part(path: Path) -> bool:
        if path.name.lower().endswith(NIFTI_SUFFIXES):
            return True
        if not _content(path, is_dicom) or (path.parent not in series and is_report(path)):
            return False
        series.add(path.parent)
        return True

    def volume_of(path: Path) -> Path:
        return path if path.name.lower().endswith(NIFTI_SUFFIXES) else path.parent

    found = _found(root, is_part, volume_of)
    read = [path for path in found.paths if not series.intersection(_folder(path, series).parents)]
    if below := len(found.paths) - len(read):
        logger.warning("%s: %d volumes in folders below a series are not read; give their own folder", root, below)
    return FoundImages(read, found.passed_over)


def _folder(path: Path, series: set[Path]) -> Path:
    return path if path in series else path.parent


def is_image(path: Path) -> bool:
    """Whether a file's content is DICOM or a picture."""
    return _content(path, lambda head: is_dicom(head) or is_raster(head))


def shown_name(path: Path, root: Path) -> str:
    """A file's name below ``root`` as printable text: bytes that are not UTF-8 as ``\\xdf``."""
    name = path.name if path == root else str(path.relative_to(root))
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _found(root: Path, wanted: Callable[[Path], bool], image_of: Callable[[Path], Path]) -> FoundImages:
    images: dict[Path, None] = {}
    passed_over = 0
    for path in _files(root):
        if _is_hidden(path, root) or not wanted(path):
            passed_over += 1
        else:
            images[image_of(path)] = None
    return FoundImages(sorted(images), passed_over)


def _files(root: Path) -> Iterator[Path]:
    """All files below a folder, sorted."""
    return (path for path in sorted(root.rglob("*")) if not path.is_dir())


def _is_hidden(path: Path, root: Path) -> bool:
    """Hidden files, files of the file system, and DICOMDIR, which is DICOM without an image."""
    return path.name.upper() == "DICOMDIR" or any(part.startswith(".") for part in path.relative_to(root).parts)


def _content(path: Path, fits: Callable[[bytes], bool]) -> bool:
    try:
        with opened(path) as file:
            return fits(file.read(HEAD))
    except ImageReadError:
        return False
