"""Finding a report's sections and choosing among them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medvlp_toolkit.data.records import Report
from medvlp_toolkit.data.sections import (
    report_from_open_i,
    sections_by_name,
    select_sections,
    split_sections,
    with_sections,
)

MIMIC = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___F with cough  // eval for pneumonia

 TECHNIQUE:  Chest PA and lateral

 COMPARISON:  ___

 FINDINGS:

 The lungs are clear.  Heart: normal in size.

 There is no effusion.

 IMPRESSION:

 No acute process.
"""

WITHOUT_FINDINGS = """                                 FINAL REPORT
 REASON FOR EXAM:  Shortness of breath.

 AP CHEST COMPARED TO ___:

 The lungs are clear.
"""


def names(text: str) -> list[str]:
    return [section.name for section in split_sections(text)]


def chosen(report: Report, *wanted: str) -> list[str]:
    return [text for _, text in select_sections(report, wanted or ("findings", "impression"))]


def test_mimic_cxr_headings_are_found() -> None:
    assert sections_by_name(split_sections(MIMIC)) == {
        "examination": "CHEST (PA AND LAT)",
        "indication": "___F with cough  // eval for pneumonia",
        "technique": "Chest PA and lateral",
        "comparison": "___",
        "findings": "The lungs are clear.  Heart: normal in size.\n\n There is no effusion.",
        "impression": "No acute process.",
    }


def test_sections_know_their_place_in_the_text() -> None:
    for text in (MIMIC, WITHOUT_FINDINGS):
        for section in split_sections(text):
            assert text[section.start : section.end] == section.text


def test_the_paragraph_after_the_indication_is_the_report_where_nothing_else_is_named() -> None:
    assert names(WITHOUT_FINDINGS) == ["indication", "unlabelled"]
    (text,) = chosen(Report("1", WITHOUT_FINDINGS))
    assert text.endswith("The lungs are clear.")
    assert "Shortness" not in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CONCLUSION: Clear.", ["impression"]),
        ("Findings and Impression: Clear.", ["findings"]),
        ("REASON FOR EXAM: Cough.\nFINDINGS: Clear.", ["indication", "findings"]),
        ("Indication: Cough. Findings: Clear. IMPRESSION: Normal.", ["indication", "findings", "impression"]),
        ("Comparison: None Findings: Clear Impression: Normal", ["comparison", "findings", "impression"]),
        ("FINDINGS: Comparison: None. The heart is normal.", ["comparison", "findings"]),
        ("FINDINGS: Chest Comparison: a density. Clear.", ["findings"]),
        ("Clear on every prior Study: none.", ["unlabelled"]),
        ("IMPRESSION\nClear.", ["impression"]),
        ("Heart: normal. Lungs: clear.", ["unlabelled"]),
        ("FINDINGS: Heart: normal.\nLUNGS: clear.", ["findings"]),
        ("There was one finding: an effusion.", ["unlabelled"]),
        ("", []),
        (" \n ", []),
        ("FINDINGS:", []),
        ("FINDINGS:\nIMPRESSION: Clear.", ["impression"]),
        ("Clear.\nIMPRESSION: Normal.", ["unlabelled", "impression"]),
    ],
)
def test_headings_are_known_names_before_a_colon_or_alone_on_a_line(text: str, expected: list[str]) -> None:
    assert names(text) == expected


def test_two_sections_of_one_name_are_joined() -> None:
    report = with_sections(Report("1", "FINDINGS: A.\nIMPRESSION: B.\nFINDINGS: C."))
    assert report.sections == {"findings": "A.\nC.", "impression": "B."}


def test_sections_are_chosen_in_the_order_of_the_text() -> None:
    report = Report("1", "IMPRESSION: B.\nINDICATION: C.\nFINDINGS: A.")
    assert chosen(report) == ["B.", "A."]
    assert chosen(report, "indication") == ["C."]


def test_a_plain_text_is_chosen_whole() -> None:
    assert select_sections(Report("1", "  Lungs are clear. ")) == [(2, "Lungs are clear.")]


def test_a_report_that_only_tells_why_it_was_made_gives_nothing() -> None:
    assert chosen(Report("1", "INDICATION: Pneumonia.")) == []


def test_other_sections_are_the_last_resort() -> None:
    assert chosen(Report("1", "ADDENDUM: Effusion seen.")) == ["Effusion seen."]


def test_given_sections_are_found_in_the_text() -> None:
    text = "The lungs are clear. Normal."
    report = Report("1", text, {"impression": "Normal.", "findings": "The lungs are clear.", "indication": "Cough."})
    assert select_sections(report) == [(0, "The lungs are clear."), (21, "Normal.")]


def test_sections_that_are_no_part_of_the_text_are_left_out() -> None:
    report = Report("1", "Normal.", {"impression": "Normal.", "findings": "The lungs are clear."})
    assert select_sections(report) == [(0, "Normal.")]


def test_a_report_that_is_only_sections_is_read_from_them() -> None:
    assert chosen(Report("1", "", {"findings": "Clear.", "indication": "Cough."})) == ["Clear."]


def test_open_i_xml_gives_id_text_and_sections() -> None:
    xml = (
        b'<eCitation><uId id="CXR12"/><Abstract><AbstractText Label="COMPARISON">None.</AbstractText>'
        b'<AbstractText Label="FINDINGS">Lungs <b>are</b> clear.</AbstractText>'
        b'<AbstractText Label="IMPRESSION"></AbstractText></Abstract></eCitation>'
    )
    report = report_from_open_i(xml)
    assert report == Report(
        "CXR12",
        "COMPARISON: None.\nFINDINGS: Lungs are clear.",
        {"comparison": "None.", "findings": "Lungs are clear."},
    )
    assert select_sections(report) == [(28, "Lungs are clear.")]


@pytest.mark.parametrize(
    "xml", [b"", b"<a>", b"\xff\xfe", b"<eCitation/>", b'<eCitation><uId id=" "/></eCitation>', b"a\0b"]
)
def test_what_is_no_open_i_report_is_refused_without_its_text(xml: bytes) -> None:
    with pytest.raises(ValueError, match="expected an Open-i report"):
        report_from_open_i(xml)


PIECES = st.lists(
    st.sampled_from(["FINDINGS:", "IMPRESSION", ":", "\n", "\n\n", " ", "clear.", "FINAL REPORT", "History:", "é"])
)


@given(PIECES.map("".join))
def test_any_text_is_split_into_ordered_pieces_of_itself(text: str) -> None:
    end = 0
    for section in split_sections(text):
        assert section.start >= end
        assert text[section.start : section.end] == section.text == section.text.strip() != ""
        end = section.end
