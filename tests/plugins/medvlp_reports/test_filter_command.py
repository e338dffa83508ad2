"""``medvlp filter``: findings of every kind of report file, and what is left out."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import medvlp_toolkit as mv
from medvlp_toolkit.cli.main import app
from medvlp_toolkit.data.records import Finding, Presence, Report
from tests.chat_server import chat_server, statement, states
from tests.chat_server import status as answers_with

HEAVY = ("torch", "monai", "ignite", "transformers")
SECRET = "Smith-4711"


def run(*arguments: object) -> tuple[int, str, str]:
    ended = CliRunner().invoke(app, ["filter", *map(str, arguments)])
    return ended.exit_code, ended.stdout, ended.stderr


def findings(path: Path) -> dict[str, list[dict[str, Any]]]:
    return {line["id"]: line["findings"] for line in map(json.loads, path.read_text().splitlines())}


class Words:
    """Finds one word; stands for a third party's filter."""

    positions = ()

    def __init__(self, word: str, presence: str = "present", times: int = 1, also: Sequence[str] = ()) -> None:
        self.words = [word, *also] * times
        self.presence = Presence(presence)
        self.entities = [word]

    def __call__(self, reports: Sequence[Report]) -> list[list[Finding]]:
        return [
            [Finding(word, self.presence) for word in self.words if word in report.text.lower()] for report in reports
        ]


class Forgetful(Words):
    """Loses the last report."""

    def __call__(self, reports: Sequence[Report]) -> list[list[Finding]]:
        return super().__call__(reports)[:-1]


