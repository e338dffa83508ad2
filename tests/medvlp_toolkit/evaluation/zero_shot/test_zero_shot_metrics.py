from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, confusion_matrix

from medvlp_knowledge.definitions import Definitions
from medvlp_medklip.label_maps import CHESTXRAY14_TO_MEDKLIP
from medvlp_toolkit.evaluation.results.results import plain
from medvlp_toolkit.evaluation.zero_shot.classification import best_f1_thresholds, classification_metrics, score_table
from medvlp_toolkit.evaluation.zero_shot.label_maps import map_labels


def auc_by_pairs(targets: np.ndarray, scores: np.ndarray) -> float:
    wins = [(p > n) + 0.5 * (p == n) for p, n in itertools.product(scores[targets == 1], scores[targets == 0])]
    return float(np.mean(wins))


def f1_by_counting(targets: np.ndarray, present: np.ndarray) -> float:
    hit = int((present & (targets == 1)).sum())
    return 2 * hit / (int(present.sum()) + int((targets == 1).sum()))


def published_by_trying(targets: np.ndarray, scores: np.ndarray) -> tuple[float, float, float]:
    """Every score as threshold, from the lowest; F1 at or above, accuracy strictly above."""
    best, threshold = -1.0, math.nan
    for candidate in np.unique(scores):
        f1 = f1_by_counting(targets, scores >= candidate)
        if f1 > best + 1e-12:
            best, threshold = f1, float(candidate)
    return threshold, best, float(((scores > threshold) == (targets == 1)).mean())


@pytest.fixture
def random_case() -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(11)
    targets = rng.integers(-1, 2, size=(80, 4))
    scores = np.round(rng.random((80, 4)) * 0.7 + 0.3 * (targets == 1), 1)  # ties
    return targets, scores, ["a", "b", "c", "d"]


def test_auc_f1_and_accuracy_equal_brute_force_with_ties_and_unknown_targets(random_case) -> None:
    targets, scores, labels = random_case
    metrics = classification_metrics(targets, scores, labels, replicates=0)
    for number, label in enumerate(labels):
        known = targets[:, number] >= 0
        truth, score = targets[known, number], scores[known, number]
        row = metrics["labels"][label]
        assert row["n"] == known.sum()
        assert row["positives"] == (truth == 1).sum()
        assert row["auc"] == pytest.approx(auc_by_pairs(truth, score))
        threshold, f1, accuracy = published_by_trying(truth, score)
        assert row["threshold_on_test"] == threshold
        assert row["f1_threshold_on_test"] == pytest.approx(f1)
        assert row["accuracy_threshold_on_test"] == pytest.approx(accuracy)
    assert metrics["macro"]["auc"] == pytest.approx(np.mean([metrics["labels"][label]["auc"] for label in labels]))


def test_the_image_at_the_threshold_counts_as_absent_in_the_published_accuracy() -> None:
    # F1 is best at 0.8, where the one positive lies; strictly above 0.8 there is none left.
    metrics = classification_metrics([[0], [0], [1]], [[0.1], [0.2], [0.8]], ["x"], replicates=0)
    row = metrics["labels"]["x"]
    assert row["f1_threshold_on_test"] == 1
    assert row["accuracy_threshold_on_test"] == pytest.approx(2 / 3)


def test_labels_without_both_classes_are_null_named_and_left_out_of_the_means() -> None:
    targets = np.array([[1, 0, 1, -1], [0, 0, 1, -1], [1, 0, 1, -1], [0, 0, 1, -1]])
    scores = np.tile(np.array([[0.9], [0.1], [0.8], [0.3]]), (1, 4))
    metrics = classification_metrics(targets, scores, ["both", "absent", "present", "unknown"], replicates=50)
    assert metrics["excluded"] == ["absent", "present", "unknown"]
    for label in metrics["excluded"]:
        row = metrics["labels"][label]
        assert row["auc"] is None
        assert row["auc_interval"] is None
        assert row["f1_threshold_on_test"] is None
    assert metrics["labels"]["unknown"]["n"] == 0
    assert metrics["macro"]["labels"] == 1
    assert metrics["macro"]["auc"] == 1.0


def test_rare_labels_keep_their_auc_but_leave_the_mean_when_more_positives_are_asked_for(random_case) -> None:
    targets, scores, labels = random_case
    targets = targets.copy()
    targets[5:, 0] = np.minimum(targets[5:, 0], 0)
    targets[:5, 0] = [1, 1, 0, 0, 0]
    metrics = classification_metrics(targets, scores, labels, replicates=0, min_positives=3)
    assert metrics["excluded"] == ["a"]
    assert metrics["labels"]["a"]["auc"] is not None
    assert metrics["macro"]["auc"] == pytest.approx(np.mean([metrics["labels"][label]["auc"] for label in "bcd"]))


