"""Label tables read from findings by a scheme."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from medvlp_reports.labels import label_reports, load_scheme, scheme_names
from medvlp_toolkit.data.records import Report

TEXTS = yaml.safe_load(Path(__file__).with_name("report_labels.yaml").read_text(encoding="utf-8"))
CASES = [
    pytest.param(text, expected, id=f"{group}: {text[:60]}")
    for group, cases in TEXTS.items()
    for text, expected in cases
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_a_text_gets_the_labels_that_a_radiologist_would_give(text: str, expected: dict[str, object]) -> None:
    found = labels(text, "chexpert14")
    for label, values in expected.items():
        allowed = values if isinstance(values, list) else [values]
        assert found.get(label) in allowed, f"{label} is {found.get(label)}, not {values}"


def labels(text: str, scheme: str = "nih14") -> dict[str, int]:
    """The labels that a report's text mentions."""
    (row,) = label_reports([Report("1", text)], scheme)
    return {label: value for label, value in row.labels.items() if value is not None}


def test_the_schemes_have_their_columns() -> None:
    assert scheme_names() == ["chexpert14", "medklip75", "nih14"]
    assert load_scheme("nih14").labels == (
        "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
        "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
    )  # fmt: skip
    assert load_scheme("chexpert14").labels == (
        "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema",
        "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture",
        "Support Devices",
    )  # fmt: skip
    assert len(load_scheme("medklip75").labels) == 75


def test_values_are_present_absent_uncertain_or_none() -> None:
    text = "Small effusion. No pneumothorax. Opacity may represent pneumonia."
    assert labels(text) == {"Effusion": 1, "Pneumothorax": 0, "Pneumonia": -1}


def test_present_outweighs_uncertain_and_uncertain_absent() -> None:
    assert labels("No effusion. Possible effusion.") == {"Effusion": -1}
    assert labels("Possible effusion. Small effusion. No effusion.") == {"Effusion": 1}


def test_a_normal_heart_denies_cardiomegaly_unless_it_is_stated() -> None:
    assert labels("Heart size is normal.") == {"Cardiomegaly": 0}
    assert labels("Heart size is normal. Mild cardiomegaly.") == {"Cardiomegaly": 1}
    assert labels("The heart is not enlarged.") == {"Cardiomegaly": 0}


def test_an_addendum_outweighs_the_report_in_the_labels() -> None:
    text = "IMPRESSION: Cardiomegaly. Possible effusion.\nADDENDUM: Heart size is normal. No effusion."
    assert labels(text) == {"Cardiomegaly": 0, "Effusion": 0}


def test_schemes_count_the_same_words_differently() -> None:
    silhouette = "The cardiac silhouette is enlarged."
    assert "Cardiomegaly" not in labels(silhouette)
    assert labels(silhouette, "chexpert14")["Cardiomegaly"] == 1
    either = "Left basilar atelectasis versus pneumonia."
    assert labels(either) == {"Atelectasis": 1, "Pneumonia": 1}
    assert labels(either, "chexpert14") == {"Atelectasis": -1, "Pneumonia": -1}


def test_a_label_may_weigh_certainty_in_its_own_way() -> None:
    assert labels("Dominant nodule/mass in the left lung.") == {"Nodule": 1, "Mass": -1}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The lungs are clear. No effusion.", {"No Finding": 1, "Pleural Effusion": 0}),
        ("Normal chest. Right PICC line.", {"No Finding": 1, "Support Devices": 1}),
        ("Small effusion.", {"Pleural Effusion": 1}),
        ("Possible pneumonia.", {"Pneumonia": -1}),
        ("", {}),
        ("Thank you for this referral.", {}),
    ],
)
def test_no_finding_means_that_nothing_but_devices_is_there(text: str, expected: dict[str, int]) -> None:
    assert labels(text, "chexpert14") == expected


def test_medklips_classes_are_labelled_by_entity() -> None:
    found = labels("Lungs are clear. Heart is mildly enlarged. No fibrosis.", "medklip75")
    assert found == {"clear": 1, "enlarge": 1, "tail_abnorm_obs": 0}


def test_a_report_without_text_gets_a_row_of_none() -> None:
    (row,) = label_reports([Report("1", " ")], "nih14")
    assert row.id == "1"
    assert set(row.labels.values()) == {None}


def test_a_users_scheme_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "certainty: {possible: 1}\nlabels:\n  Scar: {present: [scar, fibrosis]}\n  Well: {present: [clear_lung]}\n",
        encoding="utf-8",
    )
    assert labels("Possible scarring. Lungs are clear.", str(path)) == {"Scar": 1, "Well": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("labels: {A: {present: [unicorn]}}", "concept 'unicorn' is none of the lexicon's"),
        ("certainty: {maybe: 1}\nlabels: {A: {present: [scar]}}", "maybe"),
        ("certainty: {likely: 5}\nlabels: {A: {present: [scar]}}", "`likely`: 5 where 1"),
        ("labels: []", "labels"),
        ("- 1", "labels"),
        ("labels: [A]", "`labels`: a list where a mapping is expected"),
        ("no_finding: {label: B}\nlabels: {A: {present: [scar]}}", "'B'"),
    ],
)
def test_a_mistake_in_a_scheme_is_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load_scheme(path)


def test_an_unknown_scheme_lists_those_there_are() -> None:
    with pytest.raises(ValueError, match="chexpert14, medklip75, nih14"):
        load_scheme("nih15")
    with pytest.raises(FileNotFoundError, match=r"nih15\.yaml"):
        load_scheme("nih15.yaml")
