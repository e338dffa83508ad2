"""Excel workbooks."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import Any

import pytest

from medvlp_toolkit.tables.table import Table
from medvlp_toolkit.tables.workbook import CELL_LIMIT

openpyxl = pytest.importorskip("openpyxl")


def workbook(path: Path, *sheets: list[list[Any]]) -> Path:
    book = openpyxl.Workbook()
    for number, rows in enumerate(sheets):
        sheet = book.active if number == 0 else book.create_sheet()
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def test_cells_are_read_as_a_csv_would_hold_them(tmp_path: Path) -> None:
    row = ["s1", 50414267, 61.0, True, datetime.date(2024, 1, 2), "No effusion,\nno edema.", None]
    path = workbook(tmp_path / "t.xlsx", [["study_id", "number", "age", "flag", "date", "report", "view"], row], [])
    (only,) = Table(path)
    assert only.values == {
        "study_id": "s1",
        "number": "50414267",
        "age": "61",
        "flag": "1",
        "date": "2024-01-02T00:00:00",
        "report": "No effusion,\nno edema.",
        "view": "",
    }


def test_the_content_counts_not_the_name(tmp_path: Path) -> None:
    assert Table(workbook(tmp_path / "t.csv", [["id", "report"], [1, "Clear."]])).columns == ["id", "report"]


def test_rows_have_their_number_in_the_sheet_and_empty_ones_are_none(tmp_path: Path) -> None:
    path = workbook(
        tmp_path / "t.xlsx", [["id", "report"], [1, "Clear."], [None, None], [2, "a", "beyond"], [3, "#N/A"]]
    )
    table = Table(path)
    assert [(row.line, row.values, row.problem) for row in table] == [
        (2, {"id": "1", "report": "Clear."}, ""),
        (4, None, "3 fields instead of 2"),
        (5, {"id": "3", "report": ""}, ""),
    ]


def test_a_text_that_the_spreadsheet_has_cut_is_rejected(tmp_path: Path) -> None:
    path = workbook(tmp_path / "t.xlsx", [["id", "report"], [1, "x" * CELL_LIMIT], [2, "Clear."]])
    first, second = Table(path)
    assert first.values is None
    assert "at which spreadsheets truncate texts" in first.problem
    assert second.values is not None


def test_several_sheets_with_rows_are_refused(tmp_path: Path) -> None:
    path = workbook(tmp_path / "t.xlsx", [["id", "report"], [1, "a"]], [["id", "report"], [2, "b"]])
    with pytest.raises(ValueError, match="2 sheets have rows; save the one to read as a separate file"):
        Table(path)


def test_a_damaged_workbook_is_one_line(tmp_path: Path) -> None:
    path = workbook(tmp_path / "t.xlsx", [["id", "report"], [1, "a"]])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="the table is damaged"):
        Table(path)


def refused(path: Path) -> str | None:
    try:
        list(Table(path))
    except ValueError as error:
        return str(error)
    return None


def test_damage_anywhere_in_a_workbook_is_rows_or_one_line(tmp_path: Path) -> None:
    content = workbook(tmp_path / "whole.xlsx", [["study_id", "report"], ["s1", "Effusion."]]).read_bytes()
    for place in range(0, len(content), 37):
        damaged = content[:place] + bytes([content[place] ^ 0x5A]) + content[place + 1 :]
        (tmp_path / "a.xlsx").write_bytes(damaged)
        message = refused(tmp_path / "a.xlsx")
        assert message is None or ("\n" not in message and str(tmp_path / "a.xlsx") in message)


def test_texts_that_unpack_to_more_than_memory_holds_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medvlp_toolkit.tables.workbook.MOST_SHARED", 100)
    path = workbook(tmp_path / "a.xlsx", [["study_id", "report"], ["s1", "Effusion."]])
    with pytest.raises(ValueError, match="more than 100 bytes; save it as CSV"):
        Table(path)


def test_without_openpyxl_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = workbook(tmp_path / "t.xlsx", [["id", "report"], [1, "a"]])
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(ValueError, match=r"needs openpyxl \(pip install 'medvlp-toolkit\[excel\]'\)"):
        Table(path)