def test_without_any_usable_label_the_means_are_null() -> None:
    metrics = classification_metrics([[0], [0]], [[0.1], [0.2]], ["x"])
    assert metrics["macro"]["auc"] is None
    assert metrics["macro"]["auc_interval"] is None
    empty = classification_metrics(np.zeros((0, 1)), np.zeros((0, 1)), ["x"])
    assert empty["labels"]["x"]["n"] == 0


def test_thresholds_of_another_split_give_metrics_named_after_it(random_case) -> None:
    targets, scores, labels = random_case
    chosen = best_f1_thresholds(targets[:40], scores[:40], labels)
    test_targets, test_scores = targets[40:], scores[40:]
    metrics = classification_metrics(test_targets, test_scores, labels, thresholds=chosen, replicates=0)
    for number, label in enumerate(labels):
        first = targets[:40, number] >= 0
        assert chosen[label] == published_by_trying(targets[:40][first, number], scores[:40][first, number])[0]
        known = test_targets[:, number] >= 0
        truth, present = test_targets[known, number], test_scores[known, number] >= chosen[label]
        row = metrics["labels"][label]
        assert row["threshold_from_validation"] == chosen[label]
        assert row["f1_threshold_from_validation"] == pytest.approx(f1_by_counting(truth, present))
        assert row["accuracy_threshold_from_validation"] == pytest.approx((present == (truth == 1)).mean())
        assert row["f1_threshold_from_validation"] <= row["f1_threshold_on_test"] + 1e-12
    array = np.array([chosen[label] for label in labels])
    again = classification_metrics(
        test_targets, test_scores, labels, thresholds=array, thresholds_from="dev", replicates=0
    )
    assert again["macro"]["f1_threshold_from_dev"] == metrics["macro"]["f1_threshold_from_validation"]


def test_a_label_without_threshold_leaves_that_mean_undefined(random_case) -> None:
    targets, scores, labels = random_case
    thresholds = {"a": None, "b": 0.5, "c": 0.5, "d": 0.5}
    metrics = classification_metrics(targets, scores, labels, thresholds=thresholds, replicates=0)
    assert metrics["labels"]["a"]["f1_threshold_from_validation"] is None
    assert metrics["macro"]["f1_threshold_from_validation"] is None
    assert metrics["macro"]["auc"] is not None


def test_intervals_hold_the_auc_and_shrink_with_more_images() -> None:
    rng = np.random.default_rng(2)
    widths = []
    for images in (60, 960):
        targets = rng.integers(2, size=(images, 2))
        scores = rng.normal(size=(images, 2)) + targets
        metrics = classification_metrics(targets, scores, ["x", "y"], replicates=300)
        for row in (*metrics["labels"].values(), metrics["macro"]):
            low, high = row["auc_interval"]
            assert low < row["auc"] < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_rows_without_a_patient_are_patients_of_their_own() -> None:
    metrics = classification_metrics(
        [[1], [0], [1], [0]], [[0.9], [0.2], [0.6], [0.4]], ["x"], patient_id=["p", "p", None, None], replicates=30
    )
    assert metrics["bootstrap"]["patients"] == 3


def test_metrics_are_plain_enough_for_strict_json(random_case) -> None:
    targets, scores, labels = random_case
    json.dumps(plain(classification_metrics(targets, scores, labels, replicates=30)), allow_nan=False)


@pytest.mark.parametrize(
    ("targets", "scores", "message"),
    [
        ([[1, 0]], [[0.5]], "column per label"),
        ([[2], [0]], [[0.5], [0.1]], "got 2 among them"),
        ([[1], [0]], [[np.nan], [0.1]], "1 scores of 'x' are not finite"),
    ],
)
def test_what_does_not_fit_is_refused(targets, scores, message) -> None:
    with pytest.raises(ValueError, match=message):
        classification_metrics(targets, scores, ["x"])


def test_the_score_table_has_the_columns_of_the_contract() -> None:
    table = score_table(
        ["s1", "s2"],
        [[1, 2], [0, -1]],
        [[0.9, 0.1], [0.25, 0.5]],
        ["nodule", "edema"],
        patient_id=["p1", None],
        split="test",
        sex=["F", None],
        age=[61, None],
        view=None,
    )
    assert table.column_names == [
        "study_id", "patient_id", "split", "sex", "age", "view",
        "target:nodule", "target:edema", "score:nodule", "score:edema",
    ]  # fmt: skip
    assert str(table.schema.field("target:edema").type) == "int8"
    assert str(table.schema.field("score:nodule").type) == "float"
    assert table["target:edema"].to_pylist() == [-1, -1]
    assert table["split"].to_pylist() == ["test", "test"]
    assert table["view"].to_pylist() == [None, None]


