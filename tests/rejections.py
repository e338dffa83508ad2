"""Reads what a prepared store left out."""

from __future__ import annotations

import csv
from pathlib import Path

from medvlp_toolkit.data.store.rejected import Reason, Rejected


def read_rejected(path: Path) -> list[Rejected]:
    """The lines of a ``rejected.csv``."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Rejected(row["study_id"], row["path"], Reason(row["reason"]), row["detail"]) for row in csv.DictReader(file)
        ]
