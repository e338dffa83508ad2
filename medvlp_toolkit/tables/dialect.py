"""Analyses the beginning of a CSV text: delimiter, header, and the form of its rows."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterator, Sequence

from medvlp_toolkit.tables.columns import is_known, plain_name
from medvlp_toolkit.tables.content import Line
from medvlp_toolkit.tables.looks import FEWEST, TableLooks
from medvlp_toolkit.tables.rows import Dialect, Lines, ends_early, trimmed

DELIMITERS = (",", ";", "\t", "|")
_LINES, _CHARACTERS = 2000, 2**22
_COMPARED = 200  # lines used to detect the delimiter
_SEPARATOR = re.compile(r"sep=(.)\s*", re.IGNORECASE)  # a first line that Excel may write


class Beginning:
    """The first lines of a table, taken from ``lines``; ``separator`` is that of a first line ``sep=;``."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self.lines: list[Line] = []
        self.separator: str | None = None
        size = 0
        for line in lines:
            if not self.lines:
                said = _SEPARATOR.fullmatch(line.text)
                self.separator = said[1] if said else self.separator
                if said or not line.text.strip(" \t\r\n,;|"):
                    continue
            self.lines.append(line)
            size += len(line.text)
            if len(self.lines) >= _LINES or size >= _CHARACTERS:
                break

    def dialect(self, delimiter: str | None, expected: Collection[str], tabs: bool) -> Dialect:
        """The dialect that fits these lines best.

        Args:
            delimiter: if known.
            expected: names that the header should have.
            tabs: the file's suffix implies tabs.
        """
        delimiter = delimiter or self.separator
        if delimiter is None:
            preferred = ("\t", *DELIMITERS) if tabs else DELIMITERS
            delimiter = max(dict.fromkeys(preferred), key=lambda one: self._fit(Dialect(one), expected))
        plain, backslash = Dialect(delimiter), Dialect(delimiter, backslash=True)
        escaped = any('\\"' in line.text for line in self.lines)
        if escaped and self._failures(backslash) < self._failures(plain):
            return backslash
        return plain

    def header(self, dialect: Dialect) -> tuple[list[str], list[Line]]:
        """The cells of the first row, and the lines after it."""
        if not self.lines:
            return [], []
        lines = Lines(iter(self.lines), dialect)
        try:
            cells = next(dialect.reader(lines))
            return cells, self.lines[len(lines.given) :]
        except csv.Error:
            return dialect.cells_of(self.lines[0].text)[0], self.lines[1:]

    def _fit(self, dialect: Dialect, expected: Collection[str]) -> tuple[int, bool, float, int]:
        cells, body = self.header(dialect)
        names = [" ".join(cell.split()) for cell in cells]
        plain = {plain_name(name) for name in expected}
        hits = sum(bool(name) and (is_known(name) or plain_name(name) in plain) for name in names)
        compared = body[:_COMPARED]
        alike = sum(len(trimmed(dialect.cells_of(line.text)[0], len(cells))) == len(cells) for line in compared)
        return hits, len(cells) > 1, alike / max(len(compared), 1), len(cells)

    def _failures(self, dialect: Dialect) -> int:
        _, body = self.header(dialect)
        return sum(row is None for row in _parsed(body, dialect))


def sample_rows(body: Sequence[Line], dialect: Dialect, width: int) -> list[list[str]]:
    """Rows that are probably valid, as examples of the table's rows.

    Single-line rows if there are enough; after a row with broken quotes, only rows that resemble those before it.
    """
    one_line: list[list[str]] = []
    others: list[list[str]] = []
    looks: TableLooks | None = None
    for parsed in _parsed(body, dialect):
        if parsed is None:
            if looks is None and len(one_line) >= FEWEST:
                looks = TableLooks(one_line)
            continue
        cells, count = parsed
        if len(trimmed(cells, width)) == width and (looks is None or looks.starts_row(cells, False, width)):
            (one_line if count == 1 else others).append(cells)
    return one_line if len(one_line) >= FEWEST else one_line + others


def _parsed(body: Sequence[Line], dialect: Dialect) -> Iterator[tuple[list[str], int] | None]:
    """Cells and number of lines of each row; None for the first line of a broken row."""
    lines = Lines(iter(body), dialect)
    reader = dialect.reader(lines)
    while True:
        lines.begin()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            cut = ends_early(error) and len(body) >= _LINES  # cut off by the end of the sample, not of the file
            lines.give_back(lines.given[1:])
            if not cut:
                yield None
            continue
        if cells:
            yield cells, len(lines.given)
