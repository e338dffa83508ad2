"""``medvlp bench data``: what it says of what it measured. How fast anything is, no test asks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import medvlp_toolkit as mv
from medvlp_bench.generated_graphs import ENTITIES, write_graphs
from medvlp_bench.generated_images import write_jpegs
from medvlp_bench.generated_reports import generated_reports
from medvlp_bench.measurement import Measurement, measure, rates
from medvlp_toolkit.cli.main import app
from medvlp_toolkit.data.records import Report
from medvlp_toolkit.images import read_image

SMALL = [
    "--images",
    "24",
    "--size",
    "16",
    "--batch-size",
    "8",
    "--jpegs",
    "2",
    "--report-count",
    "20",
    "--studies",
    "9",
]


def run(*arguments: object) -> tuple[int, str, str]:
    ended = CliRunner().invoke(app, ["bench", "data", *SMALL, "--repeats", "2", *map(str, arguments)])
    return ended.exit_code, ended.stdout, ended.stderr


def told(*arguments: object, status: int = 0) -> dict[str, Any]:
    ended, shown, said = run(*arguments, "--json")
    assert ended == status, said
    document: dict[str, Any] = json.loads(shown)
    return document


def check(result: dict[str, Any]) -> None:
    assert 0 < result["lowest"] <= result["median"] <= result["highest"]
    assert result["cpu_median"] > 0
    assert result["peak_memory"] > 10
    assert len(result["rates"]) == len(result["cpu_rates"])


def test_reports_and_graphs_are_measured_with_machine_and_versions() -> None:
    document = told("--only", "rules", "--only", "radgraph")
    rules, radgraph = document["measured"]
    for result in (rules, radgraph):
        check(result)
    assert (rules["name"], rules["unit"], rules["count"]) == ("rules", "reports/s", 20)
    assert (radgraph["name"], radgraph["unit"], radgraph["count"]) == ("radgraph", "studies/s", 9)
    assert rules["details"]["findings"] > 40
    assert radgraph["details"]["findings"] > 40
    assert document["failed"] == {}
    machine = document["machine"]
    assert {"processor", "cores", "memory_gib", "load", "load_after", "system", "time"} <= set(machine)
    assert {"python", "medvlp-toolkit", "numpy", "torch"} <= set(machine["versions"])


@pytest.mark.slow
def test_every_part_is_measured_and_shown_in_a_table() -> None:
    status, shown, said = run("--workers", 1)
    assert status == 0, said
    rows = {line.split()[0]: line for line in shown.splitlines() if line.strip()}
    assert {"store", "memory-map", "jpeg", "prepare", "rules", "radgraph"} <= set(rows)
    assert "batches of 8 with labels and draws" in rows["store"]
    assert "JPEG files to 16 × 16 grey" in rows["jpeg"]
    assert " of 1 × one core's " in rows["prepare:"]


def test_a_store_of_ones_own_is_measured(tmp_path: Path) -> None:
    from medvlp_bench.generated_images import write_store

    write_store(tmp_path / "store", 10, 16)
    document = told("--only", "memory-map", "--store", tmp_path / "store")
    [result] = document["measured"]
    check(result)
    assert result["count"] == 10
    assert result["details"]["image_shape"] == [1, 16, 16]


def test_what_cannot_be_measured_is_said_and_the_rest_goes_on(tmp_path: Path) -> None:
    (tmp_path / "reports.csv").write_text("a,b\n1,2\n")
    document = told("--only", "rules", "--only", "radgraph", "--reports", tmp_path / "reports.csv", status=1)
    assert [result["name"] for result in document["measured"]] == ["radgraph"]
    assert "no id column" in document["failed"]["rules"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "speed"], "--only speed: the parts are store, memory-map, jpeg, prepare, rules, radgraph"),
        (["--store", "nowhere"], "nowhere: no such file or folder"),
        (["--reports", "nowhere.csv"], "nowhere.csv: no such file or folder"),
    ],
)
def test_a_mistake_in_the_call_is_one_line(arguments: list[str], message: str) -> None:
    status, shown, said = run(*arguments)
    assert (status, shown, said) == (2, "", f"medvlp: {message}\n")


def test_the_median_and_the_spread_are_of_the_repeats_without_the_warm_up() -> None:
    calls: list[int] = []
    clock, processor = measure(lambda: calls.append(1), repeats=3, warm_up=2)
    assert (len(calls), len(clock), len(processor)) == (5, 3, 3)
    result = Measurement("a", "b", "c", 10, rates(10, [1.0, 4.0, 2.0]), [1.0, 2.0, 9.0], 5.0).as_json()
    assert (result["lowest"], result["median"], result["highest"]) == (2.5, 5.0, 10.0)
    assert result["cpu_median"] == 2.0


def test_generated_reports_are_the_same_each_time_and_hardly_repeat() -> None:
    reports = list(generated_reports(200))
    assert reports == list(generated_reports(200))
    assert len({report.id for report in reports}) == 200
    assert len({report.text for report in reports}) == 200
    found = mv.report_filters.rules()(reports)
    assert sum(map(len, found)) / 200 > 4
    assert len({finding.entity for findings in found for finding in findings}) > 15


def test_generated_graphs_have_the_form_that_is_read(tmp_path: Path) -> None:
    size = write_graphs(tmp_path / "graphs.json", 30)
    assert size == (tmp_path / "graphs.json").stat().st_size
    graphs = json.loads((tmp_path / "graphs.json").read_text())
    assert len(graphs) == 30
    for study in graphs.values():
        assert len(study["entities"]) == ENTITIES
        words = study["text"].split()
        for entity in study["entities"].values():
            assert " ".join(words[entity["start_ix"] : entity["end_ix"] + 1]) == entity["tokens"]
            assert all(target in study["entities"] for _, target in entity["relations"])
    report_filter = mv.report_filters.radgraph(path=tmp_path / "graphs.json")
    found = report_filter([Report(str(50_000_000 + number), "") for number in range(30)])
    assert report_filter.missing == 0
    assert all(len(findings) > 4 for findings in found)
    assert sum(finding.position not in (None, "unspecified") for findings in found for finding in findings) > 100


def test_generated_files_are_pictures_of_the_size_asked_for(tmp_path: Path) -> None:
    paths = write_jpegs(tmp_path / "files", 10, size=(96, 80))
    assert len({path.read_bytes() for path in paths}) == 8
    assert read_image(paths[9]).shape == (1, 96, 80)
    assert read_image(paths[0]).std() > 10
