"""What the file-based data sources share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medvlp_toolkit.data.records import Study
from medvlp_toolkit.data.store.rejected import Reason, Rejected


class FileSource:
    """A data source over files.

    ``rejected`` holds the records of the latest pass that are no study. A source has no fingerprint of its own:
    its records say everything.
    """

    fingerprint = ""

    def __init__(self) -> None:
        self.rejected: list[Rejected] = []

    def __iter__(self) -> Iterator[Study]:
        self.rejected = []
        return self.studies()

    def studies(self) -> Iterator[Study]:
        """A new pass over the records."""
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


def one_of(folder: Path, *names: str) -> Path:
    """The first of these files (shell patterns) in a folder; raises FileNotFoundError naming them all."""
    found = first_of(folder, *names)
    if found is None:
        raise FileNotFoundError(f"{folder}: has no {' or '.join(names)}")
    return found


def first_of(folder: Path, *names: str) -> Path | None:
    """The first of these files (shell patterns) in a folder, or None."""
    for name in names:
        found = sorted(folder.glob(name))
        if found:
            return found[0]
    return None


def chosen(given: str, allowed: tuple[str, ...], what: str) -> str:
    """An option's value, checked; raises ValueError naming what is allowed."""
    if given not in allowed:
        raise ValueError(f"{what} is {' or '.join(allowed)}, not {given!r}")
    return given
