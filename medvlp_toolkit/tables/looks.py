"""Learns from a table what its rows look like, to distinguish rows from prose with commas."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence

#: Minimum number of rows for a conclusion.
FEWEST = 2
_MANY = 20  # rows without an exception that establish a rule
_KEPT = 512
_LONGEST_CODE = 256
_MOST_FORMS = 32
# An identifier, path or number: a digit and no space; or a date with a time.
_CODE = re.compile(r"\S*\d\S*|[\d\s:./TZ+-]*\d[\d\s:./TZ+-]*")
_WORD, _NUMBER = re.compile(r"[^\W\d_]+"), re.compile(r"\d+")
_FEW_ARE_NOT, _FEW = 0.1, 0.05
_ONE_IN = 4  # number of rows from which a single exception is allowed


def is_code(value: str) -> bool:
    """Whether a value is an identifier, a path or a number rather than words."""
    return len(value) <= _LONGEST_CODE and _CODE.fullmatch(value) is not None


def form(value: str) -> str:
    """The value with each word replaced by ``a`` and each number by ``9``: ``img/7.png`` becomes ``a/9.a``."""
    return _NUMBER.sub("9", _WORD.sub("a", value))


class TableLooks:
    """The columns with identifiers, paths or numbers, their form, and whether values begin with a space.

    Reports are prose: their commas are followed by a space, and their words have no digits. Columns are
    distinguished by the table's own rows; the first and the latest rows are kept.
    """

    def __init__(self, rows: Sequence[Sequence[str]] = ()) -> None:
        self.first = [list(row) for row in rows[:_KEPT]]
        self.latest: deque[Sequence[str]] = deque(maxlen=_KEPT)
        self.learnt = self.known = 0
        self._measure()

    def learn(self, cells: Sequence[str]) -> None:
        """Add a row that is certainly valid."""
        self.latest.append(cells)
        self.learnt += 1
        if self.learnt >= 2 * max(self.known, FEWEST):
            self.refresh()

    def refresh(self) -> None:
        """Update the conclusions if rows have been added."""
        if self.learnt > self.known:
            self._measure()

    def _measure(self) -> None:
        self.known = self.learnt
        rows = [*self.first, *self.latest]
        columns = list(zip(*rows, strict=False)) if len(rows) >= FEWEST else []
        self.codes = [number for number, values in enumerate(columns) if _holds_codes(values, _FEW_ARE_NOT)]
        #: Columns in which all of many rows have an identifier.
        self.always = [n for n in self.codes if len(rows) >= _MANY and _holds_codes(columns[n], 0.0)]
        self.spaced = {n for n, values in enumerate(columns) if not _few(values, lambda v: v[:1] == " ")}
        self.filled = [n for n, values in enumerate(columns) if _few(values, lambda v: not v.strip())]
        self.forms = {n: {form(value.strip()) for value in columns[n]} for n in self.codes}

    @property
    def leads(self) -> bool:
        """Whether rows begin with an identifier, path or number."""
        return bool(self.codes) and self.codes[0] == 0

    def is_part(self, cells: Sequence[str], width: int) -> bool:
        """Whether cells look like part of a text: the columns of identifiers are empty."""
        if not self.codes or any(is_code(cells[n].strip()) for n in self.codes if n < len(cells)):
            return False
        return len(cells) != width or bool(self.always) or self._as_prose(cells, width)

    def starts_row(self, cells: Sequence[str], opens: bool, width: int) -> bool:
        """Whether the cells of a line can be the beginning of a row.

        ``opens``: a quote opens in the last cell, so that more may follow on later lines.
        """
        enough = len(cells) == width or (self.leads and len(cells) > width)
        if not (enough or opens) or self._as_prose(cells, width):
            return False
        values = self._identifiers(cells, opens)
        if not any(values.values()):
            return len(cells) == width > 1
        return all(is_code(value) for value in values.values() if value)

    def like_row(self, cells: Sequence[str], opens: bool, width: int) -> bool:
        """Whether the cells of a line resemble a row so closely that they are unlikely to be a line of text."""
        if not self.starts_row(cells, opens, width) or len(cells) > width:
            return False
        settled = cells[:-1] if opens else cells
        if any(not cells[n].strip() for n in self.filled if n < len(settled)):
            return False
        return all(
            len(self.forms[n]) > _MOST_FORMS or form(value) in self.forms[n]
            for n, value in self._identifiers(cells, opens).items()
        )

    def _identifiers(self, cells: Sequence[str], opens: bool) -> dict[int, str]:
        """The values in the columns of identifiers."""
        settled = cells[:-1] if opens else cells
        return {n: settled[n].strip() for n in self.codes if n < len(settled)}

    def _as_prose(self, cells: Sequence[str], width: int) -> bool:
        """Whether a space follows a delimiter although the table has none; with too many cells the first two decide."""
        compared = cells if len(cells) <= width else cells[:2]
        return any(cell[:1] == " " and n not in self.spaced for n, cell in enumerate(compared) if n)


def _holds_codes(values: Sequence[str], but: float) -> bool:
    """Whether these values are identifiers, paths or numbers, with a share of exceptions."""
    filled = [value.strip() for value in values if value.strip()]
    return len(filled) >= FEWEST and _few(filled, lambda value: not is_code(value), but)


def _few(values: Sequence[str], test: Callable[[str], bool], share: float = _FEW) -> bool:
    """Whether the test is true for at most a share of the values, or for one if there are several."""
    allowed = share * len(values)
    if share and len(values) >= _ONE_IN:
        allowed = max(allowed, 1.0)
    return sum(map(test, values)) <= allowed
