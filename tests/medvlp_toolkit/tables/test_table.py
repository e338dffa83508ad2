"""Tables as hospitals write them: encodings, delimiters, headers, compression."""

from __future__ import annotations

import gzip
import itertools
import logging
import zipfile
from pathlib import Path

import pytest

from medvlp_toolkit.tables.cells import filled, identifier
from medvlp_toolkit.tables.table import HEADER_AGAIN, Table

TEXT = "image,patient_id,report\na.png,p1,Pas d'épanchement.\nb.png,p2,Œdème – modéré.\n"
ROWS = [
    {"image": "a.png", "patient_id": "p1", "report": "Pas d'épanchement."},
    {"image": "b.png", "patient_id": "p2", "report": "Œdème – modéré."},
]


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def values(table: Table) -> list[dict[str, str] | None]:
    return [row.values for row in table]


def problems(table: Table) -> list[tuple[str, str]]:
    return [(row.place, row.problem) for row in table if row.values is None]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_the_encoding_is_found_out(tmp_path: Path, encoding: str) -> None:
    assert values(Table(written(tmp_path / "t.csv", TEXT.encode(encoding)))) == ROWS


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_delimiter_and_the_ends_of_lines_are_found_out(tmp_path: Path, delimiter: str, end: str) -> None:
    text = TEXT.replace(",", delimiter).replace("\n", end)
    table = Table(written(tmp_path / "t.txt", text))
    assert values(table) == ROWS
    assert table.dialect.delimiter == delimiter


def test_commas_of_reports_do_not_make_them_the_delimiter(tmp_path: Path) -> None:
    table = Table(written(tmp_path / "t.csv", "Nummer;Befund\n1;Herz, Lunge, Pleura frei.\n2;Erguss, links, klein.\n"))
    assert values(table)[1] == {"Nummer": "2", "Befund": "Erguss, links, klein."}


def test_excels_first_line_names_the_separator(tmp_path: Path) -> None:
    table = Table(written(tmp_path / "t.csv", "sep=;\r\nid;report\r\n1;Clear.\r\n"))
    assert [(row.line, row.values) for row in table] == [(3, {"id": "1", "report": "Clear."})]


def test_lines_of_two_encodings_are_each_read_in_theirs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = "id,report\n1,épaule\n".encode() + "2,épaule\n".encode("cp1252") + "3,épaule\n".encode()
    table = Table(written(tmp_path / "t.csv", content))
    with caplog.at_level(logging.WARNING):
        assert [row and row["report"] for row in values(table)] == ["épaule"] * 3
    assert "1 lines are not UTF-8 and were read as Windows-1252" in caplog.text
    assert "paule" not in caplog.text


def test_bytes_that_are_no_text_cost_their_row(tmp_path: Path) -> None:
    table = Table(written(tmp_path / "t.csv", b"id,report\n1,Clear.\n2,ef\x81fusion\n3,Edema.\n"))
    assert [row and row["id"] for row in values(table)] == ["1", None, "3"]
    assert problems(table) == [("line 3", "bytes that are neither UTF-8 nor Windows-1252; set its encoding")]


def test_a_given_encoding_is_heeded(tmp_path: Path) -> None:
    table = Table(written(tmp_path / "t.csv", "id,report\n1,выпот\n".encode("cp1251")), encoding="cp1251")
    assert values(table) == [{"id": "1", "report": "выпот"}]
    with pytest.raises(ValueError, match="unknown encoding 'klingon'"):
        Table(tmp_path / "t.csv", encoding="klingon")


