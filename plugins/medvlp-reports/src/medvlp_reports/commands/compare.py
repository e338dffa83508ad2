"""``medvlp filter REPORTS --compare A B``: how two report filters agree on the same reports."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from medvlp_reports.comparison import Comparison, Difference, Said, agreement, kappa, strongest
from medvlp_reports.io import read_findings, replacing
from medvlp_toolkit.cli.output import console
from medvlp_toolkit.cli.plugin_options import make_plugin
from medvlp_toolkit.data.contracts import Batched
from medvlp_toolkit.data.records import Finding, Report
from medvlp_toolkit.data.tally import RunningTally

_AT_ONCE = 256  # reports
_COLUMNS = ("id", "entity", "differs_in", "first", "second", "first_position", "second_position",
            "first_span", "second_span", "first_quote", "second_quote")  # fmt: skip
_MOST_ENTITIES = 25


class WrittenFindings:
    """The findings written by an earlier run, by report id."""

    positions: tuple[str, ...] = ()

    def __init__(self, path: str) -> None:
        self._findings = read_findings(path)
        self.entities = sorted({finding.entity for found in self._findings.values() for finding in found})
        self.missing = 0

    def __call__(self, reports: Sequence[Report]) -> list[list[Finding]]:
        self.missing += sum(report.id not in self._findings for report in reports)
        return [self._findings.get(report.id, []) for report in reports]


class Compared:
    """One of the two: a filter by name, or a .jsonl of findings."""

    def __init__(self, name: str, options: Sequence[str], side: str) -> None:
        self.name, self.side = name, side
        if name.lower().endswith(".jsonl"):
            if options:
                raise ValueError(f"--option-{side}: {name} is a file of findings, which has no options")
            self.filter: Any = WrittenFindings(name)
        else:
            self.filter = make_plugin("report_filters", name, options)
        self.tally = RunningTally(self.filter)

    def __call__(self, reports: Sequence[Report]) -> list[list[Finding]]:
        found: list[list[Finding]] = self.filter(reports)
        if len(found) != len(reports):
            raise ValueError(f"report filter '{self.name}' gave {len(found)} lists for {len(reports)} reports")
        return found

    def lines(self) -> list[str]:
        """Its counts, one per line."""
        missing = getattr(self.filter, "missing", 0) if isinstance(self.filter, WrittenFindings) else 0
        lost = [f"reports that {self.name} lacks: {missing:,}"] if missing else []
        return [f"{self.side}, {line}" for line in [*self.tally.lines(), *lost]]


def compare(reports: Iterable[Report], first: Compared, second: Compared, out: Path | None) -> str:
    """Run both on the reports, print their agreement and write the differences; returns the printed lines."""
    comparison = _comparison(first.filter, second.filter)
    written = 0
    differences = _differences(reports, first, second, comparison)
    if out is None:
        written = sum(1 for _ in differences)
    else:
        with replacing(out) as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(_COLUMNS)
            for difference in differences:
                writer.writerow(_row(difference))
                written += 1
    _print(comparison, first, second)
    place = f"{out}: " if out is not None else ""
    return "\n".join([*_told(comparison), f"{place}differences: {written:,}", *first.lines(), *second.lines()])


def _comparison(first: Any, second: Any) -> Comparison:
    """Compare the entities that both have; a file of findings has those of the filter."""
    written = [isinstance(side, WrittenFindings) for side in (first, second)]
    if all(written):
        return Comparison(tuple(sorted({*first.entities, *second.entities})))
    if any(written):
        return Comparison(tuple((second if written[0] else first).entities))
    return Comparison.of(first.entities, second.entities)


def _differences(
    reports: Iterable[Report], first: Compared, second: Compared, comparison: Comparison
) -> Iterator[Difference]:
    waiting = iter(reports)
    sizes = [side.filter.batch_size for side in (first, second) if isinstance(side.filter, Batched)]
    while batch := list(islice(waiting, min([*sizes, _AT_ONCE]))):
        for report, one, other in zip(batch, first(batch), second(batch), strict=True):
            yield from comparison.add(report, one, other)


def _row(difference: Difference) -> list[str]:
    sides = (difference.first, difference.second)
    return [
        difference.report.id,
        difference.entity,
        difference.of,
        *(_word(strongest(findings)) for findings in sides),
        *("; ".join(dict.fromkeys(finding.position or "" for finding in findings)) for findings in sides),
        *("; ".join(f"{f.span[0]}-{f.span[1]}" for f in findings if f.span) for findings in sides),
        *("; ".join(difference.report.text[slice(*f.span)] for f in findings if f.span) for findings in sides),
    ]


def _told(comparison: Comparison) -> list[str]:
    table = comparison.table()
    lines = [
        f"{comparison.reports:,} reports, entities {len(comparison.entities)}: agreement {agreement(table):.3f}, "
        f"{_number(agreement(table, mentioned=True))} of what either mentions, kappa {_number(kappa(table))}"
    ]
    if comparison.both_present:
        share = comparison.same_place / comparison.both_present
        lines.append(
            f"same place: {comparison.same_place:,} of {comparison.both_present:,} that both find present ({share:.3f})"
        )
    if comparison.one_sided:
        shown = ", ".join(comparison.one_sided[:5]) + (", …" if len(comparison.one_sided) > 5 else "")
        lines.append(f"not compared, because one of the two does not know them: {shown}")
    return lines


def _print(comparison: Comparison, first: Compared, second: Compared) -> None:
    names = (first.name, second.name) if first.name != second.name else (f"{first.name} a", f"{second.name} b")
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("entity", no_wrap=True)
    headings = ("both", f"only {escape(names[0])}", f"only {escape(names[1])}", "differ", "agree", "kappa")
    for heading in headings:
        table.add_column(heading, justify="right")
    counted = {entity: comparison.table(entity) for entity in comparison.entities}
    mentioned = [entity for entity, counts in counted.items() if counts.sum() > counts[0, 0]]
    mentioned.sort(key=lambda entity: int(counted[entity].sum() - counted[entity].trace()), reverse=True)
    for entity in mentioned[:_MOST_ENTITIES]:
        counts = counted[entity]
        both, agreed = int(counts[1:, 1:].sum()), int(counts.trace() - counts[0, 0])
        table.add_row(
            escape(entity),
            f"{both:,}",
            f"{int(counts[1:, 0].sum()):,}",
            f"{int(counts[0, 1:].sum()):,}",
            f"{both - agreed:,}",
            _number(agreement(counts, mentioned=True)),
            _number(kappa(counts)),
        )
    if table.row_count:
        console().print(table)
    if len(mentioned) > _MOST_ENTITIES:
        console().print(f"… and {len(mentioned) - _MOST_ENTITIES} entities on which they differ less")


def _word(said: Said) -> str:
    return "" if said is Said.NOTHING else said.name.lower()


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"
