"""Splits a CSV text into rows; a row with broken quoting does not affect the rows after it."""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from medvlp_toolkit.tables.content import MOST_CHARACTERS, Line
from medvlp_toolkit.tables.looks import TableLooks

#: An unescaped backslash before a quote, as MySQL and Spark write a quote within quotes.
_ESCAPED_QUOTE = re.compile(r'(?<!\\)((?:\\\\)*)\\"')

OPEN_QUOTE = "an opening quote is never closed"
CLOSED_ONLY = "a closing quote was never opened"
STRAY_QUOTE = "a quote within a quoted field is not doubled"
LIKE_ROWS = "a quoted field contains lines that look like rows, so its end is uncertain"
BROKEN_TEXT = "its text spans several lines without quotes"
NO_ROW = "does not look like a row of this table"


class Row(NamedTuple):
    """A row of a table from ``line`` to ``end``: its cells, or None and the reason why it cannot be used."""

    line: int
    end: int
    cells: list[str] | None
    problem: str = ""


@dataclass(frozen=True)
class Dialect:
    """The delimiters of fields; ``backslash``: a quote within quotes is written ``\\"`` instead of doubled."""

    delimiter: str = ","
    backslash: bool = False

    def reader(self, lines: Iterator[str], strict: bool = True) -> Iterator[list[str]]:
        """``csv.reader`` over these lines."""
        csv.field_size_limit(max(csv.field_size_limit(), 2 * MOST_CHARACTERS))
        return csv.reader(lines, delimiter=self.delimiter, strict=strict)

    def text(self, line: str) -> str:
        """The line in the form that the reader expects."""
        return _ESCAPED_QUOTE.sub(r'\1""', line) if self.backslash and "\\" in line else line

    def cells_of(self, line: str) -> tuple[list[str], bool]:
        """The cells of one line in isolation, and whether a quote opens in the last one."""
        text = self.text(line)
        try:
            return next(self.reader(iter((text,))), []), False
        except csv.Error as error:
            return next(self.reader(iter((text,)), strict=False), []), ends_early(error)

    def closes_alone(self, cells: Sequence[str], line: str) -> bool:
        """Whether a cell of a line has a single quote, at its end: the end of a text that began on another line."""
        if '"' not in line:
            return False
        bare = self.bare_cells(line)
        return any(cell.endswith('"') and cell.count('"') % 2 and cell in bare for cell in cells)

    def bare_cells(self, line: str) -> list[str]:
        """The cells of one line, ignoring quotes."""
        return next(csv.reader((line,), delimiter=self.delimiter, quoting=csv.QUOTE_NONE), [])


def ends_early(error: csv.Error) -> bool:
    """Whether the error is an unclosed quote, rather than a quote that closes too early."""
    return "end of data" in str(error)


class _TooLongError(csv.Error):
    """A row exceeds the maximum number of characters."""


class Lines:
    """An iterator of lines for ``csv.reader`` that can be rewound."""

    def __init__(self, lines: Iterator[Line], dialect: Dialect) -> None:
        self.source, self.dialect = lines, dialect
        self.given: list[Line] = []
        self.waiting: deque[Line] = deque()
        self.size = 0

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> str:
        line = self.take()
        self.given.append(line)
        self.size += len(line.text)
        if self.size > MOST_CHARACTERS and len(self.given) > 1:
            raise _TooLongError
        return self.dialect.text(line.text)

    def take(self) -> Line:
        """The next line; raises StopIteration after the last."""
        return self.waiting.popleft() if self.waiting else next(self.source)

    def begin(self) -> None:
        """Start a new row."""
        self.given, self.size = [], 0

    def give_back(self, lines: Sequence[Line]) -> None:
        """Return lines, to be read again."""
        self.waiting.extendleft(reversed(lines))


