"""Columns by what they hold."""

from __future__ import annotations

import pytest

from medvlp_toolkit.tables.cells import filled, identifier
from medvlp_toolkit.tables.columns import ColumnError, Columns, find


@pytest.mark.parametrize(
    ("role", "name"),
    [
        ("image", "path"), ("image", "filepath"), ("image", "File Path"), ("image", "dicom_id"), ("image", "ImagePath"),
        ("report", "Report Text"), ("report", "text"), ("report", "NARRATIVE"), ("study", "AccessionNumber"),
        ("study", "accession"), ("study", "StudyInstanceUID"), ("patient", "subject_id"), ("patient", "MRN"),
        ("patient", "PatientID"), ("view", "ViewPosition"), ("sex", "gender"),
    ],
)  # fmt: skip
def test_names_in_use_are_found(role: str, name: str) -> None:
    assert find(["other", name, "more"], role).name == name


def test_the_usual_name_goes_before_others() -> None:
    assert find(["path", "image", "filepath"], "image").name == "image"
    assert find(["dicom_id", "path"], "image").name == "path"


def test_two_that_may_be_meant_are_named_with_the_option() -> None:
    columns = Columns("t.csv", ["path", "filename", "report"])
    with pytest.raises(ColumnError, match="columns 'path' and 'filename' may both be the image; set image_column"):
        columns.column("image", "image", "image_column")


def test_a_name_asked_for_is_that_one_or_none() -> None:
    columns = Columns("t.csv", ["Report", "befund", "image"])
    assert columns.column("report", "befund", "report_column") == "befund"
    assert columns.column("report", "REPORT", "report_column") == "Report"
    with pytest.raises(
        ColumnError, match="no column 'words'; its columns are Report, befund, image; set report_column"
    ):
        columns.column("report", "words", "report_column")


@pytest.mark.parametrize("value", ["", " ", "NaN", "NULL", "None", "#N/A", "\\N", None])
def test_what_tables_write_for_nothing_is_nothing(value: str | None) -> None:
    assert filled(value) == ""


def test_ids_that_a_spreadsheet_has_rounded_are_refused() -> None:
    assert identifier(" 50414267 ", "id") == "50414267"
    for value in ("5.04142E+16", "1,2E+10", "s1\ns2"):
        with pytest.raises(ValueError, match=r"id") as caught:
            identifier(value, "study's id")
        assert value not in str(caught.value)
