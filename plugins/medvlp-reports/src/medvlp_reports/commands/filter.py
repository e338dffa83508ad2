"""``medvlp filter``: runs report filters on reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medvlp_reports.commands.report_files import Reading, check_output, counted, reports_package, run_on_reports
from medvlp_toolkit.cli.plugin_options import make_plugin
from medvlp_toolkit.data.contracts import Batched, LanguageAware
from medvlp_toolkit.data.tally import RunningTally

if TYPE_CHECKING:
    from medvlp_reports.io import ReportReader
    from medvlp_toolkit.data.records import Finding, Report

_AT_ONCE = 256  # reports


def filter_reports(
    reports: Annotated[
        Path,
        typer.Argument(
            metavar="REPORTS", help="A .txt, .csv, .tsv, .xlsx, .jsonl, .xml (Open-i), .tgz, or a folder (MIMIC-CXR's)."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="JSON lines to write, one report a line with its findings; of --compare, a CSV of differences."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--filter", help="A report filter, see `medvlp plugins report_filters`.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="An argument of the filter, as YAML; repeatable.")
    ] = None,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="A B", help="Instead: how two filters, or two files of findings, agree on the reports."),
    ] = None,
    option_a: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Of --compare: an argument of A; repeatable.")
    ] = None,
    option_b: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Of --compare: an argument of B; repeatable.")
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
    """Run a report filter on reports and write its findings, or compare two filters.

    Reports that cannot be read are counted, and listed in rejected.csv beside the output.

    Exit status: 0 done; 1 no report could be read, or more than --max-rejected were left out; 2 a mistake in the call.
    """
    with reports_package():
        from medvlp_reports.io import ReportReader, write_findings
    reader = ReportReader(reports, id_column=id_column, text_column=text_column, encoding=encoding)
    if compare is not None:
        _check_call(name is not None or bool(option), "--compare takes no --filter and no --option, but --option-a/-b")
        _compare(reader, out, compare, (option_a or (), option_b or ()), max_rejected)
        return
    _check_call(bool(option_a or option_b), "--option-a and --option-b belong to --compare; give --option")
    if name is None or out is None:
        raise ValueError(f"give {'--filter' if name is None else '--out'}, or compare two filters with --compare A B")
    check_output(out, reports)
    report_filter = make_plugin("report_filters", name, option or ())
    tally: Counter[str] = Counter()
    own = RunningTally(report_filter)
    reading = Reading(report_filter)

    def work() -> str:
        reports = reading.watched(counted(reader, "filtering", max_rejected, own.rate))
        lines = _filtered(reports, report_filter, name)
        language = report_filter.foreign if isinstance(report_filter, LanguageAware) else None
        count = write_findings(out, _tallied(lines, tally, reading), language)
        kinds = ", ".join(f"{tally[kind]:,} {kind}" for kind in ("present", "absent", "uncertain") if tally[kind])
        told = f"{out}: {count:,} reports, {tally['findings']:,} findings in {tally['reports']:,} of them"
        return "\n".join([told + (f" ({kinds})" if kinds else ""), str(reading), *own.lines()])

    run_on_reports(reader, out, max_rejected, work)


def _check_call(wrong: bool, message: str) -> None:
    if wrong:
        raise ValueError(message)


def _compare(
    reader: ReportReader,
    out: Path | None,
    names: tuple[str, str],
    options: tuple[Sequence[str], Sequence[str]],
    max_rejected: int | None,
) -> None:
    from medvlp_reports.commands.compare import Compared, compare

    if out is not None:
        check_output(out, Path(reader.source))
    first, second = (Compared(names[n], options[n], "ab"[n]) for n in (0, 1))

    def rates() -> str:
        return " ".join(rate for side in (first, second) if (rate := side.tally.rate()))

    counted_reports = counted(reader, "comparing", max_rejected, rates)
    run_on_reports(reader, out, max_rejected, lambda: compare(counted_reports, first, second, out))


def _filtered(reports: Iterable[Report], report_filter: Any, name: str) -> Iterator[tuple[Report, list[Finding]]]:
    waiting = iter(reports)
    size = report_filter.batch_size if isinstance(report_filter, Batched) else _AT_ONCE
    while batch := list(islice(waiting, size)):
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
