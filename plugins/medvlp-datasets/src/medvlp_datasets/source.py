"""The base of data sources that read files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from medvlp_datasets.lookup import Lookup
from medvlp_toolkit.data.records import Study
from medvlp_toolkit.data.store.rejected import Reason, Rejected
from medvlp_toolkit.tables.table import Table


class FileSource:
    """A data source over files.

    ``rejected`` contains the records of the latest pass that are not studies. A source has no fingerprint, because its
    records determine everything.
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

    def reject(self, study_id: str, path: Path | str, detail: str, reason: Reason = Reason.MALFORMED) -> None:
        self.rejected.append(Rejected(study_id, str(path), reason, detail))

    def rows(
        self, path: Path | str, required: Sequence[str] = (), names: Sequence[str] = ()
    ) -> Iterator[tuple[int, dict[str, str]]]:
        """Line number and values of the rows of a table; unusable rows are rejected.

        ``required`` columns must be in the first line, whose names are then replaced by ``names``. Raises
        FileNotFoundError, and ValueError for a missing column or a damaged file.
        """
        table = Table(path, expected=required)
        table.require(*required)
        table.columns = list(names) or table.columns
        return self.good_rows(table)

    def good_rows(self, table: Table) -> Iterator[tuple[int, dict[str, str]]]:
        """Like `rows`, for an open table."""
        for row in table:
            if row.values is None:
                self.reject("", table.path, f"{row.place}: {row.problem}")
            else:
                yield row.line, {name: value.strip() for name, value in row.values.items()}

    def lookup(self, path: Path | str | None, *key: str, required: Sequence[str] = ()) -> Lookup:
        """A table's rows by the values of its key columns, joined by ``/``; empty if there is no table."""
        if path is None:
            return Lookup(())
        rows = self.rows(path, (*key, *required))
        return Lookup(("/".join(row[name] for name in key), row) for _, row in rows)


def existing(path: Path | str, what: str) -> Path:
    """The path; raises FileNotFoundError if it does not exist."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: {what} does not exist")
    return path


def one_of(folder: Path, *names: str) -> Path:
    """The first of these files (shell patterns) in a folder; raises FileNotFoundError listing them all."""
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
    """A valid option value; raises ValueError listing the allowed ones."""
    if given not in allowed:
        raise ValueError(f"{what} is {' or '.join(allowed)}, not {given!r}")
    return given
