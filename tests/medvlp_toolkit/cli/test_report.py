from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from medvlp_toolkit.cli.main import app
from medvlp_toolkit.evaluation.results.results import Results


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    table = {"study_id": ["a", "b"], "target:x": [1, 0], "score:x": [0.75, 0.25]}
    Results.write(tmp_path / "results", table, {}, {"title": "Two images"})
    return tmp_path / "results"


def test_it_writes_the_page_and_says_where(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "page.html"
    done = CliRunner().invoke(app, ["report", str(folder), "--out", str(out), "--no-images", "--title", "Mine"])
    assert done.exit_code == 0
    assert str(out) in done.stdout
    assert "without images" in done.stdout
    assert "<title>Mine</title>" in out.read_text()


def test_a_folder_without_results_is_reported_in_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["report", str(tmp_path), "--out", str(tmp_path / "page.html")])
    assert done.exit_code == 2
    assert done.stderr.startswith("medvlp: ")
    assert "no results in it" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "page.html").exists()


def test_results_of_other_images_are_reported_in_one_line(folder: Path, tmp_path: Path) -> None:
    Results.write(tmp_path / "other", {"study_id": ["c"], "target:x": [1], "score:x": [0.5]}, {}, {})
    done = CliRunner().invoke(
        app, ["report", str(folder), "--against", str(tmp_path / "other"), "--out", str(tmp_path / "page.html")]
    )
    assert done.exit_code == 2
    assert "0 of them in both" in done.stderr
