"""Closed-form variance of AUCs and their differences, for several images per patient.

DeLong et al. 1988 derive the variance of an AUC from its structural components: for every positive the share of
negatives ranked below it, for every negative the share of positives ranked above it. Obuchowski 1997 first sums the
components of each patient, so that images of one patient need not be independent; with one image per patient the two
are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata

from medvlp_toolkit.evaluation.statistics.intervals import Interval

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class AucSpread:
    """AUCs of k scores of the same images, and their covariance.

    ``auc`` (k,); ``covariance`` (k, k), NaN if one patient has all images of a class; ``influence`` (k, patients) is
    each patient's contribution to each AUC's error, for joint statistics of several labels.
    """

    auc: Array
    covariance: Array
    influence: Array


def auc_spread(targets: ArrayLike, scores: ArrayLike, patient_of: ArrayLike | None = None) -> AucSpread:
    """AUC and its covariance (Obuchowski 1997, Biometrics 53:567-578, section 2).

    Args:
        targets: (S,) 1 or 0, both present.
        scores: (k, S) or (S,); ties count half.
        patient_of: (S,) index of each image's patient, from 0; when None, every image is a separate patient.

    Raises:
        ValueError: when a class is missing.
    """
    positive = np.asarray(targets).astype(bool)
    values = np.atleast_2d(np.asarray(scores, np.float64))
    patients = np.arange(len(positive)) if patient_of is None else np.asarray(patient_of)
    m, n = int(positive.sum()), int((~positive).sum())
    if not m or not n:
        raise ValueError("an AUC needs images with the finding and images without it")
    # Sun and Xu 2014: components from midranks, in the time of a sort.
    ranks = rankdata(values, axis=1)
    wins = (ranks[:, positive] - rankdata(values[:, positive], axis=1)) / n
    losses = 1 - (ranks[:, ~positive] - rankdata(values[:, ~positive], axis=1)) / m
    auc = wins.mean(axis=1)
    count = int(patients.max()) + 1
    by_positive = _by_patient(wins - auc[:, None], patients[positive], count)
    by_negative = _by_patient(losses - auc[:, None], patients[~positive], count)
    mixed = by_positive @ by_negative.T
    covariance = (
        _inflation(patients[positive]) * by_positive @ by_positive.T / m**2
        + _inflation(patients[~positive]) * by_negative @ by_negative.T / n**2
        + _inflation(patients) * (mixed + mixed.T) / (m * n)
    )
    return AucSpread(auc, covariance, by_positive / m + by_negative / n)


def wald_interval(estimate: float, variance: float, level: float = 0.95) -> Interval | None:
    """estimate ± z √variance within [0, 1]; None without variance (perfect separation) or if undefined."""
    if not np.isfinite(variance) or variance <= 0:
        return None
    half = float(norm.ppf(0.5 + level / 2) * np.sqrt(variance))
    return max(0.0, estimate - half), min(1.0, estimate + half)


def two_sided_p(difference: float, variance: float) -> float | None:
    """Two-sided p of a normal difference; 1 if both scores order the images identically, None if undefined."""
    if not np.isfinite(variance):
        return None
    if variance <= 0:
        return 1.0 if difference == 0 else None
    return float(2 * norm.sf(abs(difference) / np.sqrt(variance)))


def influence_variance(influence: Array) -> float:
    """Variance of a mean of AUCs from the mean (patients,) of their influences; NaN for a single patient."""
    patients = len(influence)
    return float((influence**2).sum() * patients / (patients - 1)) if patients > 1 else float("nan")


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction (Holm 1979), which controls the family-wise error rate."""
    known = sorted((value, place) for place, value in enumerate(p) if value is not None)
    adjusted: list[float | None] = [None] * len(p)
    highest = 0.0
    for rank, (value, place) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * value))
        adjusted[place] = highest
    return adjusted


def _by_patient(components: Array, patients: NDArray[np.intp], count: int) -> Array:
    sums = [np.bincount(patients, row, minlength=count) for row in components]
    return np.stack(sums)


def _inflation(patients: NDArray[np.intp]) -> float:
    """K / (K - 1) for K different patients."""
    different = len(np.unique(patients))
    return different / (different - 1) if different > 1 else float("nan")