class CsvRows:
    """The rows of a CSV text after its header, good and bad, in order; empty lines are skipped.

    A row ends with a line at whose end all quotes are closed. If quotes are never closed, or the lines inside a quoted
    field look like rows themselves, the first line is bad, and reading resumes at the next line that looks like the
    beginning of a row (:class:`~medvlp_toolkit.tables.looks.TableLooks`).

    Args:
        lines: the lines after the header.
        dialect: of the table.
        width: number of columns.
        looks: the form of this table's rows; it learns from the rows read.
    """

    def __init__(self, lines: Iterator[Line], dialect: Dialect, width: int, looks: TableLooks) -> None:
        self.lines = Lines(lines, dialect)
        self.reader = dialect.reader(self.lines)
        self.dialect, self.width, self.looks = dialect, width, looks
        #: Whether the latest row ended with a quote, so that its text is complete.
        self.closed = False

    def __iter__(self) -> Iterator[Row]:
        # One row is held back, because only the next one shows whether its text is complete.
        held: Row | None = None
        closed = cut = False
        for row, is_part in self.rows():
            follows = held is not None and (not closed or row.line == held.end + 1)
            if is_part and held is not None and follows and self.looks.leads:
                held = Row(held.line, row.end, None, held.problem or BROKEN_TEXT)
                continue
            if held is not None:
                yield held
            # If rows begin with their text, a line that is not a row is the beginning of the next one.
            held = Row(row.line, row.end, None, BROKEN_TEXT) if cut and row.cells is not None else row
            cut = is_part and not self.looks.leads
            closed = self.closed
        if held is not None:
            yield held

    def rows(self) -> Iterator[tuple[Row, bool]]:
        """Rows, each with a flag whether it looks like part of a text instead of a row."""
        while True:
            self.lines.begin()
            try:
                cells = next(self.reader)
            except StopIteration:
                return
            except _TooLongError:
                yield self.broken(OPEN_QUOTE), False
                continue
            except csv.Error as error:
                given = self.lines.given
                closed = len(given) == 1 and not ends_early(error)
                yield self.broken(STRAY_QUOTE if closed else OPEN_QUOTE), False
                continue
            row = self.checked(trimmed(cells, self.width))
            if row is not None:
                yield row

    def checked(self, cells: list[str]) -> tuple[Row, bool] | None:
        """The row read by ``csv``; None for a line of empty fields."""
        given = self.lines.given
        first, last = given[0], given[-1]
        self.closed = last.text.rstrip().endswith('"')
        problem = next((line.problem for line in given if line.problem), "")
        if problem:
            return Row(first.number, last.number, None, problem), False
        if not any(cell.strip() for cell in cells):
            return None
        like_rows = self.like_rows(given)
        if like_rows and (len(cells) != self.width or 2 * like_rows >= len(given) - 1):
            return self.broken(OPEN_QUOTE), False
        if like_rows:
            return Row(first.number, last.number, None, LIKE_ROWS), False
        if len(given) == 1 and self.dialect.closes_alone(cells, first.text):
            return Row(first.number, last.number, None, CLOSED_ONLY), False
        is_part = self.looks.is_part(cells, self.width)
        if len(cells) == self.width and not (is_part and len(given) == 1):
            self.looks.learn(cells)
            return Row(first.number, last.number, cells), False
        wrong = f"{len(cells)} field{'s' if len(cells) != 1 else ''} instead of {self.width}"
        return Row(first.number, last.number, None, NO_ROW if len(cells) == self.width else wrong), is_part

    def broken(self, problem: str) -> Row:
        """The row with broken quoting: its first line, and all lines up to the beginning of another row."""
        first, *rest = self.lines.given
        self.lines.give_back(rest)
        self.closed = False
        self.looks.refresh()
        end = first
        while True:
            try:
                line = self.lines.take()
            except StopIteration:
                break
            if self.starts_row(line):
                self.lines.give_back([line])
                break
            end = line
        return Row(first.number, end.number, None, first.problem or problem)

    def like_rows(self, given: Sequence[Line]) -> int:
        """The number of lines inside a row's quotes that look like rows.

        The last line counts only if the first, without its quote, does too: in a table whose first column is the text,
        the end of a text is followed by all other columns.
        """
        inside = sum(self.starts_row(line, surely=True) for line in given[1:-1])
        if len(given) > 1:
            first, last = (
                trimmed([cell.strip('"') for cell in self.dialect.bare_cells(line.text)], self.width)
                for line in (given[0], given[-1])
            )
            if self.looks.like_row(last, False, self.width):
                inside += inside > 0 or self.looks.starts_row(first, False, self.width)
        return inside

    def starts_row(self, line: Line, surely: bool = False) -> bool:
        """Whether a line can be the beginning of a row; ``surely``: is unlikely to be anything else."""
        # Most lines of a report are decided without parsing them.
        if '"' not in line.text and line.text.count(self.dialect.delimiter) < self.width - 1:
            return False
        cells, opens = self.dialect.cells_of(line.text)
        looks = self.looks.like_row if surely else self.looks.starts_row
        return looks(trimmed(cells, self.width), opens, self.width)


def trimmed(cells: list[str], width: int) -> list[str]:
    """The cells, without empty cells beyond the last column."""
    while len(cells) > width and not cells[-1].strip():
        cells.pop()
    return cells
