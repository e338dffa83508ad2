"""Speed of extracting findings from reports, on one core."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import medvlp_toolkit as mv
from medvlp_bench.measurement import Measurement, measure, one_thread, peak_memory, rates
from medvlp_toolkit.data.records import Report

_AT_ONCE = 256


def filter_reports(options: str) -> dict[str, Any]:
    """``rules`` on reports, each time with a new filter without cached words."""
    given = json.loads(options)
    one_thread()
    reports, source = _reports(given)
    findings = 0

    def run(report_filter: Any) -> None:
        nonlocal findings
        findings = 0
        for start in range(0, len(reports), _AT_ONCE):
            findings += sum(map(len, report_filter(reports[start : start + _AT_ONCE])))

    clock, processor = [], []
    for number in range(given["repeats"] + 1):
        new = mv.report_filters.rules()
        new([])
        one, one_processor = measure(partial(run, new), 1, warm_up=0)
        if number:  # the first warms up
            clock += one
            processor += one_processor
    return Measurement(
        "rules",
        f"`rules` over {source} reports, none seen before",
        "reports/s",
        len(reports),
        rates(len(reports), clock),
        rates(len(reports), processor),
        peak_memory(),
        {"findings": findings, "characters": sum(len(report.text) for report in reports)},
    ).as_json()


def _reports(given: dict[str, Any]) -> tuple[list[Report], str]:
    if given["reports"] is None:
        from medvlp_bench.generated_reports import generated_reports

        return list(generated_reports(given["count"])), "generated"
    from medvlp_reports.io import ReportReader

    return list(ReportReader(given["reports"])), "given"


def make_graphs(options: str) -> int:
    """Write a file of RadGraph's form; ``options``: path, studies. Returns its bytes."""
    from medvlp_bench.generated_graphs import write_graphs

    given = json.loads(options)
    return write_graphs(Path(given["path"]), given["studies"])


def read_graphs(options: str) -> dict[str, Any]:
    """``radgraph``: a file of RadGraph's form, read and every study's findings looked up."""
    given = json.loads(options)
    one_thread()
    studies, findings = int(given["studies"]), 0
    reading: list[float] = []

    def run() -> None:
        nonlocal findings
        findings = 0
        report_filter = mv.report_filters.radgraph(path=given["path"])
        started = time.perf_counter()
        for start in range(0, studies, _AT_ONCE):
            # As generated_graphs numbers them.
            reports = [Report(str(50_000_000 + n), "") for n in range(start, min(start + _AT_ONCE, studies))]
            findings += sum(map(len, report_filter(reports)))
            if start == 0:
                reading.append(time.perf_counter() - started)

    clock, processor = measure(run, given["repeats"], warm_up=0)
    return Measurement(
        "radgraph",
        "RadGraph's JSON to findings, 25 entities a study",
        "studies/s",
        studies,
        rates(studies, clock),
        rates(studies, processor),
        peak_memory(),
        {
            "file_bytes": Path(given["path"]).stat().st_size,
            "findings": findings,
            "seconds": clock,
            "seconds_reading": reading,
        },
    ).as_json()
