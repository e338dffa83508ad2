"""Columns by what they hold, under the names that hospitals and data sets give them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

#: What a column may hold, and its names without case, spaces and punctuation. Names of the first group are looked for
#: before those of the second; within a group only one may be there.
ROLES: dict[str, tuple[tuple[str, ...], ...]] = {
    "study": (
        ("studyid", "study", "studyuid", "studyinstanceuid", "accession", "accessionnumber", "accessionno", "examid"),
        ("uid", "id", "reportid", "caseid"),
        ("dicomid", "imageid", "sopinstanceuid", "sopuid"),
    ),
    "image": (
        (
            "image", "img", "path", "filepath", "file", "filename", "imagepath", "imagefile", "imagefilename",
            "imagename", "imgpath", "imgfile", "dicom", "dicompath", "dicomfile", "dcmpath", "pngpath", "jpgpath",
        ),
        ("dicomid", "imageid", "sopinstanceuid", "sopuid"),
    ),
    "patient": (
        ("patientid", "patient", "subjectid", "subject", "mrn", "patid", "personid", "patientnumber"),
    ),
    "report": (
        ("report", "text", "reporttext", "radiologyreport", "reportbody", "reportcontent", "fullreport", "narrative"),
        ("notetext", "note", "content", "body", "caption", "description"),
    ),
    "findings": (("findings", "finding", "findingstext"),),
    "impression": (("impression", "impressions", "conclusion", "impressiontext"),),
    "view": (("view", "viewposition", "projection"), ("appa", "frontallateral")),
    "sex": (("sex", "gender", "patientsex", "patientgender"),),
    "age": (("age", "patientage", "ageyears", "ageatstudy"),),
    "split": (("split", "datasplit", "datasetsplit", "partition", "subset"),),
}  # fmt: skip

_KNOWN = {name for groups in ROLES.values() for group in groups for name in group} | {
    "label", "labels", "category", "question", "answer", "x", "y", "w", "h", "width", "height", "date", "studydate",
    "modality", "scanner", "indication", "comparison", "class", "target",
}  # fmt: skip
_LONGEST_NAME, _MOST_WORDS = 60, 7
_NAME = re.compile(r"[^\W\d][\w .:#%()\[\]<>=&+*/'-]*|#|\d{1,3}")
_FILE = re.compile(r"\.(dcm|dicom|png|jpe?g|tiff?|nii|gz|txt|bmp|mhd|nrrd)\b", re.IGNORECASE)
_SHOWN = 20


class ColumnError(ValueError):
    """A table does not have the columns asked for."""


class Found(NamedTuple):
    """The column of a role, or those that could be it."""

    name: str | None
    several: tuple[str, ...] = ()


def plain_name(name: str) -> str:
    """A column's name without case, spaces and punctuation."""
    return re.sub(r"[\W_]+", "", name).lower()


def is_known(name: str) -> bool:
    """Whether tables of studies or reports use this name for a column."""
    return plain_name(name) in _KNOWN


def find(columns: Sequence[str], role: str, but: Collection[str] = ()) -> Found:
    """The column that holds ``role`` (of :data:`ROLES`), where only one can be meant; ``but`` names those taken."""
    names = {name: plain_name(name) for name in columns if name not in but}
    for group in ROLES[role]:
        meant = [name for name, plain in names.items() if plain in group]
        usual = [name for name in meant if names[name] == group[0]]
        if len(usual) == 1 or len(meant) == 1:
            return Found((usual if len(usual) == 1 else meant)[0])
        if meant:
            return Found(None, tuple(meant))
    return Found(None)


def named(columns: Sequence[str], name: str) -> Found:
    """The column of this name: as written, else the only one that differs in case, spaces and punctuation alone."""
    if columns.count(name) == 1:
        return Found(name)
    alike = [column for column in columns if plain_name(column) == plain_name(name)]
    return Found(alike[0]) if len(alike) == 1 else Found(None, tuple(alike))


def look_like_names(columns: Sequence[str], required: Collection[str], differ: bool) -> bool:
    """Whether the first line of a table may be shown: it names columns, and is not the first patient's row.

    Args:
        columns: the first line's cells.
        required: names that were asked for.
        differ: cells of the first line are words where the rows below hold identifiers or numbers.
    """
    if not any(columns) or not all(_may_be_name(name) for name in columns):
        return False
    return differ or any(name in required or is_known(name) for name in columns)


def shown(columns: Iterable[str]) -> str:
    """Names of columns for a message."""
    names = [name or "(no name)" for name in columns]
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _may_be_name(name: str) -> bool:
    if not name:
        return True
    short = len(name) <= _LONGEST_NAME and len(name.split()) <= _MOST_WORDS
    return short and _NAME.fullmatch(name) is not None and not _FILE.search(name) and not name.endswith(".")
