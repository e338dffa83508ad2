"""The reader of all tables: CSV, TSV or Excel, with any delimiter and encoding."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from medvlp_toolkit.tables.columns import Columns
from medvlp_toolkit.tables.content import Line, is_workbook, open_lines
from medvlp_toolkit.tables.dialect import Beginning, sample_rows
from medvlp_toolkit.tables.looks import TableLooks, is_code
from medvlp_toolkit.tables.rows import CsvRows, Dialect, Row
from medvlp_toolkit.tables.workbook import workbook_rows

logger = logging.getLogger(__name__)

HEADER_AGAIN = "a repeated header, or a separator line below it"
_COMPARED = 50  # rows of a workbook compared with its header


class TableRow(NamedTuple):
    """A row: the value of every column, or None and the reason why it cannot be used."""

    line: int
    end: int
    values: dict[str, str] | None
    problem: str = ""

    @property
    def place(self) -> str:
        """Its position in the file, for messages."""
        return f"line {self.line}" if self.line == self.end else f"lines {self.line} to {self.end}"


class Table(Columns):
    """A table with a header. It is read anew by each iteration, in constant memory.

    Text is UTF-8, UTF-16 or, byte by byte where it is not UTF-8, Windows-1252; gzipped, alone in a ZIP archive, or
    plain. Quoted fields may contain line breaks. Empty fields beyond the last column and empty rows
    are skipped. Each iteration returns every other row once, good or bad, and no message contains a cell of a row.

    Args:
        path: of the file; its type is detected from its content, not its name.
        delimiter: between fields; detected when None.
        encoding: of the text; detected when None.
        expected: names that the table should have, which help to detect the delimiter.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: in one line, for a file that is damaged or not a table.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        delimiter: str | None = None,
        encoding: str | None = None,
        expected: Collection[str] = (),
    ) -> None:
        super().__init__(path, (), expected)
        if not self.path.is_file():
            raise FileNotFoundError(f"{self.path}: the table does not exist")
        if delimiter is not None and len(delimiter) != 1:
            raise ValueError(f"{self.path}: delimiter is one character, not {len(delimiter)}")
        self.encoding = encoding
        self.is_workbook = is_workbook(self.path)
        self.dialect = Dialect(delimiter or ",")
        header, rows = self._workbook_start() if self.is_workbook else self._text_start(delimiter)
        self.columns = [" ".join(name.split()) for name in header]
        while self.columns and not self.columns[-1]:
            self.columns.pop()
        self._names = list(self.columns)
        self.differ = _differ(self.columns, rows)
        #: Of the latest pass: the number of rows, and of those that cannot be used.
        self.read = self.bad = 0

    def __iter__(self) -> Iterator[TableRow]:
        self.read = self.bad = 0
        for row in self._rows():
            if row.cells is not None and (self._is_header(row.cells) or _is_rule(row.cells)):
                row = Row(row.line, row.end, None, HEADER_AGAIN)
            self.read += 1
            values = None
            if row.cells is None:
                self.bad += 1
            else:
                # Of columns with the same name, the first is used.
                values = dict(zip(reversed(self.columns), reversed(row.cells), strict=True))
            yield TableRow(row.line, row.end, values, row.problem)

    def _is_header(self, cells: Sequence[str]) -> bool:
        """Whether a row repeats the header, as in concatenated files."""
        first = cells[0].lstrip("\ufeff")
        return first.strip() == self._names[0] and [" ".join(c.split()) for c in (first, *cells[1:])] == self._names

    def _rows(self) -> Iterator[Row]:
        if self.is_workbook:
            yield from islice(workbook_rows(self.path), 1, None)
            return
        recoded = 0
        with open_lines(self.path, self.encoding) as lines:
            _, body = Beginning(lines).header(self.dialect)

            def counted() -> Iterator[Line]:
                nonlocal recoded
                for line in chain(body, lines):
                    recoded += line.recoded
                    yield line

            looks = TableLooks(sample_rows(body, self.dialect, len(self.columns)))
            yield from CsvRows(counted(), self.dialect, len(self.columns), looks)
        if recoded:
            logger.warning(
                "%s: %d lines are not UTF-8 and were read as Windows-1252; set encoding if that is wrong",
                self.path, recoded,
            )  # fmt: skip

    def _workbook_start(self) -> tuple[list[str], list[list[str]]]:
        rows = list(islice(workbook_rows(self.path), _COMPARED))
        return (rows[0].cells or [] if rows else []), [row.cells for row in rows[1:] if row.cells is not None]

    def _text_start(self, delimiter: str | None) -> tuple[list[str], list[list[str]]]:
        with open_lines(self.path, self.encoding) as lines:
            beginning = Beginning(lines)
        if beginning.lines and beginning.lines[0].problem:
            raise ValueError(f"{self.path}: its first line: {beginning.lines[0].problem}")
        tabs = {".tsv", ".tab"} & {suffix.lower() for suffix in self.path.suffixes}
        self.dialect = beginning.dialect(delimiter, self.expected, bool(tabs))
        header, body = beginning.header(self.dialect)
        return header, sample_rows(body, self.dialect, len(header))


def _is_rule(cells: Sequence[str]) -> bool:
    """Whether a row is a line of dashes, as databases print below the header."""
    return cells[0][:1] in ("-", "=") and all(len(cell) > 1 and not cell.strip("-=") for cell in map(str.strip, cells))


def _differ(header: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first line has words in columns where the rows have identifiers, paths or numbers."""
    codes = [number for number in TableLooks(rows).codes if number < len(header)]
    return any(header[number] and not is_code(header[number]) for number in codes) and not any(
        is_code(header[number]) for number in codes
    )
