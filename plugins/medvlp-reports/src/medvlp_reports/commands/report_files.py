"""Shared by commands that read reports: input and output files, rejected reports, and the summary."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from medvlp_toolkit.data.sections import read_sections
from medvlp_toolkit.errors import USER_ERROR
from medvlp_toolkit.progress import Progress
from medvlp_toolkit.registry import PluginNotFoundError

if TYPE_CHECKING:
    from medvlp_reports.io import Rejected, ReportReader
    from medvlp_toolkit.data.records import Report

REJECTED_FILE = "rejected.csv"
#: Exit status if nothing could be read, or more was left out than allowed.
FAILED = 1
_MOST_REASONS = 6


class TooManyRejectedError(Exception):
    """More reports were left out than ``--max-rejected`` allows."""


@contextmanager
def reports_package() -> Iterator[None]:
    """Context for importing the package that reads report files; an error names the package to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "medvlp_reports":
            raise
        raise PluginNotFoundError("reading reports is part of medvlp-reports: pip install medvlp-reports") from None


def check_output(out: Path, reports: Path) -> None:
    """Check that ``out`` can be written before the work begins; creates its folder.

    Raises ValueError when it is a folder, a device, or the reports themselves.
    """
    if out.exists() and not out.is_file():
        raise ValueError(f"{out} is a {'folder' if out.is_dir() else 'device'}; name a file for --out")
    if reports.exists() and out.exists() and out.samefile(reports):
        raise ValueError(f"{out} is the file of the reports; name another file for --out")
    out.parent.mkdir(parents=True, exist_ok=True)


def counted(
    reader: ReportReader, what: str, max_rejected: int | None, detail: Callable[[], str] | None = None
) -> Iterator[Report]:
    """The reader's reports, with progress, rate and ``detail`` on a terminal.

    Raises TooManyRejectedError as soon as more are left out than ``max_rejected``.
    """
    with Progress(what, None, None, detail) as progress:
        for report in reader:
            _check(reader, max_rejected)
            yield report
            progress.advance()
        _check(reader, max_rejected)


def _check(reader: ReportReader, max_rejected: int | None) -> None:
    if max_rejected is not None and len(reader.rejected) > max_rejected:
        raise TooManyRejectedError


class Reading:
    """Counts the reports without a section that the filter reads, and those without findings.

    ``sections`` and ``headings`` of ``report_filter`` determine what it reads; without ``sections``, everything.
    """

    def __init__(self, report_filter: Any) -> None:
        self._sections = getattr(report_filter, "sections", None)
        self._headings = getattr(report_filter, "headings", None)
        self.unread = 0
        self._empty = 0
        self._without_findings = 0

    def watched(self, reports: Iterable[Report]) -> Iterator[Report]:
        """Pass on the reports, counting them."""
        for report in reports:
            if not report.text.strip():
                self._empty += 1
            elif self._sections is not None and not read_sections(report, self._sections, self._headings):
                self.unread += 1
            yield report

    def found(self, findings: int) -> None:
        """Record the number of findings of a report."""
        self._without_findings += not findings

    def __str__(self) -> str:
        without = self._without_findings - self.unread - self._empty
        return f"no section that is read: {self.unread:,}; no finding: {without:,}"


def run_on_reports(reader: ReportReader, out: Path | None, max_rejected: int | None, work: Callable[[], str]) -> None:
    """Run ``work``, which reads ``reader`` and writes ``out``; write ``rejected.csv`` next to it, print a summary.

    ``work`` returns the summary line; ``out`` None writes nothing. Ends the command with status 1 if no report could be
    read, or more were left out than allowed.
    """
    rejected_file = None if out is None else out.parent / REJECTED_FILE
    try:
        done = work()
    except TooManyRejectedError:
        listed = _list_rejected(rejected_file, reader)
        _fail(
            f"more reports were left out than the {max_rejected} that --max-rejected allows "
            f"({_reasons(reader.rejected)}){listed}" + (f". {out} was not written" if out else "")
        )
    except OSError as error:
        if out is None or error.errno is None or error.filename is not None:  # its message is complete
            raise
        typer.echo(f"medvlp: {out}: cannot be written ({error.strerror or error})", err=True)
        raise typer.Exit(USER_ERROR) from None
    listed = _list_rejected(rejected_file, reader)
    typer.echo(done)
    if reader.empty:
        typer.echo(f"without text: {reader.empty:,}")
    if reader.rejected:
        typer.echo(f"left out: {len(reader.rejected):,} ({_reasons(reader.rejected)}){listed}")
    typer.echo(_account(reader))
    if not reader.read:
        found = f"none of its {len(reader.rejected):,} reports could be read" if reader.rejected else "no report in it"
        _fail(f"{reader.source}: {found}")


def _list_rejected(path: Path | None, reader: ReportReader) -> str:
    """Write the rejected reports, if there is an output folder; returns "; see …"."""
    if path is None:
        return ""
    write_rejected_reports(path, reader.rejected)
    return f"; see {path}"


def write_rejected_reports(path: Path, rejected: Iterable[Rejected]) -> None:
    """One line per rejected report: its place (a file, or file and line) and the reason."""
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("place", "reason"))
        writer.writerows((item.place, item.reason) for item in rejected)


def _account(reader: ReportReader) -> str:
    """The sum of all counts."""
    used = reader.read + reader.repeated
    again = f" ({reader.repeated:,} repeat the report of another)" if reader.repeated else ""
    return f"{reader.unit}: {reader.rows:,} read = {used:,} used{again} + {len(reader.rejected):,} rejected"


def _reasons(rejected: Iterable[Rejected]) -> str:
    counts = Counter(item.reason for item in rejected).most_common()
    told = [f"{count:,} × {reason}" for reason, count in counts[:_MOST_REASONS]]
    return ", ".join([*told, "…"] if len(counts) > _MOST_REASONS else told)


def _fail(message: str) -> None:
    typer.echo(f"medvlp: {message}", err=True)
    raise typer.Exit(FAILED)
