"""What the file-based data sources share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medvlp_toolkit.data.records import Study
from medvlp_toolkit.data.rejected import Reason, Rejected


class FileSource:
    """A data source over files. ``rejected`` holds the records of the last pass that are no study."""

    def __init__(self) -> None:
        self.rejected: list[Rejected] = []

    def __iter__(self) -> Iterator[Study]:
        self.rejected.clear()
        return self.studies()

    def studies(self) -> Iterator[Study]:
        raise NotImplementedError

    def reject(self, study_id: str, path: Path | str, detail: str) -> None:
        self.rejected.append(Rejected(study_id, str(path), Reason.MALFORMED, detail))

    def reject_row(self, path: Path | str, line: int) -> None:
        """A table row that has another number of fields than the header."""
        self.reject("", path, f"line {line} does not have as many fields as the header")


def existing(path: Path | str, what: str) -> Path:
    """The path, once it is sure that it is there; raises FileNotFoundError."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: {what} expected here does not exist")
    return path
