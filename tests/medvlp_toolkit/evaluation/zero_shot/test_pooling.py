"""Evaluation by study: the scores of a study's images as one."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine

from medvlp_toolkit.data.batches.dataset import StudyDataset
from medvlp_toolkit.data.records import Study
from medvlp_toolkit.evaluation.report.gallery import gallery
from medvlp_toolkit.evaluation.results.results import Results
from medvlp_toolkit.evaluation.statistics.comparison import compare_results
from medvlp_toolkit.evaluation.statistics.pooling import StudyPooling, checked_pool
from medvlp_toolkit.evaluation.zero_shot.cases import Cases
from medvlp_toolkit.evaluation.zero_shot.classification import Classification
from medvlp_toolkit.evaluation.zero_shot.evaluation import ZeroShotEvaluation
from medvlp_toolkit.evaluation.zero_shot.studies import EvaluatedStudies
from medvlp_toolkit.preparing.prepare import Prepare

SCORES = np.array([0.9, 0.1, 0.2, 0.6, 0.7, 0.2], np.float32)
STUDIES = ["s1", "s1", "s2", "s3", "s3", "s3"]
VIEWS = ["PA", "LATERAL", "PA", "AP", "AP", None]


class Images:
    fingerprint = ""

    def __iter__(self) -> Iterator[Study]:
        for number, (study, view) in enumerate(zip(STUDIES, VIEWS, strict=True)):
            label = {"Edema": int(study != "s2")}
            yield Study(study, f"p-{study}", None, None, "test", label, metadata={"view": view}, image_id=f"d{number}")

    def read_image(self, study: Study) -> np.ndarray:
        return np.full((1, 8, 8), int(str(study.image_id)[1:]), np.uint8)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> StudyDataset:
    folder = tmp_path_factory.mktemp("pooling") / "store"
    Prepare(Images(), folder, 8, require_report=False, workers=0).run()
    return StudyDataset(folder, ["test"], entities=[], labels=["Edema"])


def evaluated(
    dataset: StudyDataset, folder: Path, pool: Any, batches: Any = ([0, 1, 2, 3], [4, 5]), **more: Any
) -> Results:
    """The results folder of an evaluation whose network gives the rows their scores; a study lies in two batches."""
    studies = EvaluatedStudies(dataset, ["Edema"], pool=pool)
    evaluation = ZeroShotEvaluation(studies, folder, {"classification": Classification(), **more})
    engine = Engine(lambda engine, rows: {"scores": torch.from_numpy(SCORES[rows])[:, None], "row": torch.tensor(rows)})
    engine.network = torch.nn.Identity()  # type: ignore[attr-defined]
    engine.state.device = torch.device("cpu")  # type: ignore[attr-defined]
    evaluation.attach(engine)
    engine.run(list(batches))
    return Results.read(folder)


@pytest.mark.parametrize(("pool", "expected"), [("mean", [0.5, 0.2, 0.5]), ("max", [0.9, 0.2, 0.7])])
def test_the_scores_table_has_one_row_a_study(
    dataset: StudyDataset, tmp_path: Path, pool: Any, expected: list[float]
) -> None:
    results = evaluated(dataset, tmp_path / "r", pool=pool)
    table = results.scores
    assert table["study_id"].to_pylist() == ["s1", "s2", "s3"]
    assert table["score:Edema"].to_pylist() == pytest.approx(expected)
    assert table["target:Edema"].to_pylist() == [1, 0, 1]
    assert table["view"].to_pylist() == ["LATERAL + PA", "PA", "AP"]
    assert results.metrics["zero_shot"]["labels"]["Edema"]["n"] == 3
    assert results.metrics["zero_shot"]["bootstrap"]["patients"] == 3
    assert results.metrics["pooling"] == {"pool": pool, "images": 6, "studies": 3}
    with (tmp_path / "r" / "probabilities.csv").open() as file:
        assert [row["image"] for row in csv.DictReader(file)] == [f"d{n}" for n in range(6)]


@pytest.mark.parametrize(
    ("pool", "judged", "verdicts"),
    [("mean", 0.5, {"Found", "Found, lowest score"}), (None, 0.1, {"Found", "Missed"})],
)
def test_a_case_is_judged_by_the_score_of_its_study(
    dataset: StudyDataset, tmp_path: Path, pool: Any, judged: float, verdicts: set[str]
) -> None:
    """The threshold was chosen on such scores: the lateral image of s1 scores 0.1, and its study 0.5."""
    cases = evaluated(dataset, tmp_path / "r", pool, cases=Cases(1)).cases
    assert cases is not None
    (lowest,) = [row for row in cases.to_pylist() if row["kind"] == "missed"]
    assert lowest["score"] == pytest.approx(0.1)
    assert lowest["study_score"] == pytest.approx(judged)
    shown, _ = gallery(cases, {"Edema": 0.4})
    assert {case["verdict"][0] for case in shown if case["kind"] != "claimed"} == verdicts
    earlier, _ = gallery(cases.drop_columns(["study_score"]), {"Edema": 0.4})
    assert {case["verdict"][0] for case in earlier if case["kind"] != "claimed"} == {"Found", "Missed"}


def test_without_pooling_every_image_is_a_row_and_intervals_stay_by_patient(
    dataset: StudyDataset, tmp_path: Path
) -> None:
    results = evaluated(dataset, tmp_path / "r", pool=None)
    assert results.scores["study_id"].to_pylist() == STUDIES
    assert results.row_ids == [f"d{n}" for n in range(6)]
    assert results.metrics["zero_shot"]["labels"]["Edema"]["n"] == 6
    assert results.metrics["zero_shot"]["bootstrap"]["patients"] == 3
    assert compare_results(results, results)["patients"] == 3


def test_of_studies_with_an_image_each_nothing_changes(dataset: StudyDataset, tmp_path: Path) -> None:
    first = StudyDataset(dataset.store, ["test"], entities=[], labels=["Edema"], views="first")
    tables = []
    for pool in ("mean", "max", None):
        results = evaluated(first, tmp_path / str(pool), pool, [first.rows.tolist()])
        assert "pooling" not in results.metrics
        tables.append(results.scores)
    assert tables[0] == tables[1] == tables[2]
    assert "image_id" not in tables[0].column_names


def test_a_finding_known_of_one_image_is_known_of_the_study() -> None:
    pooling = StudyPooling(["a", "a", "b", "b", "c", "c"], "mean")
    targets = np.array([[0], [1], [0], [-1], [-1], [2]], np.int8)
    assert pooling.targets(targets)[:, 0].tolist() == [1, 0, -1]


def test_another_word_is_refused() -> None:
    with pytest.raises(ValueError, match="pool is mean, max or null"):
        checked_pool("median")
