"""Reading reports from every kind of source, good and bad, and writing findings and labels."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medvlp_reports.io import Rejected, ReportReader, write_findings, write_labels
from medvlp_reports.labels import label_reports, load_scheme
from medvlp_reports.rules import RuleFilter
from medvlp_toolkit.data.records import Report

OPEN_I = (
    '<?xml version="1.0" encoding="utf-8"?><eCitation><uId id="CXR{n}"/><MedlineCitation><Article><Abstract>'
    '<AbstractText Label="INDICATION">Cough.</AbstractText><AbstractText Label="FINDINGS">No effusion.</AbstractText>'
    '<AbstractText Label="IMPRESSION"/></Abstract></Article></MedlineCitation></eCitation>'
)


def read(source: Path, **options: str) -> tuple[ReportReader, list[Report]]:
    reader = ReportReader(source, **options)
    return reader, list(reader)


def ids(reports: list[Report]) -> list[str]:
    return [report.id for report in reports]


@pytest.mark.parametrize("id_name", ["uid", "id", "study_id", "UID"])
@pytest.mark.parametrize("text_name", ["text", "report", "Report"])
def test_a_csv_is_read_by_its_usual_columns(tmp_path: Path, id_name: str, text_name: str) -> None:
    path = tmp_path / "reports.csv"
    path.write_text(f'{id_name},extra,{text_name}\n7,x,"No effusion,\nno edema."\n8,y,Clear.\n', encoding="utf-8")
    reader, reports = read(path)
    assert reports == [Report("7", "No effusion,\nno edema."), Report("8", "Clear.")]
    assert (reader.id_name, reader.read, reader.rejected) == (id_name, 2, [])


def test_columns_may_be_named(tmp_path: Path) -> None:
    path = tmp_path / "reports.csv"
    path.write_text("accession,id,body\nA,1,Clear.\n", encoding="utf-8")
    reader, reports = read(path, id_column="accession", text_column="body")
    assert (reader.id_name, reports) == ("accession", [Report("A", "Clear.")])


def test_findings_and_impression_columns_are_sections(tmp_path: Path) -> None:
    path = tmp_path / "reports.tsv"
    path.write_text("uid\tfindings\timpression\n1\tNo edema.\tNormal.\n2\t\tClear.\n", encoding="utf-8")
    _, reports = read(path)
    assert reports[0].sections == {"findings": "No edema.", "impression": "Normal."}
    assert reports[1] == Report("2", "IMPRESSION: Clear.", {"impression": "Clear."})


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("name,text\n1,a\n", {}, r"no id column \(.*\); its columns are name, text; set id_column"),
        ("uid,words\n1,a\n", {}, r"no text column \(.*\); its columns are uid, words; set text_column"),
        ("uid,text\n1,a\n", {"id_column": "study"}, "no column 'study'"),
        ("uid,text\n1,a\n", {"text_column": "body"}, "no column 'body'"),
        ("", {}, "empty; expected a header"),
    ],
)
def test_missing_columns_are_named_in_one_line(
    tmp_path: Path, content: str, options: dict[str, str], message: str
) -> None:
    path = tmp_path / "reports.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        read(path, **options)
    assert "\n" not in str(caught.value)


def test_repeated_ids_and_short_rows_are_rejected_and_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "reports.csv"
    path.write_text("uid,text\n1,a\n1,secret\n2\n,c\n3,\n4,d,e\n\n5,f\n", encoding="utf-8")
    reader, reports = read(path)
    assert ids(reports) == ["1", "3", "5"]
    assert reader.rejected == [
        Rejected("reports.csv:3", "duplicate id"),
        Rejected("reports.csv:4", "1 field instead of 2"),
        Rejected("reports.csv:5", "no id"),
        Rejected("reports.csv:7", "3 fields instead of 2"),
    ]
    assert (reader.rows, reader.read, reader.empty) == (7, 3, 1)


def test_a_report_that_every_image_of_its_study_repeats_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "images.csv"
    path.write_text("study_id,image,report\n1,a.png,Clear.\n1,b.png,Clear.\n2,c.png,Edema.\n", encoding="utf-8")
    reader, reports = read(path)
    assert ids(reports) == ["1", "2"]
    assert (reader.rows, reader.read, reader.repeated, reader.rejected) == (3, 2, 1, [])


def test_latin_1_and_byte_order_marks_and_nuls_are_read(tmp_path: Path) -> None:
    latin, marked, nul = tmp_path / "latin.csv", tmp_path / "marked.csv", tmp_path / "nul.csv"
    latin.write_bytes("uid,text\n1,Röntgen: no effusion.\n".encode("latin-1"))
    marked.write_bytes("\ufeffuid,text\n1,Röntgen\n".encode())
    nul.write_bytes(b"uid,text\n1\0,no\0effusion\n")
    assert read(latin)[1] == [Report("1", "Röntgen: no effusion.")]
    assert read(marked)[1] == [Report("1", "Röntgen")]
    assert read(nul)[1] == [Report("1", "no effusion")]


def test_a_report_of_a_megabyte_is_read(tmp_path: Path) -> None:
    path = tmp_path / "reports.csv"
    text = "No effusion. " * 80_000
    path.write_text(f"uid,text\n1,{text}\n", encoding="utf-8")
    assert read(path)[1] == [Report("1", text)]


def test_json_lines_are_read_and_bad_lines_rejected(tmp_path: Path) -> None:
    path = tmp_path / "reports.jsonl"
    lines = [
        '{"id": 1, "text": "a"}',
        "",
        "{bad",
        "[1]",
        '{"id": 2}',
        '{"id": 3, "text": null}',
        '{"id": 4, "text": "é"}',
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    reader, reports = read(path)
    assert reports == [Report("1", "a"), Report("3", ""), Report("4", "é")]
    assert [(item.place, item.reason) for item in reader.rejected] == [
        ("reports.jsonl:3", "no readable JSON"),
        ("reports.jsonl:4", "no JSON object"),
        ("reports.jsonl:5", "no key 'text'"),
    ]


def test_a_value_that_is_no_text_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "reports.jsonl"
    lines = [
        '{"id": 1, "text": "a"}',
        '{"id": 2, "text": ["b"]}',
        '{"id": {"a": 1}, "text": "c"}',
        '{"id": 4, "text": true}',
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    reader, reports = read(path)
    assert ids(reports) == ["1"]
    assert [item.reason for item in reader.rejected] == ["a value that is neither text nor number"] * 3
    assert reader.rows == 4


@pytest.mark.parametrize(
    ("name", "content", "encoding"),
    [
        ("r.csv", "AccessionNumber;Report Text\r\n7;Épanchement, à gauche.\r\n", "utf-16"),
        ("r.csv", "sep=;\r\naccession;narrative\r\n7;Épanchement, à gauche.\r\n", "cp1252"),
        ("r.tsv", "study_id\treport\n7\tÉpanchement, à gauche.\n", "utf-8-sig"),
        ("r.csv", 'image,patient,report\n7,p,"Épanchement, à gauche."\n', "utf-8"),
    ],
)
def test_tables_as_hospitals_write_them_are_read(tmp_path: Path, name: str, content: str, encoding: str) -> None:
    (tmp_path / name).write_bytes(content.encode(encoding))
    assert read(tmp_path / name)[1] == [Report("7", "Épanchement, à gauche.")]


def test_an_open_quote_does_not_give_a_report_to_another_patient(tmp_path: Path) -> None:
    path = tmp_path / "small.tsv"
    path.write_text('id\ttext\n1\tNo "big" effusion\n2\t"Unbalanced quote effusion\n3\tSmall effusion\n')
    reader, reports = read(path)
    assert reports == [Report("1", 'No "big" effusion'), Report("3", "Small effusion")]
    assert reader.rejected == [Rejected("small.tsv:3", "an opening quote is never closed")]
    assert reader.rows == reader.read + len(reader.rejected) == 3


def test_a_table_without_header_does_not_show_its_first_report(tmp_path: Path) -> None:
    path = tmp_path / "reports.csv"
    path.write_text('S0,"No effusion.\nPatient Ford is well."\nS1,"Edema."\n')
    with pytest.raises(ValueError, match="does not look like column names") as caught:
        read(path)
    assert not any(word in str(caught.value) for word in ("effusion", "Ford", "S0"))


def test_deeply_nested_json_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "reports.jsonl"
    path.write_text("[" * 100_000 + "\n" + '{"id": 1, "text": "a"}\n', encoding="utf-8")
    reader, reports = read(path)
    assert ids(reports) == ["1"]
    assert len(reader.rejected) == 1


def test_a_text_file_is_one_report_named_by_its_file(tmp_path: Path) -> None:
    path = tmp_path / "s50414267.txt"
    path.write_text("FINAL REPORT\n IMPRESSION: Clear.\n", encoding="utf-8")
    reader, reports = read(path)
    assert (reader.id_name, ids(reports)) == ("study_id", ["s50414267"])


def test_a_mimic_cxr_folder_is_read_in_order(tmp_path: Path) -> None:
    for patient, study in [("p11/p11000011", "s51"), ("p10/p10000032", "s52"), ("p10/p10000032", "s50")]:
        folder = tmp_path / "files" / patient
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{study}.txt").write_text("IMPRESSION: Clear.", encoding="utf-8")
    reader, reports = read(tmp_path)
    assert (reader.id_name, ids(reports)) == ("study_id", ["s50", "s52", "s51"])


def test_open_i_is_read_from_files_folders_and_archives(tmp_path: Path) -> None:
    folder = tmp_path / "ecgen-radiology"
    folder.mkdir()
    for number in (2, 1):
        (folder / f"{number}.xml").write_text(OPEN_I.replace("{n}", str(number)), encoding="utf-8")
    archive = tmp_path / "NLMCXR_reports.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, "ecgen-radiology")
    for source in (folder, archive):
        reader, reports = read(source)
        assert reader.id_name == "uid"
        assert sorted(ids(reports)) == ["CXR1", "CXR2"]
        assert reports[0].sections == {"indication": "Cough.", "findings": "No effusion."}
    assert ids(read(folder / "1.xml")[1]) == ["CXR1"]


def test_a_damaged_xml_file_is_rejected_among_others(tmp_path: Path) -> None:
    (tmp_path / "1.xml").write_text(OPEN_I.replace("{n}", "1"), encoding="utf-8")
    (tmp_path / "2.xml").write_text(OPEN_I[:200], encoding="utf-8")
    (tmp_path / "3.xml").write_text("<eCitation/>", encoding="utf-8")
    (tmp_path / "4.xml").write_bytes(b"")
    reader, reports = read(tmp_path)
    assert ids(reports) == ["CXR1"]
    assert [item.place for item in reader.rejected] == ["2.xml", "3.xml", "4.xml"]


@pytest.mark.parametrize("name", ["reports.csv.gz", "reports.jsonl.gz"])
def test_gzipped_tables_are_read_and_truncated_ones_refused(tmp_path: Path, name: str) -> None:
    rows = [f"{number},{'x' * (number % 97)}" for number in range(5000)]
    lines = [json.dumps({"uid": number, "text": "x" * (number % 97)}) for number in range(5000)]
    content = "\n".join(["uid,text", *rows] if "csv" in name else lines).encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(content))
    assert len(read(path)[1]) == 5000
    path.write_bytes(gzip.compress(content)[:-100])
    with pytest.raises(ValueError, match="damaged"):
        read(path)
    path.write_bytes(b"no gzip at all")
    with pytest.raises(ValueError, match="damaged"):
        read(path)


@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5, 0.8])
def test_a_truncated_archive_is_refused_in_one_line(tmp_path: Path, keep: float) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for number in range(50):
            content = OPEN_I.replace("{n}", str(number)).encode()
            info = tarfile.TarInfo(f"{number}.xml")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    path = tmp_path / "reports.tgz"
    path.write_bytes(buffer.getvalue()[: int(keep * len(buffer.getvalue()))])
    with pytest.raises(ValueError, match="damaged archive") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_what_is_no_source_of_reports_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        read(tmp_path / "none.csv")
    with pytest.raises(ValueError, match=r"no \.txt or \.xml report in this folder"):
        read(tmp_path)
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"\x89PNG")
    with pytest.raises(ValueError, match="cannot read reports from this kind of file"):
        read(picture)


def test_findings_are_written_one_report_a_line(tmp_path: Path) -> None:
    reports = [Report("1", "No effusion in the left lung."), Report("2", "")]
    path = tmp_path / "findings.jsonl"
    assert write_findings(path, zip(reports, RuleFilter()(reports), strict=True)) == 2
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert lines == [
        {
            "id": "1",
            "findings": [
                {
                    "entity": "effusion",
                    "presence": "absent",
                    "position": "left_lung_unspec",
                    "span": [3, 11],
                    "concept_id": "pleural_effusion",
                }
            ],
        },
        {"id": "2", "findings": []},
    ]


@pytest.mark.parametrize("id_name", ["uid", "study_id"])
def test_labels_are_written_with_the_id_under_its_own_name(tmp_path: Path, id_name: str) -> None:
    source, out = tmp_path / "reports.csv", tmp_path / "labels.csv"
    source.write_text(f"{id_name},text\nx,No effusion. Possible pneumonia. Edema.\ny,\n", encoding="utf-8")
    reader = ReportReader(source)
    scheme = load_scheme("nih14")
    assert write_labels(out, label_reports(reader, scheme), scheme.labels, reader) == 2
    with out.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == [id_name, *scheme.labels]
    assert {label: value for label, value in rows[0].items() if value} == {
        id_name: "x", "Effusion": "0", "Pneumonia": "-1", "Edema": "1"
    }  # fmt: skip
    assert set(rows[1].values()) == {"y", ""}


def test_a_file_is_not_left_half_written(tmp_path: Path) -> None:
    out = tmp_path / "findings.jsonl"
    out.write_text("before\n", encoding="utf-8")

    def failing():  # type: ignore[no-untyped-def]
        yield Report("1", ""), []
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_findings(out, failing())
    assert out.read_text(encoding="utf-8") == "before\n"
    assert [item.name for item in tmp_path.iterdir()] == ["findings.jsonl"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200), kind=st.sampled_from(["csv", "jsonl", "xml", "tgz", "csv.gz", "txt"]))
def test_any_bytes_are_read_or_refused_with_a_message(tmp_path: Path, content: bytes, kind: str) -> None:
    path = tmp_path / f"reports.{kind}"
    path.write_bytes((b"uid,text\n" if kind == "csv" else b"") + content)
    reader = ReportReader(path)
    message = ""
    reports = []
    try:
        reports.extend(reader)
    except ValueError as error:
        message = str(error)
    assert message.startswith(str(path)) or reader.read == len(reports)
