"""Items rejected by a data source or by `prepare`, with reasons: nothing is dropped silently."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Reason(StrEnum):
    """The reasons for rejecting an item, as counted in summaries."""

    MISSING_IMAGE = "missing image"
    UNREADABLE_IMAGE = "unreadable image"
    EMPTY_REPORT = "empty report"
    NO_SECTION = "no section that is read"
    LANGUAGE = "another language"
    NO_FINDINGS = "no findings"
    FILTER_FAILED = "report filter failed"
    DUPLICATE_ID = "duplicate id"
    MALFORMED = "malformed record"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A rejected item. ``detail`` never quotes report text or image headers."""

    study_id: str
    path: str
    reason: Reason
    detail: str = ""


COLUMNS = ("study_id", "path", "reason", "detail")


def write_rejected(path: Path, items: Iterable[Rejected]) -> int:
    """Write ``rejected.csv``, always with a header; returns the number of items."""
    count = 0
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for item in items:
            writer.writerow((item.study_id, item.path, item.reason.value, item.detail))
            count += 1
    return count
