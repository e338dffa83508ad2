"""Folders of DICOM series: the volumes they contain, and the values of one volume on its grid."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xxhash

from medvlp_toolkit.images.dicom import (
    HEAD,
    decode,
    is_dicom,
    number_of_frames,
    quiet_pydicom,
    read_dataset,
    read_header,
)
from medvlp_toolkit.images.dicom_display import GREY, modality_values, stored_values
from medvlp_toolkit.images.errors import ImageReadError
from medvlp_toolkit.images.limits import MOST_VOXELS
from medvlp_toolkit.images.opening import opened
from medvlp_toolkit.images.slice_geometry import Affine, Place, Vector, placed

if TYPE_CHECKING:
    from pydicom import Dataset

#: A value of `choose`: the volume with the most slices.
LARGEST = "largest"
#: Tolerance of direction cosines within a volume.
OFF_DIRECTION = 1e-3
#: Attributes that distinguish volumes of one series at the same positions, the most specific first.
_DISTINGUISHING = (
    "EchoNumbers", "EchoTime", "InversionTime", "TemporalPositionIdentifier", "DiffusionBValue", "ImageType",
    "ConvolutionKernel", "FlipAngle", "AcquisitionNumber", "TriggerTime", "AcquisitionTime", "ContentTime",
)  # fmt: skip
_TAGS = [
    "SOPClassUID", "SeriesInstanceUID", "SeriesNumber",
    "FrameOfReferenceUID", "NumberOfFrames", "Rows", "Columns",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices",
    *_DISTINGUISHING,
]  # fmt: skip
#: Non-image files in series folders, in capitals.
_NO_IMAGES = frozenset({"DICOMDIR", "THUMBS.DB", "DESKTOP.INI"})
INT16 = np.iinfo(np.int16)
_LISTED = 8  # number of volumes listed in a message


@dataclass(eq=False)
class Slice:
    """One image of a series."""

    file: Path
    series: str
    number: int
    plane: tuple[Hashable, ...]  # size and frame of reference
    marks: dict[str, str]  # attributes that distinguish volumes
    place: Place


@dataclass
class Volume:
    """The slices of one volume in a folder; ``label`` selects it, ``differs_in`` lists what distinguishes it."""

    label: str
    series: str
    slices: list[Slice]
    differs_in: str = ""


def read_series(folder: Path, choose: str | int | None = None) -> tuple[npt.NDArray[Any], Affine]:
    """Values ``(column, row, slice)`` after the modality transformation, and the affine (RAS, mm).

    Slices are ordered by their positions along the normal of their planes. The affine includes a gantry tilt.

    Args:
        folder: folder of the files of a series, in any order and with any names.
        choose: the volume to read if the folder contains several: a series number, ``number/part`` if a series contains
            several volumes, a SeriesInstanceUID, or ``largest``.

    Raises:
        ImageReadError: when the folder contains several volumes and none is chosen, or the slices do not form a volume:
            missing, duplicate or irregular positions, or planes, sizes or spacing that differ. The message says which.
    """
    with quiet_pydicom():
        volume = chosen(folder, volumes_in(folder), choose)
        order, affine = placed(folder, [slice_.place for slice_ in volume.slices])
        return stacked(folder, [volume.slices[index].file for index in order]), affine


def volumes_in(folder: Path) -> list[Volume]:
    """The volumes of a folder, by series number and within a series by what distinguishes them."""
    by_series: dict[str, list[Slice]] = defaultdict(list)
    for file in sorted(folder.iterdir()):
        if file.is_file() and not file.name.startswith(".") and file.name.upper() not in _NO_IMAGES:
            header = header_of(file)
            if header is not None:
                slice_ = described(file, header)
                by_series[slice_.series].append(slice_)
    if not by_series:
        raise ImageReadError(folder, "the folder is empty: no DICOM image in it; a series is expected")
    numbers = {series: slices[0].number for series, slices in by_series.items()}
    shared = {number for number, count in Counter(numbers.values()).items() if count > 1 or number < 0}
    found = []
    for place, series in enumerate(sorted(by_series, key=lambda uid: (numbers[uid], uid)), start=1):
        # Missing or repeated series numbers are replaced by consecutive ones.
        label = f"#{place}" if numbers[series] in shared else str(numbers[series])
        parts = divided(by_series[series])
        for part, (differs_in, slices) in enumerate(parts, start=1):
            found.append(Volume(label if len(parts) == 1 else f"{label}/{part}", series, slices, differs_in))
    return found


def header_of(file: Path) -> Dataset | None:
    """What of the header says where an image belongs; None for a report or a presentation state beside the images."""
    try:
        with opened(file) as stream:
            head = stream.read(HEAD)
            stream.seek(0)
            if not is_dicom(head):
                raise ImageReadError(file, "not DICOM")
            header = read_dataset(stream, file, _TAGS)
    except ImageReadError as error:
        raise ImageReadError(file, f"in a folder of a series: {error.reason}") from None
    if "Rows" not in header or "Columns" not in header:
        if is_no_image(header):
            return None
        raise ImageReadError(file, "in a folder of a series: the DICOM header is cut or damaged (no Rows, Columns)")
    frames = number_of_frames(header, file)
    if frames > 1:
        raise ImageReadError(
            file, f"a multi-frame DICOM of {frames} frames in a series; convert it to NIfTI (dcm2niix does)"
        )
    return header


def is_report(file: Path) -> bool:
    """Whether a DICOM file is no image, but a report or a presentation state; not so if its header is unreadable."""
    try:
        with quiet_pydicom(), opened(file) as stream:
            header = read_dataset(stream, file, _TAGS)
    except ImageReadError:
        return False
    return ("Rows" not in header or "Columns" not in header) and is_no_image(header)


def is_no_image(header: Dataset) -> bool:
    """Whether a header says that the object has no pixels: it has a class, and that is no class of images."""
    from pydicom.uid import UID

    sop_class = UID(text(header, "SOPClassUID"))
    return bool(sop_class) and "Image Storage" not in sop_class.name


def described(file: Path, header: Dataset) -> Slice:
    between = [vector(header, keyword, 1) for keyword in ("SpacingBetweenSlices", "SliceThickness")]
    number = vector(header, "SeriesNumber", 1)
    return Slice(
        file=file,
        series=text(header, "SeriesInstanceUID"),
        number=-1 if number is None else int(number[0]),
        plane=(text(header, "Rows"), text(header, "Columns"), text(header, "FrameOfReferenceUID")),
        marks={keyword: text(header, keyword) for keyword in _DISTINGUISHING},
        place=Place(
            position=vector(header, "ImagePositionPatient", 3),
            orientation=vector(header, "ImageOrientationPatient", 6),
            spacing=vector(header, "PixelSpacing", 2),
            thickness=next((abs(float(value[0])) for value in between if value is not None and value[0]), None),
        ),
    )


def text(header: Dataset, keyword: str) -> str:
    try:
        return str(header.get(keyword, ""))
    except Exception:  # raised by pydicom when converting a damaged element
        return ""


def vector(header: Dataset, keyword: str, length: int) -> Vector | None:
    """An attribute of ``count`` finite numbers; None if it is anything else."""
    try:
        values = np.atleast_1d(np.asarray(header.get(keyword), dtype=np.float64))
    except Exception:
        return None
    return values if values.shape == (length,) and np.isfinite(values).all() else None


def divided(slices: list[Slice]) -> list[tuple[str, list[Slice]]]:
    """A series' slices by volume, each with what distinguishes it: planes, then echoes, phases and the like."""
    planes = grouped(slices, same_plane)
    parts: list[tuple[str, list[Slice]]] = []
    for plane in planes:
        differs_in, several = told_apart(without_copies(plane))
        parts += [(differs_in or ("orientation or size" if len(planes) > 1 else ""), part) for part in several]
    return parts


