from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.metrics import calibration_binning
from sklearn.calibration import calibration_curve

from medvlp_toolkit.evaluation.statistics.calibration import calibration_metrics


def error_by_loops(truth: np.ndarray, score: np.ndarray, bins: int) -> float:
    error = 0.0
    for b in range(bins):
        low, high = b / bins, (b + 1) / bins
        inside = (score >= low) & ((score < high) if b < bins - 1 else (score <= 1))
        if inside.any():
            error += inside.sum() / len(score) * abs(truth[inside].mean() - score[inside].mean())
    return error


@pytest.mark.parametrize("bins", [5, 10, 15])
def test_error_equals_a_loop_over_the_bins_on_their_edges_too(bins: int) -> None:
    rng = np.random.default_rng(bins)
    truth, score = rng.integers(2, size=300), np.round(rng.random(300), 1)
    score[:2] = 0, 1
    score = np.where(rng.random(300) < 0.5, score, rng.random(300))
    # Decimals such as 0.7 lie a hair off k/bins; the loop and the edges must see the same numbers.
    edges = np.linspace(0, 1, bins + 1)
    score = np.where(
        np.isclose(score[:, None], edges).any(axis=1), edges[np.abs(score[:, None] - edges).argmin(1)], score
    )
    inside = [(score >= a) & (score < b) for a, b in zip(edges[:-1], [*edges[1:-1], 1.1], strict=True)]
    error = sum(i.sum() / 300 * abs(truth[i].mean() - score[i].mean()) for i in inside if i.any())
    assert calibration_metrics(truth, score, bins)["ece"] == pytest.approx(error)


def test_error_equals_a_loop_on_continuous_scores() -> None:
    rng = np.random.default_rng(0)
    truth, score = rng.integers(2, size=200), rng.random(200)
    assert calibration_metrics(truth, score)["ece"] == pytest.approx(error_by_loops(truth, score, 10))


def test_bins_agree_with_scikit_learn_and_monai() -> None:
    rng = np.random.default_rng(1)
    truth, score = rng.integers(2, size=500), rng.random(500)
    rows = calibration_metrics(truth, score)["reliability"]
    observed, mean_score = calibration_curve(truth, score, n_bins=10)
    assert [row["observed"] for row in rows] == pytest.approx(observed)
    assert [row["mean_score"] for row in rows] == pytest.approx(mean_score)
    images = torch.from_numpy(score)[None, None], torch.from_numpy(truth.astype(float))[None, None]
    means, shares, counts = calibration_binning(*images, num_bins=10)
    assert [row["mean_score"] for row in rows] == pytest.approx(means.flatten().tolist(), abs=1e-6)
    assert [row["observed"] for row in rows] == pytest.approx(shares.flatten().tolist(), abs=1e-6)
    assert [row["n"] for row in rows] == counts.flatten().tolist()


def test_a_forecaster_that_is_right_on_average_is_calibrated() -> None:
    rng = np.random.default_rng(2)
    score = rng.random(20_000)
    truth = rng.random(20_000) < score
    assert calibration_metrics(truth, score)["ece"] < 0.02
    assert calibration_metrics(truth, 1 - score)["ece"] > 0.3


def test_scores_that_are_no_probabilities_have_no_calibration() -> None:
    assert calibration_metrics([0, 1], [-2.0, 3.0])["ece"] is None
    assert calibration_metrics([], [])["reliability"] is None


def test_a_single_class_still_has_an_error() -> None:
    metrics = calibration_metrics([1, 1], [0.75, 0.75])
    assert metrics["ece"] == pytest.approx(0.25)
    assert metrics["brier"] is None
