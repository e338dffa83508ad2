"""Rows of a CSV text by their lines: a row whose quoting breaks costs itself, not those behind it."""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from medvlp_toolkit.tables.content import MOST_CHARACTERS, Line
from medvlp_toolkit.tables.looks import TableLooks

#: A backslash before a quote, itself not escaped: how MySQL and Spark write a quote within quotes.
_ESCAPED_QUOTE = re.compile(r'(?<!\\)((?:\\\\)*)\\"')

OPEN_QUOTE = "a quote opens in it and does not close"
CLOSED_ONLY = "a quote closes in it that does not open"
STRAY_QUOTE = "a quote within a quoted field is not doubled"
LIKE_ROWS = "a quoted field holds lines that look like rows, so its end is not certain"
BROKEN_TEXT = "its text runs over several lines without quotes"
NO_ROW = "does not look like a row of this table"


class Row(NamedTuple):
    """A row of a table: its cells, or None and why it cannot be used; ``line`` to ``end`` is where it stands."""

    line: int
    end: int
    cells: list[str] | None
    problem: str = ""


@dataclass(frozen=True)
class Dialect:
    """How fields are delimited; ``backslash``: a quote within quotes is written ``\\"`` instead of doubled."""

    delimiter: str = ","
    backslash: bool = False

    def reader(self, lines: Iterator[str], strict: bool = True) -> Iterator[list[str]]:
        """``csv.reader`` over these lines."""
        csv.field_size_limit(max(csv.field_size_limit(), 2 * MOST_CHARACTERS))
        return csv.reader(lines, delimiter=self.delimiter, strict=strict)

    def text(self, line: str) -> str:
        """The line as the reader expects it."""
        return _ESCAPED_QUOTE.sub(r'\1""', line) if self.backslash and "\\" in line else line

    def cells_of(self, line: str) -> tuple[list[str], bool]:
        """The cells of one line by itself, and whether a quote opens in the last of them."""
        text = self.text(line)
        try:
            return next(self.reader(iter((text,))), []), False
        except csv.Error as error:
            return next(self.reader(iter((text,)), strict=False), []), ends_early(error)

    def closes_alone(self, cells: Sequence[str], line: str) -> bool:
        """Whether a cell of a line ends with a quote and has no other: the end of a text that began elsewhere."""
        if '"' not in line:
            return False
        bare = self.bare_cells(line)
        return any(cell.endswith('"') and cell.count('"') % 2 and cell in bare for cell in cells)

    def bare_cells(self, line: str) -> list[str]:
        """The cells of one line if quotes meant nothing."""
        return next(csv.reader((line,), delimiter=self.delimiter, quoting=csv.QUOTE_NONE), [])


def ends_early(error: csv.Error) -> bool:
    """Whether the lines ended before a quote closed, rather than a quote closing too early."""
    return "end of data" in str(error)


class _TooLongError(csv.Error):
    """A row has more characters than any row."""


class Lines:
    """Lines for ``csv.reader``, which can be given back."""

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
        """A new row begins."""
        self.given, self.size = [], 0

    def give_back(self, lines: Sequence[Line]) -> None:
        """Lines to read again."""
        self.waiting.extendleft(reversed(lines))


class CsvRows:
    """The rows of a CSV text behind its header, good and bad, in order; empty lines are passed over.

    A row ends where its quotes close and the line ends. Where they do not, or where the lines inside a quoted field
    look like rows of the table themselves, the first line is bad, and reading resumes at the next line that looks like
    the beginning of a row (:class:`~medvlp_toolkit.tables.looks.TableLooks`).

    Args:
        lines: behind the header.
        dialect: of the table.
        width: number of columns.
        looks: what rows of this table look like; it learns from those that are read.
    """

    def __init__(self, lines: Iterator[Line], dialect: Dialect, width: int, looks: TableLooks) -> None:
        self.lines = Lines(lines, dialect)
        self.reader = dialect.reader(self.lines)
        self.dialect, self.width, self.looks = dialect, width, looks
        #: Whether the latest row ended with a quote, so that its text is whole.
        self.closed = False

    def __iter__(self) -> Iterator[Row]:
        # One row is held back: only the next shows whether its text ended with it.
        held: Row | None = None
        closed = cut = False
        for row, is_part in self.rows():
            follows = held is not None and (not closed or row.line == held.end + 1)
            if is_part and held is not None and follows and self.looks.leads:
                held = Row(held.line, row.end, None, held.problem or BROKEN_TEXT)
                continue
            if held is not None:
                yield held
            # Where rows begin with their text, a line that is no row is the beginning of the next.
            held = Row(row.line, row.end, None, BROKEN_TEXT) if cut and row.cells is not None else row
            cut = is_part and not self.looks.leads
            closed = self.closed
        if held is not None:
            yield held

    def rows(self) -> Iterator[tuple[Row, bool]]:
        """Rows, each with whether it looks like a part of a text rather than a row."""
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
        """The row that ``csv`` read; None for a line of empty fields."""
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
        """The row whose quoting is broken: its first line, and what follows up to the beginning of another row."""
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
        """How many of the lines inside a row's quotes look like rows.

        The last counts only where the first, without its quote, is one too: in a table that begins with its text, the
        end of a text is followed by all other columns.
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
        """Whether a line can be the beginning of a row; ``surely``: it will hardly be anything else."""
        # Most lines of a report are settled without parsing them.
        if '"' not in line.text and line.text.count(self.dialect.delimiter) < self.width - 1:
            return False
        cells, opens = self.dialect.cells_of(line.text)
        looks = self.looks.like_row if surely else self.looks.starts_row
        return looks(trimmed(cells, self.width), opens, self.width)


def trimmed(cells: list[str], width: int) -> list[str]:
    """The cells without empty ones beyond the last column."""
    while len(cells) > width and not cells[-1].strip():
        cells.pop()
    return cells