def test_the_score_table_refuses_columns_of_another_length() -> None:
    with pytest.raises(ValueError, match="3 values of sex for 1 rows"):
        score_table(["s"], [[1]], [[0.5]], ["x"], sex=["F", "M", "F"])


def test_map_labels_reads_each_labels_entity_column() -> None:
    scores = np.arange(6.0).reshape(2, 3)
    mapped, labels = map_labels(scores, ["mass", "thicken", "nodule"], {"Nodule": "nodule", "Mass": "mass"})
    assert labels == ("Nodule", "Mass")
    assert mapped.tolist() == [[2, 0], [5, 3]]


def test_map_labels_names_an_entity_that_the_model_lacks_and_its_neighbours() -> None:
    with pytest.raises(ValueError, match=r"'nodul', which the model does not have; near: nodule"):
        map_labels(np.zeros((1, 2)), ["nodule", "mass"], {"Nodule": "nodul"})


def test_chestxray14_labels_map_to_the_published_entity_numbers() -> None:
    ids = Definitions("chest_entities").ids
    numbers = [ids.index(entity) for entity in CHESTXRAY14_TO_MEDKLIP.values()]
    assert numbers == [12, 24, 8, 56, 54, 38, 20, 10, 14, 11, 52, 73, 43, 59]


def test_average_precision_and_brier_equal_scikit_learn_and_both_intervals_hold_the_auc() -> None:
    rng = np.random.default_rng(21)
    targets = rng.integers(-1, 2, size=(200, 2))
    scores = np.clip(np.round(rng.random((200, 2)) * 0.7 + 0.3 * (targets == 1), 2), 0, 1)
    patients = [f"p{i}" for i in rng.integers(70, size=200)]
    metrics = classification_metrics(targets, scores, ["a", "b"], patient_id=patients, replicates=300)
    for number, label in enumerate("ab"):
        known = targets[:, number] >= 0
        truth, score = targets[known, number], scores[known, number]
        row = metrics["labels"][label]
        assert row["average_precision"] == pytest.approx(average_precision_score(truth, score))
        assert row["brier"] == pytest.approx(brier_score_loss(truth, score))
        for name in ("auc_interval", "auc_delong_interval"):
            assert row[name][0] < row["auc"] < row[name][1]
        # Two ways to the same spread.
        widths = [row[name][1] - row[name][0] for name in ("auc_interval", "auc_delong_interval")]
        assert widths[0] == pytest.approx(widths[1], rel=0.25)
        assert row["average_precision_interval"][0] < row["average_precision"] < row["average_precision_interval"][1]


def test_missing_labels_may_be_nan() -> None:
    targets = np.array([[1.0], [0.0], [np.nan], [1.0], [0.0]])
    scores = np.array([[0.9], [0.2], [0.99], [0.4], [0.5]])
    metrics = classification_metrics(targets, scores, ["x"], replicates=0)
    assert metrics["labels"]["x"]["n"] == 4
    assert metrics["labels"]["x"]["auc"] == 0.75


def test_labels_of_few_images_are_marked_and_stay_in_the_mean() -> None:
    targets = np.zeros((60, 2), int)
    targets[:30, 0] = targets[:4, 1] = 1
    metrics = classification_metrics(targets, np.random.default_rng(0).random((60, 2)), ["many", "rare"], replicates=0)
    assert metrics["few"] == ["rare"]
    assert metrics["macro"]["labels"] == 2
    assert [metrics["labels"][label]["few"] for label in ("many", "rare")] == [False, True]


def test_an_operating_point_counts_at_the_threshold_of_another_split(random_case) -> None:
    targets, scores, labels = random_case
    patients = [f"p{i // 2}" for i in range(80)]
    metrics = classification_metrics(
        targets, scores, labels, thresholds=dict.fromkeys(labels, 0.5), patient_id=patients, replicates=200
    )
    for number, label in enumerate(labels):
        known = targets[:, number] >= 0
        truth, present = targets[known, number], scores[known, number] >= 0.5
        point = metrics["labels"][label]["operating_point"]
        (tn, fp), (fn, tp) = confusion_matrix(truth, present)
        assert (point["tp"], point["fp"], point["tn"], point["fn"]) == (tp, fp, tn, fn)
        assert point["split"] == "validation"
        expected = {"sensitivity": tp / (tp + fn), "specificity": tn / (tn + fp)}
        expected |= {"ppv": tp / (tp + fp), "npv": tn / (tn + fn)}
        for name, value in expected.items():
            assert point[name] == pytest.approx(value)
            low, high = point[f"{name}_interval"]
            assert low <= value <= high


def test_without_thresholds_of_another_split_there_is_no_operating_point(random_case) -> None:
    targets, scores, labels = random_case
    metrics = classification_metrics(targets, scores, labels, replicates=0)
    assert all("operating_point" not in row for row in metrics["labels"].values())
