"""NIfTI files as values on a grid: nibabel reads the header, which is checked before memory is allocated."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from medvlp_toolkit.images.errors import ImageReadError
from medvlp_toolkit.images.limits import MOST_VOXELS, check_unpacked
from medvlp_toolkit.images.opening import opened

NIFTI_SUFFIXES = (".nii", ".nii.gz")
#: A byte of deflated data gives no more than this many (RFC 1951: 258 bytes in two bits).
MOST_INFLATED = 1032
_BLOCK = 1 << 24
_MOST_BEHIND = 16  # blocks behind the values up to the end of compressed data
#: Millimetres of a unit (``xyzt_units``, its lower three bits); none is stated by many files.
_MILLIMETRES = {1: 1000.0, 3: 0.001}


def read_nifti(path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """Values ``(i, j, k)`` of a single-file NIfTI-1 or -2, rescaled by its header, and the affine (RAS, mm).

    Integers without a rescale stay integers. A fourth axis of length 1 is dropped.

    Raises:
        ImageReadError: for any defect of the file, including a missing orientation: the left side would have to be
            guessed.
    """
    with opened(path) as file:
        try:
            with inflated(file) as stream:
                header = read_header(stream, path)
                values = read_values(stream, header, os.fstat(file.fileno()).st_size, path)
                check_end(stream)
        except ImageReadError:
            raise
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise ImageReadError(path, "the volume cannot be read (truncated or damaged compression)") from None
        except OSError:
            raise
        except Exception as error:
            raise ImageReadError(path, f"the volume cannot be read ({type(error).__name__})") from None
    return values, placed(header, path)


@contextmanager
def inflated(file: BinaryIO) -> Iterator[BinaryIO]:
    """The content, decompressed if necessary, whatever the file's name."""
    magic = file.read(2)
    file.seek(0)
    if magic != b"\x1f\x8b":
        yield file
        return
    with gzip.GzipFile(fileobj=file, mode="rb") as stream:
        yield stream  # type: ignore[misc]


def read_header(stream: BinaryIO, path: Path) -> Any:
    """nibabel's header, of a volume of one real number per voxel."""
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header
    from nibabel.spatialimages import HeaderDataError

    start = stream.read(4)
    if len(start) < 4:
        raise ImageReadError(path, "the file is empty" if not start else "the volume cannot be read (not NIfTI)")
    kind = {348: Nifti1Header, 540: Nifti2Header}.get(
        int.from_bytes(start, "little"), {348: Nifti1Header, 540: Nifti2Header}.get(int.from_bytes(start, "big"))
    )
    if kind is None:
        raise ImageReadError(path, "the volume cannot be read (not NIfTI, or its header is damaged)")
    length = kind.template_dtype.itemsize
    block = start + stream.read(length - 4)
    if len(block) < length:
        raise ImageReadError(path, "the volume cannot be read (truncated header)")
    try:
        header = kind(block, check=False)
        magic = bytes(header["magic"])
    except (HeaderDataError, ValueError, KeyError):
        raise ImageReadError(path, "the volume cannot be read (not NIfTI, or its header is damaged)") from None
    if not magic.startswith((b"n+1", b"n+2")):
        raise ImageReadError(path, "a NIfTI header without its data (a pair of .hdr and .img, or ANALYZE); convert it")
    # Repaired as nibabel does, but without its log lines.
    header["pixdim"][0] = -1 if header["pixdim"][0] == -1 else 1
    header["pixdim"][1:4] = np.abs(header["pixdim"][1:4])
    return header


def read_values(stream: BinaryIO, header: Any, size: int, path: Path) -> npt.NDArray[Any]:
    """The values, read straight into memory of the declared size once the file's size is known to fit it."""
    shape = tuple(int(side) for side in header.get_data_shape())
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        kind = "complex" if dtype.kind == "c" else "colour" if dtype.names else f"{dtype}"
        raise ImageReadError(path, f"{kind} values; a volume of one number per voxel is expected")
    if len(shape) != 3:
        raise ImageReadError(path, f"values of shape {shape}; one volume of three axes is expected")
    if min(shape) < 1:
        raise ImageReadError(path, f"an empty volume of shape {shape}")
    count = shape[0] * shape[1] * shape[2]
    if count > MOST_VOXELS:
        raise ImageReadError(path, f"more than {MOST_VOXELS:,} voxels")
    offset = int(header.get_data_offset())
    needed = count * dtype.itemsize
    if offset < header.single_vox_offset:
        raise ImageReadError(path, f"its values would begin at byte {offset}, within its header")
    if offset + needed > (size * MOST_INFLATED if isinstance(stream, gzip.GzipFile) else size):
        raise ImageReadError(path, f"the volume cannot be read (the file is too short for shape {shape})")
    check_unpacked(needed, size, path)
    skip(stream, offset - stream.tell())
    values = np.empty(count, dtype)
    read_into(stream, memoryview(values.data).cast("B"))
    values = values.astype(dtype.newbyteorder("="), copy=False).reshape(shape, order="F")
    return rescaled(values, header, path)


