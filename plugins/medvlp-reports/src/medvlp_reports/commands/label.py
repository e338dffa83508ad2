"""``medvlp label``: converts reports to a table of labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from medvlp_reports.commands.report_files import Reading, check_output, counted, reports_package, run_on_reports
from medvlp_toolkit.cli.output import console
from medvlp_toolkit.cli.plugin_options import make_plugin

if TYPE_CHECKING:
    from medvlp_reports.io import ReportReader
    from medvlp_reports.labels import LabelledReport
    from medvlp_toolkit.data.contracts import LanguageAware
    from medvlp_toolkit.data.records import Report


def label_table(
    reports: Annotated[
        Path,
        typer.Argument(
            metavar="REPORTS", help="A .txt, .csv, .tsv, .xlsx, .jsonl, .xml (Open-i), .tgz, or a folder (MIMIC-CXR's)."
        ),
    ],
    scheme: Annotated[str, typer.Option(help="nih14, chexpert14, medklip75, or a YAML file of the same form.")],
    out: Annotated[Path, typer.Option(help="CSV to write: the id, then one column a label.")],
    id_column: Annotated[
        str | None, typer.Option(help="Of a table: its id column; by itself study_id, accession, uid or id.")
    ] = None,
    text_column: Annotated[
        str | None, typer.Option(help="Of a table: its text column; by itself report, text or findings + impression.")
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Of a table, such as cp1251 or gb18030; by itself UTF-8, UTF-16 or Windows-1252.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="An argument of `rules`, as YAML; repeatable.")
    ] = None,
    max_rejected: Annotated[int | None, typer.Option(help="Fail when more reports are left out than this.")] = None,
) -> None:
    """Label reports with the `rules` filter: 1 present, 0 absent, -1 uncertain, blank not mentioned.

    Reports that cannot be read are counted, and listed in rejected.csv beside the output.

    Exit status: 0 done; 1 no report could be read, or more than --max-rejected were left out; 2 a mistake in the call.
    """
    with reports_package():
        from medvlp_reports.io import ReportReader, write_labels
        from medvlp_reports.labels import label_reports, load_scheme
    check_output(out, reports)
    rules = make_plugin("report_filters", "medvlp-reports:rules", option or ())
    chosen = load_scheme(scheme, rules.lexicon)
    reader = ReportReader(reports, id_column=id_column, text_column=text_column, encoding=encoding)
    tally: Counter[tuple[str, int]] = Counter()
    reading = Reading(rules)

    def work() -> str:
        reports = reading.watched(_in_its_language(counted(reader, "labelling", max_rejected), reader, rules))
        labelled = label_reports(reports, chosen, rules)
        count = write_labels(out, _tallied(labelled, tally, reading), chosen.labels, reader)
        _print_tally(chosen.labels, tally)
        return f"{out}: {count:,} reports, {len(chosen.labels)} labels ({chosen.name})\n{reading}"

    run_on_reports(reader, out, max_rejected, work)


def _in_its_language(reports: Iterable[Report], reader: ReportReader, rules: LanguageAware) -> Iterator[Report]:
    """The reports in a supported language; the others are listed as left out."""
    for report in reports:
        language = rules.foreign(report)
        if language is not None:
            reader.leave_out(f"in {language}, which the lexicon does not read")
        else:
            yield report


def _tallied(
    rows: Iterable[LabelledReport], tally: Counter[tuple[str, int]], reading: Reading
) -> Iterator[LabelledReport]:
    for row in rows:
        reading.found(row.statements)
        tally.update((label, value) for label, value in row.labels.items() if value is not None)
        yield row


def _print_tally(labels: Iterable[str], tally: Counter[tuple[str, int]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("label", no_wrap=True)
    for heading in ("present", "absent", "uncertain"):
        table.add_column(heading, justify="right")
    for label in labels:
        values = [tally[label, value] for value in (1, 0, -1)]
        if any(values):
            table.add_row(escape(label), *(f"{value:,}" for value in values))
    if table.row_count:
        console().print(table)
