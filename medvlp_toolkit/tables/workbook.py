"""Rows of an Excel workbook (.xlsx)."""

from __future__ import annotations

import datetime
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from medvlp_toolkit.tables.rows import Row, trimmed

#: Maximum length of a spreadsheet cell; longer texts are truncated.
CELL_LIMIT = 32_767
#: Bytes of a workbook's parts beside its sheets, which are in memory several times over.
MOST_SHARED = 2**28
_CUT = f"a cell of {CELL_LIMIT:,} characters, at which spreadsheets truncate texts"


def workbook_rows(path: Path) -> Iterator[Row]:
    """The rows of a workbook's only non-empty sheet, header first, without empty rows; ``line`` counts from 1.

    Raises:
        ValueError: in one line, if openpyxl is not installed, the file is damaged, or several sheets have rows.
    """
    try:
        import openpyxl
    except ModuleNotFoundError:
        raise ValueError(
            f"{path}: reading Excel files needs openpyxl (pip install 'medvlp-toolkit[excel]'); or save it as CSV"
        ) from None
    try:
        with path.open("rb") as file:  # of a path openpyxl wants the name to say what it is
            _check_size(file)
            book = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
            filled = [sheet for sheet in book.worksheets if next(_filled(sheet), None) is not None]
            if len(filled) > 1:
                raise _SeveralSheetsError(len(filled))
            for sheet in filled:
                yield from _filled(sheet)
    except _SeveralSheetsError as error:
        raise ValueError(f"{path}: {error.args[0]} sheets have rows; save the one to read as a separate file") from None
    except _TooLargeError as error:
        raise ValueError(f"{path}: {error}") from None
    except Exception as error:  # openpyxl checks little, and what it raises on a damaged part is of any kind
        raise ValueError(f"{path}: the table is damaged ({type(error).__name__})") from None


class _SeveralSheetsError(Exception):
    pass


class _TooLargeError(Exception):
    pass


def _check_size(file: BinaryIO) -> None:
    """Raise `_TooLargeError` for a workbook whose texts or styles, which are read whole, unpack to too much."""
    with zipfile.ZipFile(file) as archive:
        whole = [part for part in archive.infolist() if not part.filename.startswith("xl/worksheets/")]
    if sum(part.file_size for part in whole) > MOST_SHARED:
        raise _TooLargeError(f"its texts take more than {MOST_SHARED:,} bytes; save it as CSV")
    file.seek(0)


def _filled(sheet: Any) -> Iterator[Row]:
    sheet.reset_dimensions()  # files may state wrong dimensions
    width = 0
    for number, values in enumerate(sheet.iter_rows(values_only=True), start=1):
        cells = [_text(value) for value in values]
        if not any(cell.strip() for cell in cells):
            continue
        if not width:
            while not cells[-1].strip():
                cells.pop()
            width = len(cells)
        cells = trimmed(cells + [""] * (width - len(cells)), width)
        problem = _CUT if any(len(cell) >= CELL_LIMIT for cell in cells) else ""
        if len(cells) > width:
            problem = f"{len(cells)} fields instead of {width}"
        yield Row(number, number, None if problem else cells, problem)


def _text(value: Any) -> str:
    """A cell as in CSV; spreadsheet errors become missing values."""
    if value is None or (isinstance(value, str) and value.startswith("#") and value.rstrip("!?/A").isupper()):
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    return str(value).replace("_x000D_\n", "\n").replace("_x000D_", "\n").replace("\x00", " ")
