from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from medvlp_toolkit.evaluation.statistics.delong import (
    auc_spread,
    holm,
    influence_variance,
    two_sided_p,
    wald_interval,
)


def kernel(positive: float, negative: float) -> float:
    return 1.0 if positive > negative else 0.5 if positive == negative else 0.0


def covariance_by_loops(targets: np.ndarray, scores: np.ndarray, patients: list[object]) -> np.ndarray:
    """Obuchowski 1997, written out with loops over patients, positives and negatives."""
    k = len(scores)
    positives, negatives = np.flatnonzero(targets == 1), np.flatnonzero(targets == 0)
    m, n = len(positives), len(negatives)
    aucs = [np.mean([kernel(s[i], s[j]) for i in positives for j in negatives]) for s in scores]
    names = sorted(set(patients), key=str)
    x, y = np.zeros((k, len(names))), np.zeros((k, len(names)))
    for r, s in enumerate(scores):
        for c, name in enumerate(names):
            own = [i for i in range(len(targets)) if patients[i] == name]
            for i in own:
                if targets[i] == 1:
                    x[r, c] += np.mean([kernel(s[i], s[j]) for j in negatives]) - aucs[r]
                else:
                    y[r, c] += np.mean([kernel(s[j], s[i]) for j in positives]) - aucs[r]
    with_positive = len({patients[i] for i in positives})
    with_negative = len({patients[i] for i in negatives})
    s10 = with_positive / (with_positive - 1) * x @ x.T / m
    s01 = with_negative / (with_negative - 1) * y @ y.T / n
    s11 = len(names) / (len(names) - 1) * x @ y.T
    return s10 / m + s01 / n + (s11 + s11.T) / (m * n)


@pytest.mark.parametrize("seed", range(6))
def test_covariance_equals_the_formula_written_out_with_ties_and_many_images_of_a_patient(seed: int) -> None:
    rng = np.random.default_rng(seed)
    targets = rng.integers(2, size=40)
    scores = np.round(rng.random((2, 40)) + 0.4 * targets, 1)
    patients = rng.integers(12, size=40)
    numbered = np.unique(patients, return_inverse=True)[1]
    spread = auc_spread(targets, scores, numbered)
    assert spread.covariance == pytest.approx(covariance_by_loops(targets, scores, list(patients)))


def test_with_one_image_a_patient_it_is_delongs_variance() -> None:
    """Sample covariances of the components over their numbers (DeLong et al. 1988, equations 3 to 5)."""
    rng = np.random.default_rng(1)
    targets = rng.integers(2, size=60)
    scores = rng.normal(size=(2, 60)) + targets
    positive, negative = scores[:, targets == 1], scores[:, targets == 0]
    v10 = np.array([[np.mean([kernel(p, q) for q in n]) for p in ps] for ps, n in zip(positive, negative, strict=True)])
    v01 = np.array([[np.mean([kernel(p, q) for p in ps]) for q in n] for ps, n in zip(positive, negative, strict=True)])
    expected = np.cov(v10) / positive.shape[1] + np.cov(v01) / negative.shape[1]
    assert auc_spread(targets, scores).covariance == pytest.approx(expected)


def test_delongs_components_are_those_of_the_jackknife() -> None:
    """An independent route: the variance of the jackknife over all images agrees to order 1/S."""
    rng = np.random.default_rng(4)
    targets = rng.integers(2, size=400)
    scores = rng.normal(size=400) + targets
    whole = float(auc_spread(targets, scores).auc[0])
    left_out = np.array([float(auc_spread(np.delete(targets, i), np.delete(scores, i)).auc[0]) for i in range(400)])
    jackknife = 399 / 400 * ((left_out - left_out.mean()) ** 2).sum()
    assert float(auc_spread(targets, scores).covariance[0, 0]) == pytest.approx(jackknife, rel=0.02)
    assert whole == pytest.approx(left_out.mean(), abs=1e-3)


def test_influence_gives_nearly_the_same_variance_and_serves_means_over_labels() -> None:
    rng = np.random.default_rng(5)
    targets = rng.integers(2, size=500)
    spread = auc_spread(targets, rng.normal(size=(2, 500)) + targets)
    assert influence_variance(spread.influence[0]) == pytest.approx(float(spread.covariance[0, 0]), rel=0.02)
    both = influence_variance(spread.influence.mean(axis=0))
    assert both == pytest.approx(float(spread.covariance.mean()), rel=0.02)


def test_intervals_cover_the_true_auc_as_often_as_they_say() -> None:
    rng = np.random.default_rng(6)
    truth, hits = float(norm.cdf(1 / np.sqrt(2))), 0
    for _ in range(400):
        targets = np.repeat([0, 1], 60)
        spread = auc_spread(targets, rng.normal(size=120) + targets)
        interval = wald_interval(float(spread.auc[0]), float(spread.covariance[0, 0]))
        assert interval is not None
        hits += interval[0] <= truth <= interval[1]
    assert 0.92 <= hits / 400 <= 0.98


def test_repeating_every_image_of_a_patient_does_not_narrow_the_interval() -> None:
    rng = np.random.default_rng(7)
    targets = rng.integers(2, size=50)
    scores = rng.normal(size=50) + targets
    once = float(auc_spread(targets, scores).covariance[0, 0])
    thrice = auc_spread(np.repeat(targets, 3), np.repeat(scores, 3), np.repeat(np.arange(50), 3))
    assert float(thrice.covariance[0, 0]) == pytest.approx(once)


def test_perfect_separation_and_a_single_patient_give_no_interval() -> None:
    perfect = auc_spread([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9])
    assert wald_interval(1.0, float(perfect.covariance[0, 0])) is None
    single = auc_spread([0, 1, 1], [0.1, 0.2, 0.05], [0, 0, 0])
    assert wald_interval(float(single.auc[0]), float(single.covariance[0, 0])) is None


def test_a_single_class_has_no_auc() -> None:
    with pytest.raises(ValueError, match="without it"):
        auc_spread([1, 1], [0.1, 0.2])


def test_equal_scores_differ_with_p_of_one() -> None:
    assert two_sided_p(0.0, 0.0) == 1.0
    assert two_sided_p(0.1, float("nan")) is None
    assert two_sided_p(0.196, 0.01) == pytest.approx(0.05, abs=1e-3)


def test_holm_agrees_with_a_worked_example_and_passes_over_what_was_not_tested() -> None:
    # 0.01 · 4, 0.02 · 3, 0.03 · 2, 0.04 · 1, made to rise.
    assert holm([0.03, None, 0.01, 0.04, 0.02]) == pytest.approx([0.06, None, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
