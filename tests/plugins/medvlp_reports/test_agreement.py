"""Comparing a label table with an annotated one; and on annotated Open-i reports where they are at hand."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from medvlp_reports.agreement import Agreement, agreement, read_labels, together
from medvlp_reports.io import ReportReader, write_labels
from medvlp_reports.labels import label_reports, load_scheme


def test_precision_recall_and_f1_follow_from_the_counts() -> None:
    counts = Agreement(true_positives=6, false_positives=2, false_negatives=3)
    assert counts.precision == pytest.approx(6 / 8)
    assert counts.recall == pytest.approx(6 / 9)
    assert counts.f1 == pytest.approx(12 / 17)
    assert Agreement(0, 0, 0).f1 == 0.0


def test_only_ones_are_positive_and_labels_add_up(tmp_path: Path) -> None:
    labels, gold = tmp_path / "labels.csv", tmp_path / "gold.csv"
    labels.write_text("uid,A,B\n1,1,-1\n2,1.0,\n3,0,1\nextra,1,1\n", encoding="utf-8")
    gold.write_text("uid,A,B\n1,1,1\n2,0,0\n3,1,1\n", encoding="utf-8")
    per_label = agreement(read_labels(labels), read_labels(gold), ["A", "B"])
    assert per_label == {"A": Agreement(1, 1, 1), "B": Agreement(1, 0, 1)}
    assert together(per_label) == Agreement(2, 1, 2)


def test_annotated_reports_without_labels_are_named() -> None:
    with pytest.raises(ValueError, match="1 of 2 annotated reports have no labels, the first is b"):
        agreement({"a": {"A": "1"}}, {"a": {"A": "1"}, "b": {"A": "0"}}, ["A"])


@pytest.mark.slow
def test_labels_agree_with_the_annotated_open_i_reports(shared_data: Path, tmp_path: Path) -> None:
    """The bars of docs/report_filters.md; the reports come with the package torchxrayvision."""
    package = find_spec("torchxrayvision")
    if package is None or package.origin is None:
        pytest.skip("needs the package torchxrayvision, which carries the Open-i reports")
    reader = ReportReader(Path(package.origin).with_name("data") / "NLMCXR_reports.tgz")
    scheme = load_scheme("nih14")
    write_labels(tmp_path / "labels.csv", label_reports(reader, scheme), scheme.labels, reader)
    annotated = read_labels(shared_data / "openi_gold_dev.csv")
    names = [label for label in scheme.labels if label != "Hernia"]
    per_label = agreement(read_labels(tmp_path / "labels.csv"), annotated, names)
    assert together(per_label).f1 >= 0.97
    assert together(per_label).precision >= 0.97
    for label, counts in per_label.items():
        if counts.true_positives + counts.false_negatives >= 10:
            assert counts.f1 >= 0.85, label
