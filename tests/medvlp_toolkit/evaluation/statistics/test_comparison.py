from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medvlp_toolkit.evaluation.results.results import Results, ResultsError
from medvlp_toolkit.evaluation.statistics.comparison import compare_results
from medvlp_toolkit.evaluation.statistics.delong import holm
from medvlp_toolkit.evaluation.statistics.intervals import PatientBootstrap
from medvlp_toolkit.evaluation.zero_shot.classification import score_table


def results(targets: np.ndarray, scores: np.ndarray, labels: list[str], patients: list[str], order=None) -> Results:
    order = np.arange(len(targets)) if order is None else order
    ids = [f"s{i}" for i in order]
    table = score_table(ids, targets[order], scores[order], labels, patient_id=[patients[i] for i in order])
    return Results(table, {}, {})


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(0)
    targets = rng.integers(-1, 2, size=(200, 3))
    first = (rng.normal(size=(200, 3)) + (targets == 1)).astype(np.float32)
    second = (first + rng.normal(size=(200, 3)) * 0.5 + [1.5, 0, 0] * (targets == 1)).astype(np.float32)
    return targets, first, second, [f"p{i}" for i in rng.integers(120, size=200)]


def test_differences_are_of_the_same_images_whatever_their_order(pair) -> None:
    targets, first, second, patients = pair
    shuffled = np.random.default_rng(1).permutation(200)
    comparison = compare_results(
        results(targets, first, ["a", "b", "c"], patients),
        results(targets, second, ["a", "b", "c"], patients, shuffled),
        replicates=200,
    )
    for number, label in enumerate("abc"):
        known = targets[:, number] >= 0
        truth = targets[known, number]
        row = comparison["labels"][label]
        assert row["first"] == pytest.approx(roc_auc_score(truth, first[known, number]))
        assert row["second"] == pytest.approx(roc_auc_score(truth, second[known, number]))
        assert row["difference"] == pytest.approx(row["second"] - row["first"])
        bootstrap = PatientBootstrap(patients, replicates=200)
        rows = np.flatnonzero(known)
        paired = bootstrap.auc(second[rows, number], truth, rows) - bootstrap.auc(first[rows, number], truth, rows)
        assert row["interval"] == pytest.approx(bootstrap.interval(paired))
    values = [row["p"] for row in comparison["labels"].values()]
    assert [row["p_holm"] for row in comparison["labels"].values()] == pytest.approx(holm(values))
    assert comparison["labels"]["a"]["p_holm"] < 0.01
    assert comparison["macro"]["labels"] == 3
    assert comparison["macro"]["difference"] == pytest.approx(
        np.mean([row["difference"] for row in comparison["labels"].values()])
    )


def test_a_model_does_not_differ_from_itself(pair) -> None:
    targets, first, _, patients = pair
    same = results(targets, first, ["a", "b", "c"], patients)
    comparison = compare_results(same, same, replicates=50)
    for row in (*comparison["labels"].values(), comparison["macro"]):
        assert row["difference"] == 0
        assert row["p"] == 1.0
        assert row["interval"] == (0, 0)


def test_under_no_difference_p_is_spread_evenly() -> None:
    rng = np.random.default_rng(3)
    p = []
    for _ in range(60):
        targets = np.repeat([[0], [1]], 60, axis=0)
        scores = [(rng.normal(size=(120, 1)) + targets).astype(np.float32) for _ in range(2)]
        patients = [f"p{i // 2}" for i in range(120)]
        first, second = (results(targets, score, ["x"], patients) for score in scores)
        p.append(compare_results(first, second, replicates=20)["labels"]["x"]["p"])
    assert 0.35 < np.mean(p) < 0.65
    assert np.mean(np.array(p) < 0.05) < 0.15


def test_labels_of_one_model_alone_and_labels_without_both_classes_are_reported(pair) -> None:
    targets, first, second, patients = pair
    targets = targets.copy()
    targets[:, 1] = 0
    comparison = compare_results(
        results(targets, first, ["a", "b", "c"], patients),
        results(targets[:, :2], second[:, :2], ["a", "b"], patients),
        replicates=30,
    )
    assert comparison["only_first"] == ["c"]
    assert comparison["labels"]["b"]["p"] is None
    assert comparison["labels"]["b"]["few"]
    assert comparison["macro"]["labels"] == 1


def test_results_of_other_images_truths_or_patients_are_refused(pair) -> None:
    targets, first, second, patients = pair
    whole = results(targets, first, ["a", "b", "c"], patients)
    with pytest.raises(ResultsError, match="150 of them in both"):
        compare_results(whole, results(targets, second, ["a", "b", "c"], patients, np.arange(150)))
    with pytest.raises(ResultsError, match="disagree on which images show 'a'"):
        compare_results(whole, results(1 - np.maximum(targets, 0), second, ["a", "b", "c"], patients))
    with pytest.raises(ResultsError, match="different patients"):
        compare_results(whole, results(targets, second, ["a", "b", "c"], ["p"] * 200))
    with pytest.raises(ResultsError, match="share no label"):
        compare_results(whole, results(targets, second, ["d", "e", "f"], patients))
