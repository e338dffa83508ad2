"""Verdicts in words: what an interval says of a figure beside the one that guessing gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medvlp_toolkit.evaluation.report.parts import Cell, at, ends, figure

UNDECIDED = "no interval, no verdict"
UNKNOWN = "nothing to compare with"
TOO_FEW = "too few to judge"
EXPLAINED = (
    "The verdict compares the interval with what guessing gives: “not better” means that the interval holds it, so "
    "that these images do not show a difference."
)


def verdict(row: Any, key: str, chance: float | None, than: str = "guessing") -> str:
    """``better than guessing``, ``not better than guessing`` or ``worse than guessing``.

    Args:
        row: holds the figure under ``key`` and its interval under ``<key>_interval`` (or ``interval``). One marked
            ``few`` gives no verdict: a handful of images bounds no interval that could be relied on.
        chance: what guessing gives.
        than: names it.
    """
    value = figure(row, key)
    if value is None or at(row, "few") is True or figure(row, "n") == 0:
        return TOO_FEW
    between = ends(row, f"{key}_interval") or ends(row, "interval")
    if chance is None:
        return UNKNOWN
    if between is None:
        return UNDECIDED
    if between[0] > chance:
        return f"better than {than}"
    return f"worse than {than}" if between[1] < chance else f"not better than {than}"


def mean_of(block: Any) -> dict[str, Any]:
    """The mean over labels, marked ``few`` where most of them rest on a handful of images."""
    mean = at(block, "macro", default={})
    few, labels = at(block, "few", default=[]), figure(mean, "labels")
    mean = mean if isinstance(mean, Mapping) else {}
    return {**mean, "few": labels is not None and 2 * len(few) > labels}


def tone(text: str) -> str:
    """The class of a verdict's colour."""
    return next((kind for start, kind in _TONES if text.startswith(start)), "")


_TONES = (("better", "good"), ("not better", "bad"), ("worse", "bad"))
#: A sorted column runs from worse to better.
_ORDER = ("worse", "not better", "too few", "no interval", "nothing", "better")


def verdict_cell(texts: Sequence[str]) -> Cell:
    """A column's cell with a verdict per model."""
    order = next((place for place, start in enumerate(_ORDER) if texts[0].startswith(start)), len(_ORDER))
    return Cell([(text, "") for text in texts], order)
