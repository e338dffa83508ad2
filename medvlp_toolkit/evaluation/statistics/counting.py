"""The images and patients that count towards a metric."""

from __future__ import annotations

from collections.abc import Sequence

UNKNOWN = -1


#: A label with fewer images present or absent is marked, because its metrics are unreliable.
FEW = 10


def is_counted(present: int, absent: int, min_positives: int = 1) -> bool:
    """Whether a label enters a mean of AUCs: ``min_positives`` (1 or more) present, and as many absent."""
    return min(present, absent) >= max(min_positives, 1)


def clusters(patient_id: Sequence[str | None] | None, rows: int) -> list[object] | None:
    if patient_id is None:
        return None
    if len(patient_id) != rows:
        raise ValueError(f"{len(patient_id)} patient ids for {rows} rows of scores")
    return [f"row\0{row}" if patient is None else patient for row, patient in enumerate(patient_id)]