def test_compression_is_detected_by_content(tmp_path: Path) -> None:
    written(tmp_path / "plainly_named.csv", gzip.compress(TEXT.encode()))
    with zipfile.ZipFile(tmp_path / "t.csv.zip", "w") as archive:
        archive.writestr("t.csv", TEXT)
    assert values(Table(tmp_path / "plainly_named.csv")) == values(Table(tmp_path / "t.csv.zip")) == ROWS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(TEXT.encode() * 500)[:-30], "the table is damaged"),
        (b"PK\x03\x04 and nothing more", "the table is damaged"),
        (b"PAR1....", "a Parquet file; save it as CSV"),
        (b"%PDF-1.7", "a PDF file"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel or Word file; save it as .xlsx or as CSV"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        list(Table(written(tmp_path / "t.csv", content)))
    assert str(tmp_path / "t.csv") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_fields_may_hold_line_breaks_delimiters_and_doubled_quotes(tmp_path: Path) -> None:
    report = 'FINDINGS:\n\nNo "large" effusion, no edema.\nIMPRESSION: Clear.'
    text = 'id,report,view\n1,"{}",PA\n2,Clear.,AP\n'.format(report.replace('"', '""'))
    assert values(Table(written(tmp_path / "t.csv", text)))[0] == {"id": "1", "report": report, "view": "PA"}


def test_quotes_escaped_by_a_backslash_are_read_where_the_table_writes_them_so(tmp_path: Path) -> None:
    text = 'id,report\n1,"No \\"large\\" effusion, none."\n2,"Clear, C:\\\\"\n'
    first, second = values(Table(written(tmp_path / "t.csv", text)))
    assert first == {"id": "1", "report": 'No "large" effusion, none.'}
    assert second == {"id": "2", "report": "Clear, C:\\\\"}


def test_empty_lines_rows_and_trailing_fields_are_no_rows(tmp_path: Path) -> None:
    text = "\n,,\nid,report,,\n1,Clear.,,\n,,,\n\n2,Edema.\n"
    table = Table(written(tmp_path / "t.csv", text))
    assert table.columns == ["id", "report"]
    assert [(row.line, row.values and row.values["id"]) for row in table] == [(4, "1"), (7, "2")]
    assert (table.read, table.bad) == (2, 0)


def test_a_header_in_the_middle_is_no_row(tmp_path: Path) -> None:
    part = "\ufeffid, report\n---,------\n1,Clear.\n"
    table = Table(written(tmp_path / "t.csv", part + part.replace("1", "2")))
    assert [row and row["id"] for row in values(table)] == [None, "1", None, None, "2"]
    assert {problem for _, problem in problems(table)} == {HEADER_AGAIN}


def test_compression_that_is_damaged_at_its_beginning_is_one_line(tmp_path: Path) -> None:
    content = bytearray(gzip.compress(b"study_id,report\n" + b"s1,Effusion.\n" * 99))
    content[10:14] = b"\xff" * 4
    (tmp_path / "t.csv.gz").write_bytes(content)
    with pytest.raises(ValueError, match="the table is damaged"):
        Table(tmp_path / "t.csv.gz")


def test_damage_anywhere_in_an_archive_is_rows_or_one_line(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "whole.zip", "w") as archive:
        archive.writestr("t.csv", "study_id,report\ns1,Effusion.\n")
    content = (tmp_path / "whole.zip").read_bytes()
    for place, change in itertools.product(range(4, len(content)), (0x01, 0xFF)):
        damaged = content[:place] + bytes([content[place] ^ change]) + content[place + 1 :]
        message = refused(written(tmp_path / "t.zip", damaged))
        assert message is None or ("\n" not in message and str(tmp_path / "t.zip") in message)


def refused(path: Path) -> str | None:
    try:
        list(Table(path))
    except ValueError as error:
        return str(error)
    return None


def test_the_mark_of_dos_behind_the_last_line_is_no_row(tmp_path: Path) -> None:
    table = Table(written(tmp_path / "t.csv", "study_id,report\ns1,Effusion.\ns2,Edema.\n\x1a"))
    assert values(table) == [{"study_id": "s1", "report": "Effusion."}, {"study_id": "s2", "report": "Edema."}]


@pytest.mark.parametrize("word", ["-", "--", "#REF!", "#VALUE!", "#N/A", "NaN", "null"])
def test_words_for_nothing_are_no_ids_and_no_texts(word: str) -> None:
    assert filled(word) == identifier(word, "study's id") == ""


def test_a_field_of_64_megabytes_costs_its_row_alone(tmp_path: Path) -> None:
    for quote in ("", '"'):
        text = f"id,report\n1,Clear.\n2,{quote}{'effusion ' * (2**26 // 9)}{quote}\n3,Edema.\n"
        table = Table(written(tmp_path / "t.csv", text))
        assert [row and row["id"] for row in values(table)] == ["1", None, "3"]
        assert problems(table)[0] == ("line 3", "longer than 16,777,216 characters")


class TestHeader:
    def test_columns_are_listed_where_they_are_names(self, tmp_path: Path) -> None:
        table = Table(written(tmp_path / "t.csv", "Nummer,Befund\n17,Erguss links.\n18,Frei.\n"))
        with pytest.raises(ValueError, match="no column 'text'; its columns are Nummer, Befund; set text_column"):
            table.require("text", hint="set text_column")

    @pytest.mark.parametrize(
        "first",
        [
            "s1,img/1.dcm,Small effusion.",
            "CXR1,small effusion",
            "4711,Clear",
            's1,"FINDINGS: edema.\nMr. Jones again."',
            "Jones,Clear",
        ],
    )
    def test_the_first_patient_is_not_shown_where_there_is_no_header(self, tmp_path: Path, first: str) -> None:
        text = f"{first}\n{first.replace('1', '2')}\n{first.replace('1', '3')}\n"
        with pytest.raises(ValueError, match="its first line does not look like column names") as caught:
            Table(written(tmp_path / "t.csv", text)).require("report")
        assert not any(word in str(caught.value) for word in ("ffusion", "edema", "Jones", "Clear", "img", "4711"))
        assert "\n" not in str(caught.value)

    def test_a_column_asked_for_must_be_there_once(self, tmp_path: Path) -> None:
        table = Table(written(tmp_path / "t.csv", "id,report,report\n1,a,b\n"))
        with pytest.raises(ValueError, match="column 'report' occurs twice"):
            table.require("report")

    def test_an_empty_file_has_no_columns(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="no column 'report'; the file is empty"):
            Table(written(tmp_path / "t.csv", "")).require("report")
