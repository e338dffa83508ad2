"""Converts fields of published tables to values of records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from medvlp_toolkit.data.records import Box
from medvlp_toolkit.tables.cells import filled


def text_of(value: Any, empty: bool = False) -> str:
    """A text or number of a JSON file as text.

    Raises ValueError for anything else, for true and false, and for a blank text unless ``empty`` allows it.
    """
    if isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool)):
        text = str(value).strip()
        if text or empty:
            return text
    raise ValueError("not a text, or a blank one")


def text_or_none(value: Any) -> str | None:
    """Like `text_of`; None for a missing value or one that is not text."""
    try:
        return text_of(value)
    except ValueError:
        return None


def label_value(name: str, value: str) -> int:
    """The value 1, 0 or -1 of a field; raises ValueError for anything else."""
    try:
        number = float(value)
    except ValueError:
        number = 2.0
    if number not in (1, 0, -1):
        raise ValueError(f"label {name!r} is 1, 0, -1 or empty")
    return int(number)


def is_label(value: str | None) -> bool:
    """Whether a field is 1, 0, -1 or empty."""
    try:
        label_value("", value or "0")
    except ValueError:
        return not filled(value)
    return True


def labels_of(row: Mapping[str, str], names: Iterable[str]) -> dict[str, int]:
    """Label columns; an empty field is no label."""
    return {name: label_value(name, row[name]) for name in names if filled(row.get(name))}


def age_of(value: str) -> float | None:
    """An age in years, from a number or DICOM's form (``058Y``, ``006M``); None for anything else."""
    units = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
    text = value.strip().upper()
    scale = units.get(text[-1:])
    try:
        return float(text) if scale is None else float(text[:-1]) * scale
    except ValueError:
        return None


def numbers(values: Iterable[str], what: str) -> list[float]:
    """Fields as numbers; raises ValueError with their description ``what``."""
    try:
        return [float(value) for value in values]
    except ValueError:
        raise ValueError(f"{what} that are not numbers") from None


def pixel_box(label: str, values: Iterable[str], width: float, height: float) -> Box:
    """A box of x, y, width, height in pixels as fractions of the image, clipped at its edges."""
    x, y, box_width, box_height = numbers(values, "box coordinates")
    left, top = max(x, 0.0) / width, max(y, 0.0) / height
    right, bottom = min(x + box_width, width) / width, min(y + box_height, height) / height
    return Box(label, left, top, max(right - left, 0.0), max(bottom - top, 0.0))


def metadata_value(name: str, value: str) -> Any:
    """A metadata field: ages are numbers, an empty field is None."""
    if not filled(value):
        return None
    return age_of(value) if name == "age" else value
