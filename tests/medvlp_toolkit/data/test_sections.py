"""Finding a report's sections and choosing among them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medvlp_toolkit.data.headings import read_headings, shipped_headings
from medvlp_toolkit.data.records import Report
from medvlp_toolkit.data.sections import (
    cut_to_sections,
    read_sections,
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
    return [text for _, text in (select_sections(report, wanted) if wanted else select_sections(report))]


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


@pytest.mark.parametrize(
    ("text", "read"),
    [
        # headings in lower case, within one line
        ("history: cough. comparison: none. findings: effusion. impression: edema.", ["effusion.", "edema."]),
        ("indication: cough findings: effusion impression: edema", ["effusion", "edema"]),
        # an item's label begins the findings, and stays part of them
        ("EXAM: CHEST\nCLINICAL: Dyspnea.\nLungs: Effusion.", ["Lungs: Effusion."]),
        ("LUNGS: Clear.\nHEART: Large.\nIMPRESSION: Stable.", ["LUNGS: Clear.\nHEART: Large.", "Stable."]),
        ("TECHNIQUE: AP. Lungs: clear. IMPRESSION: Normal.", ["Lungs: clear.", "Normal."]),
        ("COMPARISON: None\nHEART\nLarge\nCONCLUSION: Large heart.", ["HEART\nLarge", "Large heart."]),
        # titles of examinations
        ("INDICATION: Cough.\n\nCHEST, TWO VIEWS: Effusion.\n\nIMPRESSION: See above.", ["Effusion.", "See above."]),
        ("PORTABLE AP CHEST RADIOGRAPH, 3:45 PM: Effusion.\nIMPRESSION: Edema.", ["Effusion.", "Edema."]),
        ("HISTORY: Cough.\nPA AND LATERAL CHEST, 2 VIEWS\nAn effusion.", ["An effusion."]),
        ("AP CHEST, 9:14 A.M.\n\nHISTORY: Fever.\n\nEffusion.", ["Effusion."]),
        # dashes, markdown, written line breaks
        ("EXAM - CHEST\nFINDINGS - Effusion.\nIMPRESSION -- Edema.", ["Effusion.", "Edema."]),
        ("## Findings\nEffusion.\n\n**Impression:** Edema.", ["Effusion.", "Edema."]),
        ("FINDINGS:\\nEffusion.\\nIMPRESSION:\\nEdema.", ["Effusion.", "Edema."]),
        ("Indication: cough<br>Findings: effusion<br/>Impression: edema", ["effusion", "edema"]),
        ("FINDINGS:\r\nEffusion.\r\nIMPRESSION:\rEdema.", ["Effusion.", "Edema."]),
        ("Findings\nEffusion\nImpression\nEdema", ["Effusion", "Edema"]),
        # sections that repeat, and text under no heading
        ("FINDINGS: A.\n\nCOMPARISON: None.\n\nFINDINGS: B.\n\nIMPRESSION: C.", ["A.", "B.", "C."]),
        ("FINDINGS: A.\n\nCOMPARISON: None.\n\nB.", ["A.", "B."]),
        ("INDICATION: Cough.\n\nA.\n\nIMPRESSION: B.", ["A.", "B."]),
        ("INDICATION: Cough.\n\nEdema?\n\nFINDINGS: A.", ["A."]),
        ("EXAM: Chest.\nHISTORY: Fever.\nSmall effusion.", ["Small effusion."]),
        # addenda, and preliminary reports that a final one follows
        ("IMPRESSION: A.\nADDENDUM: B.", ["A.", "B."]),
        ("PRELIMINARY REPORT\nIMPRESSION: A.\nFINAL REPORT\nIMPRESSION: B.", ["B."]),
        ("WET READ: Effusion.", ["Effusion."]),
        ("RECOMMENDATION: CT.\nIMPRESSION: A.", ["A."]),
    ],
)  # fmt: skip
def test_what_is_read_of_a_report(text: str, read: list[str]) -> None:
    assert chosen(Report("1", text)) == read


@pytest.mark.parametrize(
    ("text", "amending"),
    [
        ("IMPRESSION: A.\nADDENDUM: B.", ["B."]),
        ("IMPRESSION: A.\nADDENDUM: B.\nIMPRESSION: C.", ["B.", "C."]),
        ("ADDENDUM: B.\nIMPRESSION: A.", ["B."]),
        ("FINAL ADDENDUM\nIMPRESSION: B.\n\nFINAL REPORT\nIMPRESSION: A.", ["B."]),
        ("FINAL ADDENDUM\nB.\n\nFINAL REPORT\nIMPRESSION: A.\n\nADDENDUM: C.", ["B.", "C."]),
        ("IMPRESSION: A.", []),
    ],
)
def test_an_addendum_amends_as_far_as_it_reaches(text: str, amending: list[str]) -> None:
    assert [section.text for section in read_sections(Report("1", text)) if section.amends] == amending


def test_written_line_breaks_keep_places_in_the_text() -> None:
    text = "FINDINGS:\\nA<br>B.\r\nIMPRESSION: C."
    for section in split_sections(text):
        assert text[section.start : section.end] == section.text
    assert chosen(Report("1", text)) == ["A<br>B.", "C."]


def test_headings_of_ones_own_add_to_the_shipped_ones(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("sections: {findings: [seen], history: [story]}\nitems: [gallbladder]\n", encoding="utf-8")
    headings = read_headings(path)
    report = Report("1", "STORY: A.\nGALLBLADDER: B.\nIMPRESSION: C.")
    assert [text for _, text in select_sections(report, headings=headings)] == ["GALLBLADDER: B.", "C."]
    assert headings.digest != shipped_headings().digest


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("sections: [findings]", r"sections: \['findings'\] is not of type 'object'"),
        ("section: {findings: [seen]}", "'section' was unexpected"),
        ("sections: {findings: [yes]}", r"sections.findings.0: True is not of type 'string'"),
        ("sections: {findings: [a}", "line 1: not readable as YAML"),
        ("", "None is not of type 'object'"),
    ],
)
def test_a_mistake_in_a_file_of_headings_is_one_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message) as raised:
        read_headings(path)
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)


def test_a_file_of_headings_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"mine\.yaml: the file of headings does not exist"):
        read_headings(tmp_path / "mine.yaml")


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


def test_given_sections_that_were_joined_are_found_in_their_parts() -> None:
    report = Report("1", "FINDINGS: A.\nIMPRESSION: B.\nFINDINGS: C.", {"findings": "A.\nC.", "impression": "B."})
    assert select_sections(report) == [(10, "A."), (25, "B."), (38, "C.")]


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


BODIES = st.sampled_from(
    ["Small effusion.", "No effusion.", "Mild edema.\nNo effusion.", "None.", "Heart: normal.", ""]
)
NAMES = ["FINDINGS:", "IMPRESSION:", "ADDENDUM:", "INDICATION:", "COMPARISON:", "LUNGS:", "CHEST, TWO VIEWS:"]
LINES = ["FINAL REPORT", "FINAL ADDENDUM", "PORTABLE CHEST RADIOGRAPH", "## Findings"]
PARTS = st.tuples(st.sampled_from([*NAMES, *LINES, ""]), st.sampled_from([" ", "\n", "\n\n"]), BODIES)
REPORTS = st.lists(st.tuples(PARTS, st.sampled_from(["\n", "\n\n", " "])), max_size=7).map(
    lambda parts: "".join("".join(part) + gap for part, gap in parts)
)


@given(REPORTS, st.sampled_from([("findings", "impression", "addendum"), ("impression",), ("findings",)]))
def test_a_report_cut_to_its_sections_is_read_as_the_whole_report(text: str, names: tuple[str, ...]) -> None:
    """`prepare` cuts a report before a filter reads it; `filter` and `label` do not."""
    report = Report("1", text)
    whole = [(section.name, section.text, section.amends) for section in read_sections(report, names)]
    for given_sections in (report, with_sections(report)):
        cut = cut_to_sections(given_sections, names)
        assert [(section.name, section.text, section.amends) for section in read_sections(cut, names)] == whole
        assert cut.text == "\n".join(text for _, text, _ in whole)
