"""What the rule-based filter reads in sentences and reports."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from medvlp_reports.assertion import Certainty
from medvlp_reports.rules import RuleFilter
from medvlp_toolkit.data.records import Presence, Report

SENTENCES = yaml.safe_load(Path(__file__).with_name("sentences.yaml").read_text(encoding="utf-8"))
CASES = [
    pytest.param(sentence, expected, id=f"{group}: {sentence}")
    for group, cases in SENTENCES.items()
    for sentence, expected in cases
]
SAID = {
    "+": {Certainty.STATED, Certainty.LIKELY},
    "?": {Certainty.POSSIBLE, Certainty.ALTERNATIVE},
    "~": {Certainty.LIKELY},
    "-": {Certainty.ABSENT},
    "h": {Certainty.HISTORY},
}
EXPECTATION = re.compile(r"(\w+?)(!?)([+?~h-])(?:@(\w+))?")


@pytest.fixture(scope="module")
def rules() -> RuleFilter:
    return RuleFilter()


def assert_read(report_filter: RuleFilter, sentence: str, expected: str) -> None:
    mentions = report_filter.mentions(Report("1", sentence))
    found = [(mention.concept, mention.certainty, mention.position) for mention in mentions]
    for part in expected.split():
        match = EXPECTATION.fullmatch(part)
        assert match is not None, part
        concept, unsaid, said, position = match.groups()
        read = any(
            name == concept and certainty in SAID[said] and (position is None or where == position)
            for name, certainty, where in found
        )
        assert read != bool(unsaid), f"{part} not in {found}"


@pytest.mark.parametrize(("sentence", "expected"), CASES)
def test_a_sentence_is_read_as_a_radiologist_means_it(rules: RuleFilter, sentence: str, expected: str) -> None:
    assert_read(rules, sentence, expected)


def test_entities_and_positions_are_medklips_in_its_order(rules: RuleFilter) -> None:
    assert len(rules.entities) == 75
    assert len(rules.positions) == 51
    assert rules.entities[:9] == [
        "normal", "clear", "sharp", "sharply", "unremarkable", "intact", "stable", "free", "effusion"
    ]  # fmt: skip
    assert rules.entities[20] == "pneumonia"
    assert rules.entities[73:] == ["tail_abnorm_obs", "excluded_obs"]
    assert rules.positions[0] == "trachea"
    assert rules.positions[13] == "lower_left_lobe"
    assert rules.positions[48:] == ["lung_volumes", "unspecified", "other"]


def test_findings_use_declared_entities_and_positions(rules: RuleFilter) -> None:
    for cases in SENTENCES.values():
        for findings in rules([Report("1", sentence) for sentence, _ in cases]):
            for finding in findings:
                assert finding.entity in rules.entities
                assert finding.position is None or finding.position in rules.positions
                assert isinstance(finding.presence, Presence)


def test_spans_point_at_the_words_in_the_original_text(rules: RuleFilter) -> None:
    text = "FINDINGS: Heart size is normal.  No pleural\n effusion.\nIMPRESSION: Left basilar Atelectasis."
    spans = {
        finding.concept_id: text[slice(*finding.span)] for finding in rules([Report("1", text)])[0] if finding.span
    }
    assert spans == {"normal_heart": "normal", "pleural_effusion": "effusion", "atelectasis": "Atelectasis"}


def test_spans_hold_after_letters_that_grow_in_lower_case(rules: RuleFilter) -> None:
    text = "İİİ small effusion"
    (finding,) = rules([Report("1", text)])[0]
    assert finding.span is not None
    assert text[slice(*finding.span)] == "effusion"


def test_indication_and_history_sections_are_not_read(rules: RuleFilter) -> None:
    text = "INDICATION: Pneumothorax.\n\nFINDINGS: Small effusion.\n\nIMPRESSION: Effusion."
    assert {finding.entity for finding in rules([Report("1", text)])[0]} == {"effusion"}


def test_given_sections_are_read_where_they_stand_in_the_text() -> None:
    text = "Small effusion.\nCardiomegaly."
    report = Report("1", text, {"findings": "Small effusion.", "impression": "Cardiomegaly.", "indication": "Edema."})
    findings = RuleFilter(sections=["impression"])([report])[0]
    assert [(finding.entity, finding.span) for finding in findings] == [("cardiomegaly", (16, 28))]


def test_history_gives_no_finding(rules: RuleFilter) -> None:
    assert rules([Report("1", "History of pneumonia.")]) == [[]]


def test_likely_counts_as_the_option_says() -> None:
    report = Report("1", "Probable small effusion.")
    assert RuleFilter()([report])[0][0].presence is Presence.PRESENT
    assert RuleFilter(likely_is_present=False)([report])[0][0].presence is Presence.UNCERTAIN


def test_an_addendum_takes_back_what_the_report_says(rules: RuleFilter) -> None:
    text = "IMPRESSION: Small left effusion. Pneumothorax.\nADDENDUM: No pneumothorax. No right effusion."
    found = {(f.concept_id, f.position): f.presence for f in rules([Report("1", text)])[0]}
    assert found == {
        ("pleural_effusion", "left_pleural"): Presence.PRESENT,
        ("pneumothorax", None): Presence.ABSENT,
        ("pleural_effusion", "right_pleural"): Presence.ABSENT,
    }


def test_headings_of_ones_own_are_read(tmp_path: Path) -> None:
    path = tmp_path / "headings.yaml"
    path.write_text("sections: {findings: [what we saw], history: [story]}\n", encoding="utf-8")
    report = Report("1", "STORY: Edema.\nWHAT WE SAW: Effusion.")
    assert [f.entity for f in RuleFilter(headings=path)([report])[0]] == ["effusion"]
    assert RuleFilter(headings=path).fingerprint != RuleFilter().fingerprint


def test_one_letter_misspelt_is_still_read(rules: RuleFilter) -> None:
    findings = rules([Report("1", "Small left pneumthorax. Mild cardiomegayl. No consolidatoin.")])[0]
    assert [finding.entity for finding in findings] == ["pneumothorax", "cardiomegaly", "consolidation"]


def test_redaction_marks_do_not_part_words(rules: RuleFilter) -> None:
    (finding,) = rules([Report("1", "No XXXX pleural XXXX effusion.")])[0]
    assert (finding.concept_id, finding.presence, finding.position) == (
        "pleural_effusion", Presence.ABSENT, "pleural_unspec",
    )  # fmt: skip


def test_one_finding_at_two_places_is_two_findings(rules: RuleFilter) -> None:
    findings = rules([Report("1", "Opacities in the right upper and left lower lobes.")])[0]
    assert {finding.position for finding in findings} == {"upper_right_lobe", "lower_left_lobe"}
    assert len({finding.span for finding in findings}) == 1


@pytest.mark.parametrize("text", ["", " \n\t", "XXXX", "\0\0", "....", "1. 2. 3.", "é" * 10, "-" * 5000])
def test_a_report_without_findings_gives_an_empty_list(rules: RuleFilter, text: str) -> None:
    assert rules([Report("1", text)]) == [[]]


def test_a_long_report_is_read_to_its_end(rules: RuleFilter) -> None:
    text = "There is no effusion. " * 50_000 + "Small pneumothorax."
    findings = rules.findings(Report("1", text))
    assert len(findings) == 50_001
    assert (findings[-1].entity, findings[-1].presence) == ("pneumothorax", Presence.PRESENT)


@pytest.mark.parametrize(
    "text",
    [
        "A" + " " * 100_000 + "x", "a" * 100_000, "." * 100_000 + "x", "?" * 50_000, " (a" * 30_000,
        "effusion\t" * 10_000, "No effusion\n" * 10_000, "left small " * 10_000, "large " * 10_000,
        "effusion " * 10_000, "effusion: no, " * 10_000, "in the left base " + "effusion " * 10_000,
        "FINDINGS: Effusion.\n" * 5_000, "ADDENDUM: No effusion.\nIMPRESSION: Effusion.\n" * 2_000,
        "1) No effusion 2) effusion " * 3_000,
    ],
    ids=lambda text: text[:12].strip(),
)  # fmt: skip
def test_endless_text_of_any_kind_is_read(rules: RuleFilter, text: str) -> None:
    """None of these may cost a multiple of its length; quadratic reading would take minutes here."""
    for finding in rules.findings(Report("1", text)):
        assert finding.span is not None
        assert finding.span[1] <= len(text)


def test_a_sentence_that_never_ends_is_read(rules: RuleFilter) -> None:
    findings = rules.findings(Report("1", "no effusion and " * 20_000))
    assert {finding.presence for finding in findings} == {Presence.ABSENT}


def test_reading_is_the_same_with_and_without_kept_sentences() -> None:
    reports = [Report("1", " ".join(sentence for sentence, _ in cases)) for cases in SENTENCES.values()]
    keeping, forgetting = RuleFilter(), RuleFilter(cache_size=1)
    assert keeping(reports) == keeping(reports) == forgetting(reports)


def test_a_filter_reads_the_same_in_another_process() -> None:
    reports = [Report("1", sentence) for cases in SENTENCES.values() for sentence, _ in cases]
    rules = RuleFilter()
    assert pickle.loads(pickle.dumps(rules))(reports) == rules(reports)


def test_the_fingerprint_tells_settings_apart() -> None:
    assert RuleFilter().fingerprint == RuleFilter().fingerprint
    assert RuleFilter().fingerprint != RuleFilter(sections=["impression"]).fingerprint


TEXT = (
    "no not without small left right pleural effusion pneumothorax , and or . ; is are seen heart enlarged normal "
    "lungs clear in the base may represent XXXX resolved but with of upper lobe opacity versus unchanged : / history"
)
WORDS = st.sampled_from(TEXT.split())


@settings(max_examples=200, deadline=None)
@given(st.lists(WORDS, max_size=40).map(" ".join))
def test_any_word_order_gives_valid_findings_in_order(text: str) -> None:
    findings = FUZZED([Report("1", text)])[0]
    starts = [finding.span[0] for finding in findings if finding.span]
    assert len(starts) == len(findings)
    for finding in findings:
        assert finding.span is not None
        assert 0 <= finding.span[0] < finding.span[1] <= len(text)
    sentence_starts = sorted(starts)
    assert starts == sentence_starts


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_read_without_error(text: str) -> None:
    for finding in FUZZED([Report("1", text)])[0]:
        assert finding.span is not None
        assert finding.span[1] <= len(text)


FUZZED = RuleFilter()


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([case for cases in SENTENCES.values() for case in cases]))
def test_left_and_right_exchanged_in_the_text_are_exchanged_in_the_positions(case: tuple[str, str]) -> None:
    sentence = case[0]

    def exchanged(text: str) -> str:
        swap = {"left": "right", "Left": "Right", "LEFT": "RIGHT", "RLL": "LLL", "RUL": "LUL"}
        swap |= {there: here for here, there in swap.items()}
        return re.sub(rf"\b(?:{'|'.join(swap)})\b", lambda match: swap[match.group()], text)

    mirrored = {"lower_left_lobe": "lower_right_lobe", "upper_left_lobe": "upper_right_lobe"}
    mirrored |= {
        position: position.replace("left", "right", 1)
        for position in FUZZED.positions
        if position.startswith("left") and position.replace("left", "right", 1) in FUZZED.positions
    }
    mirrored |= {right: left for left, right in mirrored.items()}
    # Landmarks of one side only have no mirror image.
    if re.search("lingula|middle lobe|RML|atri|ventric", sentence, re.IGNORECASE):
        return
    before = FUZZED.findings(Report("1", sentence))
    after = FUZZED.findings(Report("1", exchanged(sentence)))
    expected = [mirrored.get(finding.position or "", finding.position) for finding in before]
    assert [finding.position for finding in after] == expected
