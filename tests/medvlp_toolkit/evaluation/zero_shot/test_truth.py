"""Which boxes and masks of a store are the truth of a finding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from medvlp_toolkit.data.batches.dataset import StudyDataset
from medvlp_toolkit.data.records import Box, Report, Study
from medvlp_toolkit.evaluation.zero_shot.attention_images import AttentionImages
from medvlp_toolkit.evaluation.zero_shot.evaluated_labels import EvaluatedLabels
from medvlp_toolkit.evaluation.zero_shot.studies import EvaluatedStudies
from medvlp_toolkit.evaluation.zero_shot.studies import tested_rows as rows_tested
from medvlp_toolkit.evaluation.zero_shot.volume_boxes import VolumeBoxes
from medvlp_toolkit.preparing.prepare import Prepare
from tests.medvlp_toolkit.importable.small_studies import EffusionFilter

NAMES = {"Pleural Effusion": "effusion", "Infiltration": "infiltrate"}
EFFUSION = Box("Pleural effusion", 0.1, 0.6, 0.2, 0.3)
INFILTRATE = Box("infiltration", 0.5, 0.5, 0.3, 0.2)


class Boxed:
    fingerprint = ""

    def __iter__(self) -> Iterator[Study]:
        for number in range(2):
            report = Report("", "There is an effusion.")
            yield Study(f"s{number}", f"p{number}", None, report, "test", boxes=(EFFUSION, INFILTRATE))

    def read_image(self, study: Study) -> np.ndarray:
        return np.full((1, 8, 8), int(study.id[1:]) + 9, np.uint8)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> StudyDataset:
    folder = tmp_path_factory.mktemp("truth") / "store"
    Prepare(Boxed(), folder, 8, report_filter=EffusionFilter(), workers=0).run()
    return StudyDataset(folder, ["test"], entities=["effusion"])


def studies(dataset: StudyDataset, labels: Mapping[str, str], **options: Any) -> EvaluatedStudies:
    return EvaluatedStudies(dataset, ["effusion", "infiltrate", "edema"], labels, known_as=NAMES, **options)


@pytest.mark.parametrize("label", ["Pleural Effusion", "PLEURAL_EFFUSION", "Effusion", "effusion"])
def test_boxes_are_found_by_any_spelling_and_name_of_their_finding(dataset: StudyDataset, label: str) -> None:
    found = studies(dataset, {label: "effusion", "Edema": "edema"})
    assert found.truth(0, label) == [EFFUSION]
    assert found.truth(0, "Edema") is None


def test_boxes_of_one_label_are_not_those_of_another_with_its_entity(dataset: StudyDataset) -> None:
    found = studies(dataset, {"Pleural Effusion": "effusion", "Fluid": "effusion"})
    assert found.truth(0, "Pleural Effusion") == [EFFUSION]
    assert found.truth(0, "Fluid") is None


def test_pictures_of_training_draw_the_boxes_that_evaluation_measures(dataset: StudyDataset, tmp_path: Path) -> None:
    images = AttentionImages(dataset, lambda batch: batch, tmp_path, known_as=NAMES)
    [(index, q), *_] = images.chosen
    picture = images._picture(index, np.ones((2, 2)) / 4, dataset.entities[q], 0.5, ())
    evaluated = studies(dataset, {"Pleural Effusion": "effusion"}).truth(int(dataset.rows[index]), "Pleural Effusion")
    assert list(picture.boxes) == evaluated == [EFFUSION]


def test_boxes_in_volumes_are_found_by_the_same_names(dataset: StudyDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    found = studies(dataset, {"Effusion": "effusion", "Edema": "edema"})
    found.volume_boxes = VolumeBoxes({("s0", "pleural effusion"): [(-0.5, -0.5, -0.5, 1.5, 1.5, 1.5)]})
    affines = np.eye(4)[None].repeat(2, 0)
    monkeypatch.setattr(found, "store", SimpleNamespace(images=np.zeros((2, 1, 4, 4, 4)), array=lambda name: affines))
    mask = found.truth(0, "Effusion")
    assert isinstance(mask, np.ndarray)
    assert np.argwhere(mask).tolist() == [[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]
    assert found.truth(0, "Edema") is None
    assert found.truth(1, "Effusion") is None


# -- which labels, which rows, which studies ----------------------------------------------------------


def test_labels_that_name_an_entity_are_evaluated_whoever_chooses_them(tmp_path: Path) -> None:
    """By the evaluation's configuration, or by the studies themselves."""
    source = Labelled()
    Prepare(source, tmp_path / "store", 8, require_report=False, workers=0).run()
    dataset = StudyDataset(tmp_path / "store", ["test"], entities=[], labels=["Pleural Effusion", "Edema", "verified"])
    entities = ["effusion", "edema"]
    chosen = EvaluatedStudies(dataset, entities, known_as=NAMES).labels
    assert chosen == {"Pleural Effusion": "effusion", "Edema": "edema"}
    assert chosen == EvaluatedLabels(dataset.store, entities=entities, known_as=NAMES).entity_of


def test_rows_that_choose_thresholds_are_not_evaluated_anywhere(tmp_path: Path) -> None:
    Prepare(Labelled(), tmp_path / "store", 8, require_report=False, workers=0).run()
    dataset = StudyDataset(tmp_path / "store", entities=[], labels=["Edema"])
    found = EvaluatedStudies(dataset, ["Edema"], threshold_split="validate")
    evaluated = [found.is_evaluated(row) for row in dataset.rows.tolist()]
    assert evaluated == rows_tested(dataset.store, dataset.rows, "validate").tolist() == [True, True, False]


def test_pictures_of_training_show_no_entity_that_is_excluded(dataset: StudyDataset, tmp_path: Path) -> None:
    assert len(AttentionImages(dataset, lambda batch: batch, tmp_path).chosen) == 2
    without = dataset.replace(excluded_entities=["effusion"])
    assert AttentionImages(without, lambda batch: batch, tmp_path).chosen == []


class Labelled(Boxed):
    """Three studies with label columns, the last of another split."""

    def __iter__(self) -> Iterator[Study]:
        labels = {"Pleural Effusion": 1, "Edema": 0, "verified": 1}
        for number, split in enumerate(("test", "test", "validate")):
            yield Study(f"s{number}", f"p{number}", None, None, split, labels)
