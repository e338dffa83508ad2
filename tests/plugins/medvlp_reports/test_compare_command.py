"""``medvlp filter --compare A B``: agreement of two filters on the same reports."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

import medvlp_toolkit as mv
from medvlp_toolkit.cli.main import app
from tests.chat_server import chat_server
from tests.plugins.medvlp_reports.test_filter_command import SECRET, Forgetful, Words


@pytest.fixture(autouse=True)
def third_party() -> Iterator[None]:
    for name, plugin in (("words", Words), ("forgetful", Forgetful)):
        mv.report_filters.register(name, plugin)
    yield
    for name in ("words", "forgetful"):
        mv.report_filters.unregister(name)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "reports.csv"
    rows = [
        "id,text",
        f"1,No effusion in {SECRET}.",
        "2,Left effusion. Likely edema.",
        "3,Normal.",
        "4,Right effusion.",
    ]
    path.write_text("\n".join(rows) + "\n")
    return path


def run(*arguments: object) -> tuple[int, str, str]:
    ended = CliRunner().invoke(app, ["filter", *map(str, arguments)], env={"COLUMNS": "120"})
    return ended.exit_code, ended.stdout, ended.stderr


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_agreement_kappa_and_what_differs(table: Path, tmp_path: Path) -> None:
    """A word filter finds an effusion that is denied."""
    out = tmp_path / "differences.csv"
    status, shown, said = run(table, "--compare", "rules", "words", "--option-b", "word=effusion", "--out", out)
    assert (status, said) == (0, "")
    lines = shown.splitlines()
    assert lines[0].split() == ["entity", "both", "only", "rules", "only", "words", "differ", "agree", "kappa"]
    assert lines[1].split() == ["effusion", "3", "0", "0", "1", "0.667", "0.556"]
    assert lines[2] == "4 reports, entities 1: agreement 0.750, 0.667 of what either mentions, kappa 0.556"
    assert lines[3] == "same place: 0 of 2 that both find present (0.000)"
    assert lines[4].startswith("not compared, because one of the two does not know them: abnormality, ")
    assert lines[5] == f"{out}: differences: 3"
    assert [(row["id"], row["differs_in"], row["first"], row["second"]) for row in rows(out)] == [
        ("1", "presence", "absent", "present"),
        ("2", "position", "present", "present"),
        ("4", "position", "present", "present"),
    ]
    assert rows(out)[0]["first_span"] == "3-11"
    assert rows(out)[0]["first_quote"] == "effusion"


def test_a_filter_is_compared_with_itself_under_other_options(table: Path) -> None:
    status, shown, _ = run(table, "--compare", "rules", "rules", "--option-b", "likely_is_present=false")
    assert status == 0
    assert "only rules a" in shown
    assert "\ndifferences: 1\n" in shown
    assert not (table.parent / "rejected.csv").exists()


def test_findings_that_were_written_are_compared_too(table: Path, tmp_path: Path) -> None:
    run(table, "--filter", "rules", "--out", tmp_path / "f.jsonl")
    status, shown, _ = run(table, "--compare", "rules", tmp_path / "f.jsonl")
    assert status == 0
    assert "agreement 1.000, 1.000 of what either mentions, kappa 1.000" in shown
    lines = (tmp_path / "f.jsonl").read_text().splitlines()
    (tmp_path / "part.jsonl").write_text("\n".join(lines[:3]) + "\n")
    status, shown, _ = run(table, "--compare", tmp_path / "part.jsonl", tmp_path / "f.jsonl")
    assert status == 0
    assert f"a, reports that {tmp_path / 'part.jsonl'} lacks: 1" in shown
    assert "\ndifferences: 1\n" in shown


def test_rules_and_a_language_model_are_compared_with_what_each_counted(table: Path, tmp_path: Path) -> None:
    with chat_server() as server:
        options = ["model=m", f"base_url={server.url}", f"cache_dir={tmp_path / 'cache'}"]
        status, shown, said = run(
            table, "--compare", "rules", "llm", *[word for option in options for word in ("--option-b", option)]
        )
        assert len(server.requests) == 4
    assert (status, said) == (0, "")
    assert "b, requests: 4 (" in shown
    assert SECRET not in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--compare", "rules", "rulse"], "no report_filters plugin named 'rulse'; did you mean 'rules'?"),
        (["--compare", "rules", "words", "--option-b", "wrod=x"], "has no option 'wrod'; did you mean 'word'?"),
        (["--compare", "rules", "words", "--option-b", "word=unicorn"], "no entity in common: nothing can be compared"),
        (["--compare", "rules", "forgetful", "--option-b", "word=effusion"], "'forgetful' gave 3 lists for 4 reports"),
        (["--compare", "rules", "nowhere.jsonl"], "nowhere.jsonl: no such file; expected findings"),
        (["--compare", "rules", "reports.jsonl"], "reports.jsonl, line 1: no findings as `medvlp filter` writes them"),
        (["--compare", "a.jsonl", "rules", "--option-a", "x=1"], "a.jsonl is a file of findings, which has no options"),
        (["--compare", "rules", "rules", "--filter", "rules"], "--compare takes no --filter"),
        (["--filter", "rules", "--option-a", "x=1", "--out", "f.jsonl"], "belong to --compare; give --option"),
        (["--out", "f.jsonl"], "give --filter, or compare two filters with --compare A B"),
        (["--filter", "rules"], "give --out, or compare two filters with --compare A B"),
    ],
)
def test_a_mistake_in_the_call_is_one_line(
    table: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(table.parent)
    Path("reports.jsonl").write_text('{"id": "1", "text": "Effusion."}\n')
    status, shown, said = run(table, *arguments)
    assert (status, shown) == (2, "")
    assert message in said
    assert len(said.splitlines()) == 1
