"""Cells of a table with a point and its interval per model on a common axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medvlp_toolkit.evaluation.report import charts
from medvlp_toolkit.evaluation.report.parts import Cell, ends, figure
from medvlp_toolkit.evaluation.results.tables import interval, number


def bar_cell(
    rows: Sequence[Any],
    key: str,
    digits: int = 3,
    axis: tuple[float, float] = (0.0, 1.0),
    references: Sequence[float | None] = (),
    name: str = "",
    intervals: str = "",
) -> Cell:
    """The figure under ``key`` with its interval, drawn and in numbers; thin marks at ``references``."""
    pairs = [(figure(row, key), ends(row, intervals or f"{key}_interval")) for row in rows]
    if all(value is None for value, _ in pairs):
        return Cell([("–", "")] * len(rows))
    described = f"{name or key} " + ", ".join(number(value, digits) for value, _ in pairs)
    drawn = charts.interval_bar(pairs, *axis, references, described)
    return Cell([(number(value, digits), "") for value, _ in pairs], pairs[0][0], drawn)


def interval_cell(rows: Sequence[Any], key: str, digits: int = 3, explained: str = "") -> Cell:
    """The interval under ``key`` of each model."""
    between = [ends(row, key) for row in rows]
    return Cell([(interval(e, digits), "") for e in between], between[0][0] if between[0] else None, "", explained)
