"""What a page is made of: sections of text, tables and charts. The template lays them out.

A table holds the figures of one or of several models: each cell has a line per model, so that nothing is shown of one
alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal

from medvlp_toolkit.evaluation.results.names import NO_NAMES, Names
from medvlp_toolkit.evaluation.results.names import readable as with_name
from medvlp_toolkit.evaluation.results.results import Results
from medvlp_toolkit.evaluation.results.tables import interval, number

Metrics = Mapping[str, Any]
Line = tuple[str, str]


@dataclass(frozen=True)
class Models:
    """The results that a page is about: one, or two that are compared.

    ``short`` names stand in columns and sentences, ``names`` in legends and headings.
    """

    results: tuple[Results, ...]
    short: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def compared(self) -> bool:
        return len(self.results) > 1

    def metrics(self, *keys: str) -> list[Any]:
        """The part of each model's metrics under ``keys``, an empty mapping where it has none."""
        return [at(result.metrics, *keys, default={}) for result in self.results]


@dataclass(frozen=True, slots=True)
class Column:
    """A column's name, what the name means, and whether numbers or words stand in it."""

    name: str
    kind: Literal["text", "number", "bar"] = "number"
    explained: str = ""
    small: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """A line per model, each with small print behind it; ``order`` sorts the column; ``bar`` is a chart as SVG."""

    lines: Sequence[Line]
    order: float | str | None = None
    bar: str = ""
    explained: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A row's name, with tags and an example beside it; ``kind`` is ``total``, ``faint`` or empty."""

    name: str
    cells: Sequence[Cell]
    kind: str = ""
    tags: Sequence[str] = ()
    example: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under their columns; ``head`` is what the rows' names are of."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    head: str = "Name"
    part: str = "table"

    @property
    def several(self) -> bool:
        """Whether a cell has lines of several models."""
        return any(len(cell.lines) > 1 for row in self.rows for cell in row.cells)


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph; ``kind`` is a class of the style sheet, ``strong`` stands before the text in bold."""

    text: str
    kind: str = ""
    strong: str = ""
    part: str = "text"


@dataclass(frozen=True, slots=True)
class Heading:
    text: str
    part: str = "heading"


@dataclass(frozen=True, slots=True)
class Legend:
    """Which colour is which: the models (none where there is one), or the lines of a chart."""

    lines: Sequence[str] = ()
    part: str = "legend"


@dataclass(frozen=True, slots=True)
class Charts:
    """Figures beside one another: (name, small print, charts as SVG)."""

    figures: Sequence[tuple[str, str, Sequence[str]]]
    part: str = "charts"

    @property
    def width(self) -> str:
        """The class of the style sheet: of charts alone, or two beside one another."""
        return "pairs" if any(len(drawn) > 1 for _, _, drawn in self.figures) else "singles"


@dataclass(frozen=True, slots=True)
class Folded:
    """Parts that are shown when asked for."""

    summary: str
    parts: Sequence[Part]
    part: str = "folded"


Part = Table | Text | Heading | Legend | Charts | Folded


@dataclass(slots=True)
class Section:
    """A section under its heading; ``link`` is its name in the navigation. ``long`` ones fold on a phone."""

    id: str
    link: str
    title: str
    parts: list[Part] = field(default_factory=list)
    long: bool = False


def at(value: Any, *keys: str, default: Any = None) -> Any:
    """The value under nested keys, ``default`` where any of them is missing or null."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return default if value is None else value


def rows_at(value: Any, *keys: str) -> dict[str, Metrics]:
    """The entries under nested keys that are mappings themselves."""
    entries = at(value, *keys, default={})
    return {name: row for name, row in entries.items() if isinstance(row, Mapping)} if isinstance(entries, dict) else {}


def figure(row: Any, key: str) -> float | None:
    """A finite number of a row, None where there is none."""
    value = at(row, key)
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def ends(row: Any, key: str) -> tuple[float, float] | None:
    """An interval of a row, None where there is none."""
    value = at(row, key)
    if not isinstance(value, list | tuple) or len(value) != 2 or not all(isinstance(v, int | float) for v in value):
        return None
    return float(value[0]), float(value[1])


def small_interval(row: Any, key: str, digits: int = 2) -> str:
    """The interval of the figure under ``key``, as small print."""
    return interval(ends(row, f"{key}_interval"), digits)


def level_of(value: Any) -> str:
    """``95 % CI``, from the level that a part of the metrics names anywhere within; 95 % where it names none."""
    return f"{100 * next(_levels(value), 0.95):g} % CI"


def _levels(value: Any) -> Iterator[float]:
    if isinstance(value, Mapping):
        if isinstance(value.get("level"), int | float):
            yield float(value["level"])
        for part in value.values():
            yield from _levels(part)


def union(parts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names in any of the parts, in the order in which they are met."""
    return list(dict.fromkeys(name for part in parts for name in part))


def words(texts: Sequence[str], order: float | str | None = None) -> Cell:
    """A cell of words, once where every model has the same."""
    kept = [texts[0]] if len(set(texts)) == 1 else texts
    return Cell([(text, "") for text in kept], texts[0] if order is None else order)


def numbers(
    rows: Sequence[Any],
    key: str,
    digits: int = 3,
    small: Callable[[Any], str] | None = None,
    explained: str = "",
    write: Callable[[float | None, int], str] = number,
) -> Cell:
    """A figure of each model, with small print such as its interval."""
    values = [figure(row, key) for row in rows]
    lines = [
        (write(value, digits), small(row) if small is not None and value is not None else "")
        for row, value in zip(rows, values, strict=True)
    ]
    return Cell(lines, values[0], explained=explained)


def count(value: Any) -> str:
    """A whole number with separators; an en dash where there is none."""
    return f"{value:,}" if isinstance(value, int) else "–"


def counts(rows: Sequence[Any], *keys: str) -> Cell:
    """Counts such as ``12 / 120``, once where every model has the same."""
    return words([" / ".join(count(at(row, key)) for key in keys) for row in rows], figure(rows[0], keys[0]))


_names: ContextVar[Names] = ContextVar("names", default=NO_NAMES)


@contextmanager
def showing(names: Names) -> Iterator[None]:
    """Within it, :func:`readable` shows these names."""
    token = _names.set(names)
    try:
        yield
    finally:
        _names.reset(token)


def readable(name: object) -> str:
    """A label or id in readable form (:func:`~medvlp_toolkit.evaluation.results.names.readable`)."""
    return with_name(str(name), _names.get())


def significant(value: float | None, digits: int = 3) -> str:
    """A threshold or score to its significant digits: 0.000123, and 0.99987 where fewer would read as 1."""
    if value is None or not math.isfinite(value):
        return "–"
    text = _to_digits(value, abs(value), digits)
    return _to_digits(value, 1 - value, digits - 1) if value < 1 <= float(text) else text


def _to_digits(value: float, size: float, digits: int) -> str:
    """The value with as many decimals as ``digits`` significant ones of ``size`` need."""
    decimals = digits - 1 - math.floor(math.log10(size)) if size else digits
    return f"{value:.{digits - 1}e}" if decimals > 8 else f"{value:.{max(decimals, 0)}f}"


def signed(value: float | None, digits: int = 3) -> str:
    """A difference with its sign; no sign if it rounds to zero."""
    text = number(value, digits)
    if value is None or text == "–":
        return "–"
    if float(text) == 0:
        return text.lstrip("-")
    return f"−{text[1:]}" if value < 0 else f"+{text}"