@pytest.fixture(autouse=True)
def third_party() -> Iterator[None]:
    mv.report_filters.register("words", Words)
    mv.report_filters.register("forgetful", Forgetful)
    yield
    mv.report_filters.unregister("words")
    mv.report_filters.unregister("forgetful")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Three good reports, a repeated id, a short line, an empty report."""
    path = tmp_path / "reports.csv"
    rows = ["id,text", "1,No effusion.", f"2,Effusion seen by Dr {SECRET}.", "1,Edema.", "3", f"{SECRET},", "4,Normal."]
    path.write_text("\n".join(rows) + "\n")
    return path


def test_findings_of_a_csv_are_json_lines(table: Path, tmp_path: Path) -> None:
    status, shown, said = run(table, "--filter", "rules", "--out", tmp_path / "out" / "findings.jsonl")
    assert (status, said) == (0, "")
    found = findings(tmp_path / "out" / "findings.jsonl")
    assert list(found) == ["1", "2", SECRET, "4"]
    assert [(f["entity"], f["presence"], f["span"]) for f in found["1"]] == [("effusion", "absent", [3, 11])]
    assert [f["presence"] for f in found["2"]] == ["present"]
    assert found[SECRET] == []
    first = shown.splitlines()[0]
    assert first.startswith(f"{tmp_path / 'out' / 'findings.jsonl'}: 4 reports, 3 findings in 3 of them (2 present, 1 ")


def test_what_is_left_out_is_counted_and_listed_and_the_totals_add_up(table: Path, tmp_path: Path) -> None:
    _, shown, _ = run(table, "--filter", "rules", "--out", tmp_path / "findings.jsonl")
    assert "without text: 1" in shown
    assert shown.splitlines()[-1] == "rows: 6 read = 4 used + 2 rejected"
    assert f"left out: 2 (1 × duplicate id, 1 × 1 field instead of 2); see {tmp_path / 'rejected.csv'}" in shown
    with (tmp_path / "rejected.csv").open() as file:
        rejected = list(csv.DictReader(file))
    assert [line["place"] for line in rejected] == ["reports.csv:4", "reports.csv:5"]
    lines_of_table = len(table.read_text().splitlines()) - 1
    assert len(findings(tmp_path / "findings.jsonl")) + len(rejected) == lines_of_table


def test_the_run_ends_with_the_reports_that_had_no_section_and_no_finding(tmp_path: Path) -> None:
    path = tmp_path / "reports.csv"
    path.write_text("id,text\n1,FINDINGS: Effusion.\n2,INDICATION: Edema.\n3,IMPRESSION: Thank you.\n4,\n")
    _, shown, _ = run(path, "--filter", "rules", "--out", tmp_path / "f.jsonl")
    assert "no section that is read: 1; no finding: 1" in shown.splitlines()


def test_neither_names_nor_report_text_are_shown(table: Path, tmp_path: Path) -> None:
    status, shown, said = run(table, "--filter", "rules", "--out", tmp_path / "f.jsonl", "--max-rejected", 0)
    assert status == 1
    assert SECRET not in shown + said
    assert "Effusion" not in shown + said


def test_more_rejected_than_allowed_fails_and_writes_no_findings(table: Path, tmp_path: Path) -> None:
    status, _, said = run(table, "--filter", "rules", "--out", tmp_path / "f.jsonl", "--max-rejected", 1)
    assert status == 1
    assert said.startswith("medvlp: more reports were left out than the 1 that --max-rejected allows")
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "f.jsonl").exists()
    assert "duplicate id" in (tmp_path / "rejected.csv").read_text()
    assert run(table, "--filter", "rules", "--out", tmp_path / "f.jsonl", "--max-rejected", 2)[0] == 0


def test_a_later_run_without_rejected_reports_leaves_an_empty_list(table: Path, tmp_path: Path) -> None:
    run(table, "--filter", "rules", "--out", tmp_path / "f.jsonl")
    (tmp_path / "good.txt").write_text("Effusion.")
    run(tmp_path / "good.txt", "--filter", "rules", "--out", tmp_path / "f.jsonl")
    assert (tmp_path / "rejected.csv").read_text() == "place,reason\n"


@pytest.mark.parametrize("content", ["id,text\n", "id,text\n7\n8\n"])
def test_when_no_report_can_be_read_the_status_says_so(content: str, tmp_path: Path) -> None:
    (tmp_path / "reports.csv").write_text(content)
    status, _, said = run(tmp_path / "reports.csv", "--filter", "rules", "--out", tmp_path / "f.jsonl")
    assert status == 1
    assert said.startswith(f"medvlp: {tmp_path / 'reports.csv'}: no")


def xml(uid: str, findings: str) -> bytes:
    section = f'<AbstractText Label="FINDINGS">{findings}</AbstractText>'
    return (
        f'<eCitation><uId id="{uid}"/><MedlineCitation><Article><Abstract>{section}</Abstract></Article>'
        "</MedlineCitation></eCitation>"
    ).encode()


def test_every_kind_of_file_gives_its_reports(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("FINDINGS: Effusion.")
    (tmp_path / "lines.jsonl").write_text('{"uid": "a", "report": "Effusion."}\n{"uid": "b", "report": "Normal."}\n')
    mimic = tmp_path / "files" / "p10" / "p10000032"
    mimic.mkdir(parents=True)
    (mimic / "s50414267.txt").write_text("FINDINGS: Small effusion.")
    with tarfile.open(tmp_path / "open_i.tgz", "w:gz") as archive:
        for number in (1, 2):
            content = xml(f"CXR{number}", "There is an effusion.")
            member = tarfile.TarInfo(f"ecgen-radiology/{number}.xml")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    for source, ids in {
        "one.txt": ["one"],
        "lines.jsonl": ["a", "b"],
        "files": ["s50414267"],
        "open_i.tgz": ["CXR1", "CXR2"],
    }.items():
        status, _, said = run(tmp_path / source, "--filter", "rules", "--out", tmp_path / "f.jsonl")
        assert (status, said) == (0, "")
        found = findings(tmp_path / "f.jsonl")
        assert list(found) == ids
        assert found[ids[0]][0]["entity"] == "effusion"


def test_columns_are_those_named(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("accession,id,narrative,text\n7,x,Edema.,Effusion.\n")
    named = ["--id-column", "accession", "--text-column", "narrative"]
    run(tmp_path / "r.csv", "--filter", "rules", "--out", tmp_path / "f.jsonl", *named)
    assert [f["entity"] for f in findings(tmp_path / "f.jsonl")["7"]] == ["edema"]
    status, _, said = run(
        tmp_path / "r.csv", "--filter", "rules", "--out", tmp_path / "f.jsonl", "--text-column", "body"
    )
    assert status == 2
    assert "no column 'body'; its columns are accession, id, narrative, text" in said


def test_a_radgraph_file_is_looked_up_and_unknown_reports_are_counted(table: Path, tmp_path: Path) -> None:
    entity = {"tokens": "effusion", "label": "OBS-DA", "start_ix": 1, "end_ix": 1, "relations": []}
    graphs = {"1": {"text": "No effusion .", "entities": {"1": entity}}}
    (tmp_path / "graphs.json").write_text(json.dumps(graphs))
    status, shown, _ = run(
        table, "--filter", "radgraph", "--option", f"path={tmp_path / 'graphs.json'}", "--out", tmp_path / "f.jsonl"
    )
    assert status == 0
    assert [f["presence"] for f in findings(tmp_path / "f.jsonl")["1"]] == ["absent"]
    assert "unknown to the filter: 3" in shown


def test_a_lexicon_of_ones_own_is_named_by_its_file(table: Path, tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text(
        "extends: default\nentities: [doctor]\nfindings:\n- {concept: doctor, entity: doctor, phrases: [dr]}\n"
    )
    options = ["--filter", "rules", "--option", f"lexicon={own}"]
    assert run(table, *options, "--out", tmp_path / "f.jsonl")[0] == 0
    assert [f["entity"] for f in findings(tmp_path / "f.jsonl")["2"]] == ["effusion", "doctor"]
    own.write_text("extends: default\nentites: [doctor]\n")
    status, shown, said = run(table, *options, "--out", tmp_path / "f.jsonl")
    assert (status, shown) == (2, "")
    assert said == f"medvlp: {own}, line 2: unknown key 'entites'; did you mean 'entities'?\n"


def test_an_entity_linker_gets_its_knowledge_source(table: Path, tmp_path: Path) -> None:
    (tmp_path / "knowledge.yaml").write_text("effusion: Fluid around the lung.\nedema: Fluid in the lung.\n")
    knowledge = f"{{_target_: medvlp_toolkit.knowledge_sources.definitions, path: {tmp_path / 'knowledge.yaml'}}}"
    status, _, said = run(
        table, "--filter", "entity_linker", "--option", f"knowledge={knowledge}", "--out", tmp_path / "f.jsonl"
    )
    assert (status, said) == (0, "")
    found = findings(tmp_path / "f.jsonl")
    assert [(f["entity"], f["presence"]) for f in found["2"]] == [("effusion", None)]
    assert found["4"] == []


def test_a_third_partys_filter_runs_by_name_with_its_options(table: Path, tmp_path: Path) -> None:
    options = ["--option", "word=effusion", "--option", "presence=uncertain", "--option", "times=2"]
    status, shown, _ = run(table, "--filter", "words", *options, "--out", tmp_path / "f.jsonl")
    assert status == 0
    assert "4 findings in 2 of them (4 uncertain)" in shown


def test_a_language_model_is_asked_and_its_requests_are_counted(table: Path, tmp_path: Path) -> None:
    with chat_server() as server:
        server.behaviours = [states(statement("Smith has an effusion", "effusion"))]
        options = ["model=m", f"base_url={server.url}", f"cache_dir={tmp_path / 'cache'}", "concurrency=1"]
        call = [table, "--filter", "llm", *[word for option in options for word in ("--option", option)]]
        status, shown, said = run(*call, "--out", tmp_path / "f.jsonl")
        assert (status, said) == (0, "")
        assert re.search(r"^requests: 3 \([\d.]+ requests/s\)$", shown, re.MULTILINE)
        assert "\nquotes that are not in the report, dropped: 1\n" in shown
        assert [(f["entity"], f["span"]) for f in findings(tmp_path / "f.jsonl")["2"]] == [("effusion", [0, 8])]
        status, shown, _ = run(*call, "--out", tmp_path / "f.jsonl")
        assert "\nanswers from the cache: 3\n" in shown
        assert len(server.requests) == 3
        server.always = answers_with(500)
        refused = run(*call, "--option", "attempts=1", "--option", "examples=0", "--out", tmp_path / "g.jsonl")
    assert refused[0] == 2
    assert refused[2].startswith(f"medvlp: {server.url}/chat/completions: the server fails (status 500)")
    assert len(refused[2].splitlines()) == 1
    assert not (tmp_path / "g.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--filter", "llm", "--option", "model=m", "--option", "base_url=http://8.8.8.8/v1"], "allow_remote: true"),
        (["--filter", "rulse"], "no report_filters plugin named 'rulse'; did you mean 'rules'?"),
        (["--filter", "words"], "report_filters plugin 'words' needs word; give --option 'word=…'"),
        (["--filter", "words", "--option", "wrod=x"], "has no option 'wrod'; did you mean 'word'?"),
        (["--filter", "words", "--option", "word"], "--option word: expected key=value"),
        (["--filter", "words", "--option", "word=a", "--option", "word=b"], "--option word is given twice"),
        (["--filter", "words", "--option", "word=a", "--option", "times=two"], "times=two: expected a whole number"),
        (["--filter", "forgetful", "--option", "word=a"], "report filter 'forgetful' gave 3 lists of findings for 4"),
        (["--filter", "radgraph", "--option", "path=nowhere.json"], "nowhere.json: no such file"),
        (["--filter", "entity_linker", "--option", "knowledge=[1"], "not readable as YAML"),
        (
            ["--filter", "entity_linker", "--option", "knowledge={_target_: medvlp_toolkit.nothing}"],
            "there is no medvlp_toolkit.nothing",
        ),
        (
            ["--filter", "entity_linker", "--option", "knowledge={_target_: medvlp_toolkit.knowledge_sources.obo}"],
            "medvlp_toolkit.knowledge_sources.obo: missing a required argument",
        ),
    ],
)
def test_a_mistake_in_the_call_is_one_line_and_status_two(
    table: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    status, shown, said = run(table, *arguments, "--out", tmp_path / "f.jsonl")
    assert (status, shown) == (2, "")
    assert message in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "f.jsonl").exists()


def test_reports_are_never_overwritten_and_a_folder_is_no_output(table: Path, tmp_path: Path) -> None:
    before = table.read_bytes()
    for out, message in ((table, "is the file of the reports"), (tmp_path, "is a folder; name a file for --out")):
        status, _, said = run(table, "--filter", "rules", "--out", out)
        assert status == 2
        assert message in said
    assert table.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "message"), [("nowhere.csv", "no such file or folder"), ("scan.dcm", "cannot read reports from this kind")]
)
def test_a_source_that_cannot_be_read_is_named(tmp_path: Path, name: str, message: str) -> None:
    if name == "scan.dcm":
        (tmp_path / name).write_bytes(b"x")
    status, _, said = run(tmp_path / name, "--filter", "rules", "--out", tmp_path / "f.jsonl")
    assert status == 2
    assert said.startswith(f"medvlp: {tmp_path / name}: {message}")


def test_damaged_archive_leaves_no_half_written_findings(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "whole.tgz", "w:gz") as archive:
        for number in range(40):
            content = xml(f"CXR{number}", f"Effusion number {number * 7919}. " * 50)
            member = tarfile.TarInfo(f"{number}.xml")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    (tmp_path / "cut.tgz").write_bytes((tmp_path / "whole.tgz").read_bytes()[:-200])
    status, _, said = run(tmp_path / "cut.tgz", "--filter", "rules", "--out", tmp_path / "f.jsonl")
    assert status == 2
    assert "damaged archive" in said
    assert [path.name for path in tmp_path.iterdir() if "jsonl" in path.name] == []


def test_without_the_reports_package_the_line_says_what_to_install(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "medvlp_reports"]:
        monkeypatch.delitem(sys.modules, name)

    class Absent:
        def find_spec(self, name: str, *_: object) -> None:
            if name.partition(".")[0] == "medvlp_reports":
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])
    status, _, said = run(table, "--filter", "words", "--option", "word=a", "--out", tmp_path / "f.jsonl")
    assert status == 2
    assert said == "medvlp: reading reports is part of medvlp-reports: pip install medvlp-reports\n"


def test_filtering_loads_no_deep_learning_stack(table: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "f.jsonl")
    program = (
        "import sys, json\n"
        "from medvlp_toolkit.cli.main import app\n"
        f"sys.argv = ['medvlp', 'filter', {str(table)!r}, '--filter', 'rules', '--out', {out!r}]\n"
        "try:\n    app()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout.splitlines()[-1]) == []
