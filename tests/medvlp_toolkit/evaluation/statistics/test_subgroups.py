from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medvlp_toolkit.evaluation.statistics.delong import auc_spread, wald_interval
from medvlp_toolkit.evaluation.statistics.subgroups import age_band, subgroup_columns, subgroup_metrics


@pytest.mark.parametrize(
    ("age", "band"),
    [(0, "under 18"), (17.9, "under 18"), (18, "18–39"), (40, "40–59"), (79.5, "60–79"), (80, "80 or older"),
     (None, None), (float("nan"), None), (-1, None)],
)  # fmt: skip
def test_ages_fall_into_bands(age: float | None, band: str | None) -> None:
    assert age_band(age) == band


def test_columns_that_say_nothing_are_no_groups() -> None:
    groups = subgroup_columns({"sex": ["F", None], "age": [30, 90], "view": [None, ""], "scanner": None})
    assert groups == {"sex": ["F", None], "age": ["18–39", "80 or older"]}


def test_each_subgroup_has_the_auc_of_its_rows_and_the_interval_of_its_patients() -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(-1, 2, size=(300, 2))
    scores = np.round(rng.random((300, 2)) + 0.3 * (targets == 1), 2)
    sex = rng.choice(["F", "M", None], 300).tolist()
    patients = [f"p{i}" for i in rng.integers(90, size=300)]
    metrics = subgroup_metrics(targets, scores, ["a", "b"], {"sex": sex}, patient_id=patients)["sex"]
    assert list(metrics) == ["F", "M", "unknown"]
    for value, row in metrics.items():
        rows = np.array([s == (None if value == "unknown" else value) for s in sex])
        assert row["n"] == rows.sum()
        assert row["patients"] == len({p for p, inside in zip(patients, rows, strict=True) if inside})
        for number, label in enumerate("ab"):
            known = rows & (targets[:, number] >= 0)
            truth, score = targets[known, number], scores[known, number]
            assert row["labels"][label]["auc"] == pytest.approx(roc_auc_score(truth, score))
            own = np.unique([p for p, k in zip(patients, known, strict=True) if k], return_inverse=True)[1]
            spread = auc_spread(truth, score, own)
            # Clusters are numbered over the subgroup: patients without a known row add nothing.
            expected = wald_interval(float(spread.auc[0]), float(spread.covariance[0, 0]))
            assert row["labels"][label]["auc_interval"] == pytest.approx(expected, rel=2e-2)
        assert row["auc"] == pytest.approx(np.mean([row["labels"][label]["auc"] for label in "ab"]))
        low, high = row["auc_interval"]
        assert low < row["auc"] < high


def test_a_label_with_too_few_images_in_a_subgroup_is_named_and_not_averaged() -> None:
    targets = np.zeros((60, 2), int)
    targets[:30:2, 0] = 1  # label a: 15 positives among the first 30
    targets[:3, 1] = 1  # label b: 3
    scores = np.random.default_rng(1).random((60, 2))
    groups = {"view": ["PA"] * 30 + ["AP"] * 30}
    metrics = subgroup_metrics(targets, scores, ["a", "b"], groups)["view"]
    assert metrics["PA"]["few"] == ["b"]
    assert metrics["PA"]["auc"] == metrics["PA"]["labels"]["a"]["auc"]
    assert metrics["PA"]["labels"]["b"]["auc"] is not None
    assert metrics["AP"]["few"] == ["a", "b"]
    assert metrics["AP"]["auc"] is None
    assert metrics["AP"]["labels"]["a"] == {"n": 30, "positives": 0, "auc": None, "auc_interval": None}


def test_rare_values_are_put_together() -> None:
    rng = np.random.default_rng(2)
    scanner = ["A"] * 50 + ["B"] * 30 + [f"rare {i}" for i in range(20)]
    metrics = subgroup_metrics(
        rng.integers(2, size=(100, 1)), rng.random((100, 1)), ["x"], {"scanner": scanner}, most_values=2
    )["scanner"]
    assert {value: row["n"] for value, row in metrics.items()} == {"A": 50, "B": 30, "other": 20}
