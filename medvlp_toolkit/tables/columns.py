"""Columns by what they hold, under the names that hospitals and data sets give them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
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
    "image id": (("imageid", "dicomid", "sopinstanceuid", "sopuid"),),
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


def find(columns: Sequence[str], role: str, groups: int | None = None) -> Found:
    """The column that holds ``role`` (of :data:`ROLES`), where only one can be meant; of so many groups of names."""
    names = {name: plain_name(name) for name in columns}
    for group in ROLES[role][:groups]:
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


def section_of(column: str) -> str:
    """The name of the report section that a column holds."""
    plain = plain_name(column)
    return next((name for name in ("findings", "impression") if plain in ROLES[name][0]), column.lower())


class Columns:
    """The columns of a table, found by name or by what they hold.

    Args:
        path: of the table, for messages.
        columns: their names.
        expected: names that the table should have.
    """

    #: Whether the first line has words where the rows below it have identifiers or numbers.
    differ = False

    def __init__(self, path: Path | str, columns: Sequence[str], expected: Collection[str] = ()) -> None:
        self.path = Path(path)
        #: Others, as many as the rows have fields, may be put in their place.
        self.columns = list(columns)
        self.expected = frozenset(expected)

    def require(self, *names: str, hint: str = "") -> None:
        """Raise `ColumnError` naming the columns that are not there, or there twice.

        ``hint`` says which option names another.
        """
        missing = dict.fromkeys(name for name in names if name not in self.columns)
        if missing:
            raise self.column_error(f"no column {', '.join(map(repr, missing))}", hint)
        doubled = dict.fromkeys(name for name in names if self.columns.count(name) > 1)
        if doubled:
            raise self.column_error(f"column {', '.join(map(repr, doubled))} is there twice", hint)

    def column(
        self,
        role: str,
        name: str | None = None,
        option: str = "",
        further: Sequence[str] = (),
        groups: int | None = None,
    ) -> str | None:
        """The column that holds ``role``, where only one can be meant; None where there is none.

        Args:
            role: a key of :data:`~medvlp_toolkit.tables.columns.ROLES`.
            name: the column asked for. Its usual name stands for every name that the role has.
            option: what names another column, for the message.
            further: columns of joined tables.
            groups: look for the names of so many groups only.

        Raises:
            ColumnError: when the column asked for is not there, or several may be meant.
        """
        columns = [*self.columns, *further]
        found = Found(None) if name is None else named(columns, name)
        if found.name is None and not found.several and (name is None or plain_name(name) == ROLES[role][0][0]):
            found = find(columns, role, groups)
        elif found.name is None and not found.several:
            raise self.column_error(f"no column {name!r}", f"set {option}", further)
        if found.several:
            # Their names are known ones, so that they may be shown.
            meant = " and ".join(map(repr, found.several))
            raise ColumnError(f"{self.path}: columns {meant} may both hold the {role}; set {option} to one of them")
        return found.name

    def column_error(self, problem: str, hint: str = "", further: Sequence[str] = ()) -> ColumnError:
        """The error for columns that are not as expected, with those there where they are surely names.

        ``further`` columns are those of joined tables.
        """
        if not self.columns:
            there = "the file is empty"
        elif look_like_names(self.columns, self.expected, self.differ):
            there = f"its columns are {shown([*self.columns, *further])}"
        else:
            there = "its first line does not look like the names of columns; add a line with them"
            hint = ""
        return ColumnError(f"{self.path}: {problem}; {there}" + (f"; {hint}" if hint else ""))


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
