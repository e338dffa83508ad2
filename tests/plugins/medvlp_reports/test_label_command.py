"""``medvlp label``: one row a report, one column a label."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medvlp_toolkit.cli.main import app

HEAVY = ("torch", "monai", "ignite", "transformers")


def run(*arguments: object) -> tuple[int, str, str]:
    ended = CliRunner().invoke(app, ["label", *map(str, arguments)])
    return ended.exit_code, ended.stdout, ended.stderr


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    path = tmp_path / "reports.csv"
    path.write_text(
        'text,study_id\n"Left pleural effusion. No pneumothorax, or consolidation.",s1\n"Possible pneumonia.",s2\n,s3\n'
    )
    return path


def test_present_absent_uncertain_and_not_mentioned(reports: Path, tmp_path: Path) -> None:
    status, shown, said = run(reports, "--scheme", "nih14", "--out", tmp_path / "labels.csv")
    assert (status, said) == (0, "")
    first, second, third = rows(tmp_path / "labels.csv")
    assert next(iter(first)) == "study_id"
    assert len(first) == 15
    assert (first["study_id"], first["Effusion"], first["Pneumothorax"], first["Consolidation"]) == (
        "s1",
        "1",
        "0",
        "0",
    )
    assert first["Hernia"] == ""
    assert second["Pneumonia"] == "-1"
    assert set(third.values()) == {"s3", ""}
    assert shown.splitlines()[-4:] == [
        f"{tmp_path / 'labels.csv'}: 3 reports, 14 labels (nih14)",
        "no section that is read: 0; no finding: 0",
        "without text: 1",
        "rows: 3 read = 3 used + 0 rejected",
    ]
    [line] = [line.split() for line in shown.splitlines() if line.startswith("Effusion")]
    assert line == ["Effusion", "1", "0", "0"]


def test_the_run_ends_with_the_reports_that_had_no_section_and_no_finding(tmp_path: Path) -> None:
    path = tmp_path / "reports.csv"
    path.write_text("id,text\n1,FINDINGS: Effusion.\n2,INDICATION: Edema.\n3,IMPRESSION: Thank you.\n4,\n")
    _, shown, _ = run(path, "--scheme", "nih14", "--out", tmp_path / "labels.csv")
    assert "no section that is read: 1; no finding: 1" in shown.splitlines()


@pytest.mark.parametrize(("scheme", "labels"), [("nih14", 14), ("chexpert14", 14), ("medklip75", 75)])
def test_every_scheme_has_its_columns(reports: Path, tmp_path: Path, scheme: str, labels: int) -> None:
    assert run(reports, "--scheme", scheme, "--out", tmp_path / "labels.csv")[0] == 0
    assert len(rows(tmp_path / "labels.csv")[0]) == labels + 1


@pytest.mark.parametrize("name", ["uid", "id", "study_id"])
@pytest.mark.parametrize("text", ["text", "report"])
def test_the_id_keeps_its_name_and_comes_first(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "r.csv").write_text(f"age,{text},{name}\n40,Effusion.,7\n")
    assert run(tmp_path / "r.csv", "--scheme", "nih14", "--out", tmp_path / "labels.csv")[0] == 0
    [row] = rows(tmp_path / "labels.csv")
    assert next(iter(row)) == name
    assert (row[name], row["Effusion"]) == ("7", "1")
    assert "age" not in row


def test_columns_named_by_options_win(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("id,accession,text,narrative\n1,A7,Edema.,Effusion.\n")
    named = ["--id-column", "accession", "--text-column", "narrative"]
    assert run(tmp_path / "r.csv", "--scheme", "nih14", "--out", tmp_path / "labels.csv", *named)[0] == 0
    [row] = rows(tmp_path / "labels.csv")
    assert (row["accession"], row["Effusion"], row["Edema"]) == ("A7", "1", "")


def test_a_scheme_of_ones_own_is_a_file(reports: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("labels:\n  Fluid: {present: [pleural_effusion]}\n")
    assert run(reports, "--scheme", tmp_path / "mine.yaml", "--out", tmp_path / "labels.csv")[0] == 0
    assert [row["Fluid"] for row in rows(tmp_path / "labels.csv")] == ["1", "", ""]


def test_sections_are_an_option_of_the_rules(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text('id,text\n1,"FINDINGS: Effusion.\nIMPRESSION: Pneumonia."\n')
    option = ["--option", "sections=impression"]
    assert run(tmp_path / "r.csv", "--scheme", "nih14", "--out", tmp_path / "labels.csv", *option)[0] == 0
    [row] = rows(tmp_path / "labels.csv")
    assert (row["Effusion"], row["Pneumonia"]) == ("", "1")


def test_what_is_left_out_is_listed(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("id,text\n1,Edema.\n1,No edema.\n")
    status, shown, _ = run(tmp_path / "r.csv", "--scheme", "nih14", "--out", tmp_path / "labels.csv")
    assert status == 0
    assert "left out: 1 (1 × duplicate id)" in shown
    assert (tmp_path / "rejected.csv").read_text() == "place,reason\nr.csv:3,duplicate id\n"
    assert run(
        tmp_path / "r.csv", "--scheme", "nih14", "--out", tmp_path / "more.csv", "--max-rejected", 0
    )[0] == 1  # fmt: skip
    assert not (tmp_path / "more.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scheme", "nih15"], "no labelling scheme 'nih15'; expected chexpert14, medklip75, nih14 or a .yaml file"),
        (["--scheme", "nowhere.yaml"], "nowhere.yaml"),
        (["--scheme", "nih14", "--id-column", "uid"], "no column 'uid'; its columns are text, study_id"),
        (["--scheme", "nih14", "--option", "section=x"], "has no option 'section'; did you mean 'sections'?"),
    ],
)
def test_a_mistake_in_the_call_is_one_line(reports: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    status, shown, said = run(reports, *arguments, "--out", tmp_path / "labels.csv")
    assert (status, shown) == (2, "")
    assert message in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "labels.csv").exists()


def test_labelling_loads_no_deep_learning_stack(reports: Path, tmp_path: Path) -> None:
    program = (
        "import sys, json\n"
        "from medvlp_toolkit.cli.main import app\n"
        f"sys.argv = ['medvlp', 'label', {str(reports)!r}, '--scheme', 'nih14', '--out', {str(tmp_path / 'l.csv')!r}]\n"
        "try:\n    app()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout.splitlines()[-1]) == []
