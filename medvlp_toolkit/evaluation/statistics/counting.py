"""Which images and patients count towards a figure."""

from __future__ import annotations

from collections.abc import Sequence

UNKNOWN = -1


#: A label with fewer images that show it, or fewer that do not, is marked: its figures are unreliable.
FEW = 10


def clusters(patient_id: Sequence[str | None] | None, rows: int) -> list[object] | None:
    if patient_id is None:
        return None
    if len(patient_id) != rows:
        raise ValueError(f"{len(patient_id)} patient ids for {rows} rows of scores")
    return [f"row\0{row}" if patient is None else patient for row, patient in enumerate(patient_id)]
