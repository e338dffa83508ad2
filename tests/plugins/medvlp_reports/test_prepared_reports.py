"""`prepare` and the filter by itself read the same characters of a report and find the same in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medvlp_reports.labels import label_reports
from medvlp_reports.rules import RuleFilter
from medvlp_toolkit.data.records import Report, Study
from medvlp_toolkit.data.sections import DEFAULT_SECTIONS, with_sections
from medvlp_toolkit.data.store.rejected import Reason
from medvlp_toolkit.data.store.store import PackedStore
from medvlp_toolkit.preparing.packing import ChunkPacker, unpack_rows
from medvlp_toolkit.preparing.prepare import Prepare, Summary
from medvlp_toolkit.preparing.record_json import dump
from tests.rejections import read_rejected

RULES = RuleFilter()

STATEMENTS = [
    "Small left effusion.", "No pneumothorax", "Mild edema.", "No focal consolidation\nCardiomegaly", "None.",
    "Pneumothorax: no\nEffusion: yes", "1) No edema 2) Right basilar atelectasis", "Right PICC in place. No change.",
    "The heart is\nenlarged.", "Opacity at the left base, likely pneumonia.", "Findings: see above", "?pneumonia",
]  # fmt: skip
HEADINGS = [
    "FINDINGS:", "Findings -", "## Findings\n", "IMPRESSION:", "impression:", "CONCLUSION\n", "ADDENDUM:",
    "FINAL ADDENDUM\n", "FINAL REPORT\n", "INDICATION:", "History:", "COMPARISON:", "TECHNIQUE: AP.", "LUNGS:",
    "Heart:", "AP CHEST, 9:14 A.M.\n", "CHEST, TWO VIEWS:", "PORTABLE CHEST\n", "", "", "WET READ:", "RECOMMENDATION:",
]  # fmt: skip
PARAGRAPHS = st.tuples(
    st.sampled_from(HEADINGS), st.sampled_from([" ", "\n", "\n\n", "\\n"]), st.sampled_from(STATEMENTS)
).map("".join)
REPORTS = st.lists(st.tuples(PARAGRAPHS, st.sampled_from(["\n", "\n\n", " ", "\r\n"])).map("".join), max_size=6).map(
    "".join
)


def prepared(report: Report) -> dict[str, Any] | None:
    """The row that `prepare` stores for a report, without its image."""
    packer = ChunkPacker(image=None, sections=DEFAULT_SECTIONS, report_filter=RULES, require_report=False)
    rows = unpack_rows(packer(dump([Study("1", "1", None, report)])).body)
    return rows[0] if rows else None


@settings(max_examples=150, deadline=None)
@given(REPORTS)
def test_prepare_finds_in_any_report_what_the_filter_finds(text: str) -> None:
    report = Report("1", text)
    alone = [
        (finding.entity, str(finding.presence), finding.position, text[slice(*finding.span)])
        for finding in RULES.findings(report)
        if finding.span is not None
    ]
    for given_report in (report, with_sections(report)):
        row = prepared(given_report)
        assert row is not None
        stored = [
            (entity, presence, position, row["text"][start:end])
            for entity, presence, position, start, end, _ in row["findings"]
        ]
        assert stored == alone


REPEATED = {
    "two_findings": "FINDINGS: Left effusion.\n\nCOMPARISON: None.\n\nFINDINGS: Edema.\n\nIMPRESSION: Cardiomegaly.",
    "two_impressions": "FINDINGS: Clear lungs.\n\nIMPRESSION: Small left effusion.\n\nIMPRESSION: Edema.",
    "impression_and_conclusion": "IMPRESSION: Small left effusion.\n\nCONCLUSION: Edema.",
    "title_and_history": " FINAL REPORT\n AP CHEST, 9:14 A.M.\n\n HISTORY:  Fever.\n\n Left effusion. Mild edema.\n",
    "title_and_indication": " PORTABLE CHEST\n\n INDICATION: Fever.\n\n COMPARISON: None.\n\n Effusion.\n\n Edema.\n",
    "indication": " INDICATION:  Fever.\n\n COMPARISON:  None.\n\n Left effusion. Mild edema.\n",
    "addendum": " FINAL ADDENDUM\n IMPRESSION: Edema, in retrospect.\n\n FINAL REPORT\n FINDINGS: Left effusion.\n",
    "two_examinations": " EXAM: Chest\n\n FINDINGS: Left effusion.\n\n EXAM: Chest, repeat\n\n IMPRESSION: Edema.\n",
    "title_and_findings": " INDICATION: Cough.\n\n PORTABLE CHEST: Left effusion.\n\n FINDINGS: Edema.\n",
}


@pytest.mark.parametrize("text", REPEATED.values(), ids=REPEATED)
def test_repeated_and_unlabelled_sections_are_stored_and_labelled(text: str) -> None:
    report = Report("1", text)
    row = prepared(report)
    assert row is not None
    assert {finding[0] for finding in row["findings"] if finding[1] == "present"} >= {"effusion", "edema"}
    (labelled,) = label_reports([report], "nih14", RULES)
    assert (labelled.labels["Effusion"], labelled.labels["Edema"]) == (1, 1)


def test_the_summary_counts_reports_without_a_section_or_a_finding(tmp_path: Path) -> None:
    texts = ["FINDINGS: Effusion.", "INDICATION: Pneumonia.", "HISTORY: Cough.", "FINDINGS: Thank you.", " "]
    studies = [Study(str(n), str(n), None, Report(str(n), text)) for n, text in enumerate(texts)]

    def run(name: str, **settings: Any) -> Summary:
        return Prepare(studies, tmp_path / name, image_size=None, report_filter=RULES, workers=0, **settings).run()

    summary = run("strict")
    assert (summary.stored, summary.unread, summary.without_findings) == (1, 2, 1)
    assert "no section that is read: 2; no finding: 1" in str(summary)
    reasons = [item.reason for item in read_rejected(tmp_path / "strict" / "rejected.csv")]
    assert reasons == [Reason.NO_SECTION, Reason.NO_SECTION, Reason.NO_FINDINGS, Reason.EMPTY_REPORT]
    kept = run("kept", require_report=False)
    assert (kept.stored, kept.unread, kept.without_findings) == (5, 2, 1)
    counts = PackedStore.open(tmp_path / "kept").meta["counts"]
    assert (counts["unread"], counts["without_findings"]) == (2, 1)
    again = run("kept", require_report=False)
    assert again.already_complete
    assert (again.unread, again.without_findings) == (2, 1)
