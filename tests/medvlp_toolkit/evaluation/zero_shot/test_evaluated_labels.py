"""Which label columns of a store, or which findings of its reports, an evaluation measures."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medvlp_datasets.csv_source import CsvSource
from medvlp_reports.finding_names import finding_names
from medvlp_reports.rules import RuleFilter
from medvlp_toolkit.data import PackedStore, StudyDataset
from medvlp_toolkit.evaluation import EvaluatedLabels
from medvlp_toolkit.evaluation.results.label_origin import label_origin
from medvlp_toolkit.preparing import Prepare

ENTITIES = ("effusion", "edema", "thicken", "opacity")
REPORTS = (
    "Left pleural effusion. No edema.",
    "No pleural effusion. Pulmonary edema.",
    "Possible pleural effusion.",
    "Clear lungs.",
)
Make = Callable[..., PackedStore]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A store of the four reports with further columns: name -> a value for each."""

    def store(columns: Mapping[str, Sequence[Any]] | None = None, **options: Any) -> PackedStore:
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "black.png")
        with (tmp_path / "studies.csv").open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["study_id", "image", "report", "split", *(columns or {})])
            for row, report in enumerate(REPORTS):
                more = [values[row] for values in (columns or {}).values()]
                writer.writerow([f"s{row}", "black.png", report, "test", *more])
        source = CsvSource(tmp_path / "studies.csv", report_column="report", known_labels=finding_names(), **options)
        prepare = Prepare(
            source, output_dir=tmp_path / "store", report_filter=RuleFilter(), image_size=8, workers=0, overwrite=True
        )
        prepare.run()
        return PackedStore.open(tmp_path / "store")

    return store


def chosen(store: PackedStore, labels: Any = None, **options: Any) -> EvaluatedLabels:
    return EvaluatedLabels(
        store, labels, **{"entities": ENTITIES, "known_as": finding_names(), "splits": ["test"]} | options
    )


@pytest.mark.parametrize(
    ("column", "entity"),
    [
        ("effusion", "effusion"),
        ("Effusion", "effusion"),
        ("Pleural Effusion", "effusion"),
        ("pleural effusion", "effusion"),
        ("PLEURAL-EFFUSION", "effusion"),
        ("Pleural_Thickening", "thicken"),
        ("Lung Opacity", "opacity"),
    ],
)
def test_a_column_is_matched_whatever_its_case_and_through_the_schemes_names(
    make: Make, column: str, entity: str
) -> None:
    labels = chosen(make({column: [1, 0, "", -1]}))
    assert labels.entity_of == {column: entity}
    assert labels.reported is None


def test_columns_that_name_no_entity_are_named_in_one_line(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    columns = {"Edema": [1, 0, 0, 0], "Support Devices": [1, 1, 0, 0], "verified": [0, 1, 0, 0]}
    store = make(columns, label_columns=["Support Devices", "verified"])
    with caplog.at_level(logging.WARNING):
        assert chosen(store).entity_of == {"Edema": "edema"}
    (line,) = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert "Support Devices, verified" in line
    assert "--labels" in line


def test_label_columns_none_of_which_names_an_entity_are_an_error_with_columns_names_and_option(make: Make) -> None:
    store = make({"verified": [0, 1, 0, 0]}, label_columns=["verified"])
    with pytest.raises(ValueError, match="nothing to evaluate") as caught:
        chosen(store)
    for part in ("verified", "effusion", "--labels \"{'verified': 'effusion'}\"", "--labels stated"):
        assert part in str(caught.value)


def test_without_label_columns_the_findings_of_the_reports_are_the_labels(make: Make) -> None:
    store = make()
    labels = chosen(store)
    assert labels.reported == "stated"
    assert labels.names == ["effusion", "edema"]
    targets = StudyDataset(store, labels=labels.names, reported=labels.reported).targets
    assert targets is not None
    assert targets.tolist() == [[1, 0], [0, 1], [-1, -1], [-1, -1]]


def test_a_finding_that_a_report_does_not_mention_may_count_as_absent(make: Make) -> None:
    store = make()
    labels = chosen(store, "mentioned")
    targets = StudyDataset(store, labels=labels.names, reported=labels.reported).targets
    assert targets is not None
    # What is called possible stays unknown.
    assert dict(zip(labels.names, targets.T.tolist(), strict=True))["effusion"] == [1, 0, -1, 0]


def test_the_origin_of_such_labels_names_the_filter(make: Make) -> None:
    store = make({"Edema": [1, 0, 0, 0]})
    origin = label_origin(StudyDataset(store, labels=["edema"], reported="stated"))
    assert origin is not None
    assert origin["note"] == "labels derived from the reports by `rules`, not annotations"
    assert label_origin(StudyDataset(store, labels=["Edema"])) is None


def test_reports_that_state_nothing_both_ways_are_an_error_that_says_how_to_fix_it(make: Make) -> None:
    store = make()
    with pytest.raises(ValueError, match="nothing to evaluate") as caught:
        chosen(store, entities=["opacity"])
    for part in ("no label columns", "split test", "--label_columns", "--labels mentioned", "--test_split"):
        assert part in str(caught.value)
    assert chosen(store, entities=["opacity"], required=False).names == []


def test_labels_asked_for_are_found_whatever_their_case_and_an_entity_under_its_other_names(make: Make) -> None:
    store = make({"Pleural Effusion": [1, 0, 0, 0], "Edema": [1, 0, 0, 0]})
    assert chosen(store, {"pleural_effusion": "Effusion"}).entity_of == {"Pleural Effusion": "effusion"}
    assert chosen(store, ["effusion"]).entity_of == {"Pleural Effusion": "effusion"}
    assert chosen(store, ["effusion"], entities=None).names == ["Pleural Effusion"]
    with pytest.raises(ValueError, match="no label column; it has Pleural Effusion, Edema"):
        chosen(store, {"nodules": "edema"})
    with pytest.raises(ValueError, match="'oedema' is none of the model's 4 entities \\(edema"):
        chosen(store, {"Edema": "oedema"})
    with pytest.raises(ValueError, match="stated or mentioned"):
        chosen(store, "reports")


def test_every_label_counts_where_no_entity_has_to_answer_for_it(make: Make) -> None:
    store = make({"Edema": [1, 0, 0, 0], "verified": [0, 1, 0, 0]}, label_columns=["verified"])
    assert set(chosen(store, entities=None).names) == {"Edema", "verified"}
