"""``medvlp filter``: what report filters find in reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medvlp_reports.commands.report_files import Reading, check_output, counted, reports_package, run_on_reports
from medvlp_toolkit.cli.plugin_options import make_plugin
from medvlp_toolkit.data.contracts import CountsMissing

if TYPE_CHECKING:
    from medvlp_toolkit.data.records import Finding, Report

_AT_ONCE = 256  # reports


def filter_reports(
    reports: Annotated[
        Path,
        typer.Argument(
            metavar="REPORTS", help="A .txt, .csv, .tsv, .xlsx, .jsonl, .xml (Open-i), .tgz, or a folder (MIMIC-CXR's)."
        ),
    ],
    out: Annotated[Path, typer.Option(help="JSON lines to write: one report a line, with its findings.")],
    name: Annotated[str, typer.Option("--filter", help="A report filter, see `medvlp plugins report_filters`.")],
    option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="An argument of the filter, as YAML; repeatable.")
    ] = None,
    id_column: Annotated[
        str | None, typer.Option(help="Of a table: its id column; by itself study_id, accession, uid or id.")
    ] = None,
    text_column: Annotated[
        str | None, typer.Option(help="Of a table: its text column; by itself report, text or findings + impression.")
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Of a table, such as cp1251 or gb18030; by itself UTF-8, UTF-16 or Windows-1252.")
    ] = None,
    max_rejected: Annotated[int | None, typer.Option(help="Fail when more reports are left out than this.")] = None,
) -> None:
    """Run a report filter over reports and write what it finds.

    Reports that cannot be read are counted, and listed in rejected.csv beside the output.

    Exit status: 0 done, 1 no report could be read or more than --max-rejected are left out, 2 a mistake in the call.
    """
    with reports_package():
        from medvlp_reports.io import ReportReader, write_findings
    check_output(out, reports)
    report_filter = make_plugin("report_filters", name, option or ())
    reader = ReportReader(reports, id_column=id_column, text_column=text_column, encoding=encoding)
    tally: Counter[str] = Counter()
    reading = Reading(report_filter)

    def work() -> str:
        reports = reading.watched(counted(reader, "filtering", max_rejected))
        lines = _filtered(reports, report_filter, name)
        count = write_findings(out, _tallied(lines, tally, reading))
        kinds = ", ".join(f"{tally[kind]:,} {kind}" for kind in ("present", "absent", "uncertain") if tally[kind])
        told = f"{out}: {count:,} reports, {tally['findings']:,} findings in {tally['reports']:,} of them"
        missing = report_filter.missing if isinstance(report_filter, CountsMissing) else 0
        unknown = f"\nunknown to the filter: {missing:,}" if missing else ""
        return told + (f" ({kinds})" if kinds else "") + f"\n{reading}" + unknown

    run_on_reports(reader, out, max_rejected, work)


def _filtered(reports: Iterable[Report], report_filter: Any, name: str) -> Iterator[tuple[Report, list[Finding]]]:
    waiting = iter(reports)
    while batch := list(islice(waiting, _AT_ONCE)):
        found = report_filter(batch)
        if len(found) != len(batch):
            raise ValueError(f"report filter '{name}' gave {len(found)} lists of findings for {len(batch)} reports")
        yield from zip(batch, found, strict=True)


def _tallied(
    lines: Iterable[tuple[Report, list[Finding]]], tally: Counter[str], reading: Reading
) -> Iterator[tuple[Report, list[Finding]]]:
    for report, findings in lines:
        reading.found(len(findings))
        tally["reports"] += bool(findings)
        tally["findings"] += len(findings)
        tally.update(str(finding.presence) for finding in findings if finding.presence is not None)
        yield report, findings