def skip(stream: BinaryIO, length: int) -> None:
    """Skip header extensions by reading, since gzip streams cannot seek."""
    while length > 0:
        part = stream.read(min(length, _BLOCK))
        if not part:
            raise EOFError
        length -= len(part)


def read_into(stream: BinaryIO, memory: memoryview) -> None:
    """Fill ``memory``; with a truncated file the remaining pages are never touched."""
    done = 0
    while done < len(memory):
        count = stream.readinto(memory[done : done + _BLOCK])  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        done += count


def check_end(stream: BinaryIO) -> None:
    """Raise for compressed data that does not match its checksum, which stands behind it."""
    if not isinstance(stream, gzip.GzipFile):
        return
    try:
        for _ in range(_MOST_BEHIND):
            if not stream.read(_BLOCK):
                break
    except gzip.BadGzipFile as error:
        if "CRC" in str(error) or "length" in str(error):
            raise  # other than what may lie behind the data, which gzip passes over too


def rescaled(values: npt.NDArray[Any], header: Any, path: Path) -> npt.NDArray[Any]:
    """Values scaled by the header's slope and intercept, as float32; unchanged if the slope is 0 (none)."""
    slope, intercept = (float(header[name]) for name in ("scl_slope", "scl_inter"))
    if slope == 0 or np.isnan(slope):
        return values
    intercept = 0.0 if np.isnan(intercept) else intercept
    if not np.isfinite([slope, intercept]).all():
        raise ImageReadError(path, "the rescale slope or intercept is infinite")
    if slope == 1 and intercept == 0:
        return values
    if values.dtype.kind in "iu" and slope == int(slope) and intercept == int(intercept):
        ends = [int(values.min()) * int(slope) + int(intercept), int(values.max()) * int(slope) + int(intercept)]
        if max(map(abs, ends)) < 2**31:
            return values.astype(np.int32) * np.int32(slope) + np.int32(intercept)
    if values.dtype.kind == "f" and values.dtype.itemsize > 4:
        return values * slope + intercept
    result = values.astype(np.float32)
    result *= np.float32(slope)
    result += np.float32(intercept)
    return result


def placed(header: Any, path: Path) -> npt.NDArray[np.float64]:
    """The affine; refused if there is none, or if the header's two differ in the direction of an axis."""
    from nibabel.orientations import aff2axcodes

    if header["sform_code"] <= 0 and header["qform_code"] <= 0:
        raise ImageReadError(
            path, "neither sform nor qform is set, so that left and right are unknown; set the correct one"
        )
    try:
        affine = np.asarray(header.get_best_affine(), dtype=np.float64)
        check_affine(affine, path)
        if header["sform_code"] > 0 and header["qform_code"] > 0:
            other = np.asarray(header.get_qform(), dtype=np.float64)
            check_affine(other, path)
            if aff2axcodes(other) != aff2axcodes(affine):
                raise ImageReadError(
                    path, "sform and qform disagree on the direction of the axes; set both to the correct one"
                )
    except ImageReadError:
        raise
    except Exception as error:
        raise ImageReadError(path, f"the orientation cannot be read ({type(error).__name__})") from None
    affine[:3] *= _MILLIMETRES.get(int(header["xyzt_units"]) & 7, 1.0)
    return affine


def check_affine(affine: npt.NDArray[np.float64], path: Path) -> None:
    """Raise `ImageReadError` for an affine that is not finite, or whose voxels have no extent."""
    if not np.isfinite(affine).all():
        raise ImageReadError(path, "the orientation or the spacing is not a number")
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    if not steps.all():
        raise ImageReadError(path, "the spacing is 0 along an axis")
    if abs(np.linalg.det(affine[:3, :3] / steps)) < 1e-3:
        raise ImageReadError(path, "the orientation is damaged: two axes have the same direction")
