"""Recognises the columns of a table by the names that hospitals and data sets use."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

#: Roles of columns and their names, without case, spaces and punctuation. Names of the first group take precedence
#: over those of the second; within a group only one may occur.
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
    """A table does not have the required columns."""


class Found(NamedTuple):
    """The column of a role, or the candidates."""

    name: str | None
    several: tuple[str, ...] = ()


def plain_name(name: str) -> str:
    """A column's name without case, spaces and punctuation."""
    return re.sub(r"[\W_]+", "", name).lower()


def is_known(name: str) -> bool:
    """Whether this is a known name of a column."""
    return plain_name(name) in _KNOWN


def find(columns: Sequence[str], role: str, groups: int | None = None) -> Found:
    """The column of a ``role`` (of :data:`ROLES`), if it is unique, among the first ``groups`` groups of names."""
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
    """The column of this name: exact, else the only one that differs only in case, spaces and punctuation."""
    if columns.count(name) == 1:
        return Found(name)
    alike = [column for column in columns if plain_name(column) == plain_name(name)]
    return Found(alike[0]) if len(alike) == 1 else Found(None, tuple(alike))


def section_of(column: str) -> str:
    """The name of the report section in a column."""
    plain = plain_name(column)
    return next((name for name in ("findings", "impression") if plain in ROLES[name][0]), column.lower())


class Columns:
    """The columns of a table, found by name or by role.

    Args:
        path: of the table, for messages.
        columns: their names.
        expected: names that the table should have.
    """

    #: Whether the first line has words in columns where the rows have identifiers or numbers.
    differ = False

    def __init__(self, path: Path | str, columns: Sequence[str], expected: Collection[str] = ()) -> None:
        self.path = Path(path)
        #: May be replaced by other names, one per field of the rows.
        self.columns = list(columns)
        self.expected = frozenset(expected)

    def require(self, *names: str, hint: str = "") -> None:
        """Raise `ColumnError` listing the columns that are missing or duplicated.

        ``hint`` names the option that selects another column.
        """
        missing = dict.fromkeys(name for name in names if name not in self.columns)
        if missing:
            raise self.column_error(f"no column {', '.join(map(repr, missing))}", hint)
        doubled = dict.fromkeys(name for name in names if self.columns.count(name) > 1)
        if doubled:
            raise self.column_error(f"column {', '.join(map(repr, doubled))} occurs twice", hint)

    def column(
        self,
        role: str,
        name: str | None = None,
        option: str = "",
        further: Sequence[str] = (),
        groups: int | None = None,
    ) -> str | None:
        """The column of ``role``; None if there is none.

        Args:
            role: a key of :data:`~medvlp_toolkit.tables.columns.ROLES`.
            name: the requested column; the role's usual name matches all of its names.
            option: the option that selects another column, for the message.
            further: columns of joined tables.
            groups: search only this many groups of names.

        Raises:
            ColumnError: when the requested column is missing, or several columns match.
        """
        columns = [*self.columns, *further]
        found = Found(None) if name is None else named(columns, name)
        if found.name is None and not found.several and (name is None or plain_name(name) == ROLES[role][0][0]):
            found = find(columns, role, groups)
        elif found.name is None and not found.several:
            raise self.column_error(f"no column {name!r}", f"set {option}", further)
        if found.several:
            # Known names, which are safe to show.
            meant = " and ".join(map(repr, found.several))
            raise ColumnError(f"{self.path}: columns {meant} may both be the {role}; set {option} to one of them")
        return found.name

    def column_error(self, problem: str, hint: str = "", further: Sequence[str] = ()) -> ColumnError:
        """The error for unexpected columns; it lists the existing columns if they are certainly names.

        ``further`` columns are those of joined tables.
        """
        if not self.columns:
            there = "the file is empty"
        elif look_like_names(self.columns, self.expected, self.differ):
            there = f"its columns are {shown([*self.columns, *further])}"
        else:
            there = "its first line does not look like column names; add a header line"
            hint = ""
        return ColumnError(f"{self.path}: {problem}; {there}" + (f"; {hint}" if hint else ""))


def look_like_names(columns: Sequence[str], required: Collection[str], differ: bool) -> bool:
    """Whether the first line of a table may be shown: it must be column names, not the first patient's row.

    Args:
        columns: the first line's cells.
        required: the requested names.
        differ: the first line has words in columns where the rows have identifiers or numbers.
    """
    if not any(columns) or not all(_may_be_name(name) for name in columns):
        return False
    return differ or any(name in required or is_known(name) for name in columns)


def shown(columns: Iterable[str]) -> str:
    """Column names for a message."""
    names = [name or "(no name)" for name in columns]
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _may_be_name(name: str) -> bool:
    if not name:
        return True
    short = len(name) <= _LONGEST_NAME and len(name.split()) <= _MOST_WORDS
    return short and _NAME.fullmatch(name) is not None and not _FILE.search(name) and not name.endswith(".")