def told_apart(slices: list[Slice]) -> tuple[str, list[list[Slice]]]:
    """Slices divided by the fewest attributes that leave one slice per position; undivided if none do."""
    most = max(Counter(map(place_of, slices)).values())
    if crowded(slices):
        for names in (*((name,) for name in _DISTINGUISHING), *combinations(_DISTINGUISHING, 2)):
            parts = grouped(slices, partial(same_marks, names))
            # Only as many values as slices at a position: times that differ for each slice do not distinguish volumes.
            if len(parts) == most and not any(map(crowded, parts)):
                return " and ".join(names), parts
    return "", [slices]


def grouped(slices: Iterable[Slice], alike: Callable[[Slice, Slice], bool]) -> list[list[Slice]]:
    groups: list[list[Slice]] = []
    for slice_ in slices:
        group = next((group for group in groups if alike(group[0], slice_)), None)
        if group is None:
            groups.append([slice_])
        else:
            group.append(slice_)
    return groups


def same_plane(one: Slice, other: Slice) -> bool:
    """Whether two slices may belong to one volume; a slice without orientation matches all, and is refused later."""
    if one.plane != other.plane or one.place.orientation is None or other.place.orientation is None:
        return one.plane == other.plane
    return float(np.abs(one.place.orientation - other.place.orientation).max()) <= OFF_DIRECTION


