from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, roc_auc_score

from medvlp_toolkit.evaluation.statistics.intervals import PatientBootstrap, wilson


def repeated_rows(bootstrap: PatientBootstrap, patients: list[str], replicate: int) -> np.ndarray:
    """Row numbers of one resample, written out."""
    names = sorted(set(patients))
    rows = []
    for number, name in enumerate(names):
        own = [row for row, patient in enumerate(patients) if patient == name]
        rows += own * int(bootstrap.counts[number, replicate])
    return np.array(rows, dtype=int)


def test_resampled_auc_equals_the_auc_of_the_repeated_rows_with_ties_and_unknown_targets() -> None:
    rng = np.random.default_rng(3)
    patients = [f"p{number}" for number in rng.integers(25, size=60)]
    scores = rng.integers(6, size=60) / 5  # many ties
    targets = rng.integers(-1, 2, size=60)
    bootstrap = PatientBootstrap(patients, replicates=150, seed=4)
    known = np.flatnonzero(targets >= 0)
    aucs = bootstrap.auc(scores[known], targets[known], known)
    for replicate in range(150):
        rows = repeated_rows(bootstrap, patients, replicate)
        rows = rows[targets[rows] >= 0]
        assert aucs[replicate] == pytest.approx(roc_auc_score(targets[rows], scores[rows]), abs=1e-12)


def test_resampled_mean_equals_the_mean_of_the_repeated_rows() -> None:
    rng = np.random.default_rng(5)
    patients = [f"p{number}" for number in rng.integers(9, size=30)]
    values = rng.normal(size=30)
    known = np.flatnonzero(rng.random(30) < 0.8)
    bootstrap = PatientBootstrap(patients, replicates=40)
    means = bootstrap.mean(values[known], known)
    for replicate in range(40):
        rows = repeated_rows(bootstrap, patients, replicate)
        assert means[replicate] == pytest.approx(values[rows[np.isin(rows, known)]].mean())


def test_every_resample_draws_as_many_patients_as_there_are() -> None:
    counts = PatientBootstrap(["a", "a", "b", "c"], replicates=50).counts
    assert counts.shape == (3, 50)
    assert (counts.sum(axis=0) == 3).all()


def test_a_resample_without_one_class_has_no_auc() -> None:
    bootstrap = PatientBootstrap(None, 3, replicates=200)
    aucs = bootstrap.auc([0.1, 0.2, 0.3], [0, 0, 1])
    lacking = bootstrap.counts[2] == 0
    lacking |= bootstrap.counts[2] == 3
    assert lacking.any()
    assert (np.isnan(aucs) == lacking).all()


def test_the_seed_decides_the_resamples() -> None:
    rows = np.arange(40)
    scores, targets = np.sin(rows * 12.9), rows % 3 == 0
    first, again, other = (PatientBootstrap(None, 40, seed=seed).auc(scores, targets) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_many_images_of_one_patient_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    # 30 patients, 10 identical images each: ten times the rows, no more evidence.
    target, score = rng.integers(2, size=30), rng.normal(size=30)
    targets, scores = np.repeat(target, 10), np.repeat(score + target, 10)
    patients = np.repeat(np.arange(30), 10)
    by_patient = PatientBootstrap(patients)
    by_image = PatientBootstrap(None, 300)
    wide, narrow = (b.interval(b.auc(scores, targets)) for b in (by_patient, by_image))
    assert wide is not None
    assert narrow is not None
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])


def test_an_interval_needs_more_than_a_handful_of_defined_resamples() -> None:
    bootstrap = PatientBootstrap(None, 5, replicates=100)
    sparse = np.full(100, np.nan)
    sparse[:19] = 0.5
    assert bootstrap.interval(sparse) is None
    assert bootstrap.interval(np.linspace(0, 1, 101)) == pytest.approx((0.025, 0.975))


@pytest.mark.parametrize(("hits", "n"), [(0, 7), (3, 7), (7, 7), (81, 263), (1, 1)])
def test_wilson_equals_scipy(hits: int, n: int) -> None:
    reference = binomtest(hits, n).proportion_ci(0.9, method="wilson")
    assert wilson(hits, n, 0.9) == pytest.approx((reference.low, reference.high))


def test_wilson_agrees_with_a_published_example() -> None:
    # Newcombe 1998, Statistics in Medicine 17:857-872, table I, method 3: 81 of 263.
    interval = wilson(81, 263)
    assert interval is not None
    assert [round(end, 4) for end in interval] == [0.2553, 0.3662]


def test_wilson_without_trials_is_no_interval_and_impossible_counts_are_refused() -> None:
    assert wilson(0, 0) is None
    with pytest.raises(ValueError, match="between 0 and n"):
        wilson(4, 3)


def test_resampled_average_precision_equals_that_of_the_repeated_rows_with_ties() -> None:
    rng = np.random.default_rng(8)
    patients = [f"p{number}" for number in rng.integers(20, size=50)]
    scores, targets = rng.integers(5, size=50) / 4, rng.integers(-1, 2, size=50)
    bootstrap = PatientBootstrap(patients, replicates=150, seed=2)
    known = np.flatnonzero(targets >= 0)
    aucs, precisions = bootstrap.ranking(scores[known], targets[known], known)
    assert (aucs == bootstrap.auc(scores[known], targets[known], known)).all()
    for replicate in range(150):
        rows = repeated_rows(bootstrap, patients, replicate)
        rows = rows[targets[rows] >= 0]
        assert precisions[replicate] == pytest.approx(average_precision_score(targets[rows], scores[rows]), abs=1e-12)
