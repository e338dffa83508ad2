"""Consoles where there is no terminal, and log lines where nobody has set up logging."""

from __future__ import annotations

import subprocess
import sys

import pytest
from rich.table import Table

from medvlp_toolkit.evaluation.results.tables import print_summary
from medvlp_toolkit.terminal import console

METRICS = {
    "zero_shot": {
        "labels": {
            "tail_abnorm_obs": {
                "n": 1234, "positives": 321, "auc": 0.876, "auc_interval": [0.812, 0.934], "f1_threshold_on_test": 0.5,
            }
        },
        "macro": {"labels": 1, "auc": 0.876, "auc_interval": [0.812, 0.934], "f1_threshold_on_test": 0.5},
        "bootstrap": {"level": 0.95},
        "excluded": [],
    },
    "names": {"tail_abnorm_obs": "other abnormal observation"},
}  # fmt: skip


@pytest.mark.parametrize(("columns", "width"), [(None, 160), ("60", 60), ("not a number", 160)])
def test_a_log_is_160_wide_unless_columns_says_otherwise(
    columns: str | None, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    assert console().width == width


@pytest.mark.parametrize("columns", ["20", "60", "200"])
def test_intervals_are_never_cut_and_names_are_whole(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    print_summary(METRICS)
    printed = capsys.readouterr().out
    assert printed.count("0.812–0.934") == 2
    assert "…" not in printed
    if columns == "200":
        assert "other abnormal observation (tail_abnorm_obs)" in printed


def test_a_column_that_does_not_wrap_is_as_wide_as_its_widest_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "10")
    table = Table()
    table.add_column("name")
    table.add_column("interval", no_wrap=True)
    table.add_row("a", "x" * 40)
    assert console([table]).width >= 40


PREPARE = """
import logging, sys
from medvlp_toolkit.data.records import Report, Study
from medvlp_toolkit.preparing import Prepare
studies = [Study(str(n), str(n), None, Report(str(n), "No effusion." if n else "")) for n in range(3)]
{before}
Prepare(studies, sys.argv[1], image_size=None, require_findings=False, workers=0).run()
"""


@pytest.mark.parametrize(
    ("before", "is_told"),
    [
        ("", True),
        ("logging.getLogger('medvlp_toolkit').setLevel(logging.WARNING)", False),
        ("logging.basicConfig(level=logging.INFO)", True),
        ("logging.basicConfig()", False),
    ],
)
def test_preparing_in_python_says_what_it_did_once_and_can_be_silenced(
    before: str, is_told: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = tmp_path_factory.mktemp("prepared") / "store"
    command = [sys.executable, "-c", PREPARE.format(before=before), str(store)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("records: 3 read = 2 stored + 1 rejected") == int(is_told)
    assert done.stderr.count(f"what was left out, and why: {store / 'rejected.csv'}") == int(is_told)