def same_marks(names: Sequence[str], one: Slice, other: Slice) -> bool:
    return all(one.marks[name] == other.marks[name] for name in names)


def place_of(slice_: Slice) -> Hashable:
    return None if slice_.place.position is None else tuple(np.round(slice_.place.position, 3).tolist())


def crowded(slices: list[Slice]) -> bool:
    """Whether two slices are at the same position."""
    places = [place_of(slice_) for slice_ in slices if slice_.place.position is not None]
    return len(set(places)) < len(places)


def without_copies(slices: list[Slice]) -> list[Slice]:
    """The slices without duplicates: same position, distinguishing attributes and pixel values."""
    if not crowded(slices):
        return slices
    counts = Counter((place_of(slice_), *slice_.marks.values()) for slice_ in slices)
    seen: set[Hashable] = set()
    kept = []
    for slice_ in slices:
        key = (place_of(slice_), *slice_.marks.values())
        if slice_.place.position is not None and counts[key] > 1:
            content = (key, xxhash.xxh3_128_digest(np.ascontiguousarray(values_of(slice_.file)).data))
            if content in seen:
                continue
            seen.add(content)
        kept.append(slice_)
    return kept


def chosen(folder: Path, volumes: list[Volume], choose: str | int | None) -> Volume:
    """The volume to read; raises `ImageReadError` with the available choices."""
    if choose is None:
        fitting = volumes
    elif choose == LARGEST:
        most = max(len(volume.slices) for volume in volumes)
        fitting = [volume for volume in volumes if len(volume.slices) == most]
    else:
        wanted = str(choose)
        fitting = [volume for volume in volumes if wanted in (volume.label, volume.series)]
        fitting = fitting or [volume for volume in volumes if volume.label.partition("/")[0] == wanted]
    if len(fitting) == 1:
        return fitting[0]
    listed = ", ".join(named(volume) for volume in (fitting or volumes)[:_LISTED])
    more = len(fitting or volumes) - _LISTED
    listed += f" and {more} more" if more > 0 else ""
    reasons = {volume.differs_in for volume in fitting or volumes} - {""}
    listed += f", which differ in {', '.join(sorted(reasons))}" if reasons else ""
    if not fitting:
        raise ImageReadError(folder, f"no series {choose} in the folder; choose with --series among {listed}")
    apart = len({volume.series for volume in fitting}) == len(fitting)
    what = f"{len(fitting)} DICOM series" if apart else f"{len(fitting)} volumes"
    hint = f"--series {fitting[0].label}, for example" + (f", or --series {LARGEST}" if choose is None else "")
    raise ImageReadError(folder, f"the folder holds {what}: {listed}; choose one with {hint}")


def named(volume: Volume) -> str:
    count = len(volume.slices)
    return f"{volume.label} ({count} image{'s' if count > 1 else ''})"


def stacked(folder: Path, files: list[Path]) -> npt.NDArray[Any]:
    """(column, row, slice) values of the files, in their order, of the smallest type that can hold them all."""
    planes: list[npt.NDArray[Any]] = []
    for file in files:
        planes.append(values_of(file))
        if planes[-1].shape != planes[0].shape:
            raise ImageReadError(folder, f"images of {planes[0].shape} and {planes[-1].shape} pixels")
        if len(files) * planes[0].size > MOST_VOXELS:
            raise ImageReadError(folder, f"more than {MOST_VOXELS:,} voxels")
    values = np.empty((planes[0].shape[1], planes[0].shape[0], len(planes)), np.result_type(*planes), order="F")
    for index, plane in enumerate(planes):
        values[:, :, index] = plane.T
    return values


def values_of(file: Path) -> npt.NDArray[Any]:
    """(row, column) values of one image after the modality transformation: int16 if they fit, else int32 or float32."""
    with opened(file) as stream:
        dataset = read_header(stream, file)
    cells = decode(file, dataset)
    if cells.ndim != 2 or dataset.PhotometricInterpretation not in GREY:
        raise ImageReadError(file, "a colour image in a series; grey images are expected")
    try:
        values = modality_values(file, stored_values(cells, dataset), dataset)
    except ImageReadError:
        raise
    except Exception as error:
        raise ImageReadError(file, f"the modality transformation is invalid ({type(error).__name__})") from None
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    fits = INT16.min <= int(values.min()) and int(values.max()) <= INT16.max
    return values.astype(np.int16 if fits else np.int32)
