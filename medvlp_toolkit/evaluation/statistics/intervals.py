"""Confidence intervals: a bootstrap over patients, and Wilson's interval for proportions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest

Interval = tuple[float, float]

#: Minimum number of defined replicates for an interval.
MIN_DEFINED = 20

# Replicates per chunk, small enough for the running sums to fit the processor's cache.
_CHUNK = 128


@dataclass(frozen=True)
class PatientBootstrap:
    """Resamples whole patients with replacement: images of one patient are not independent.

    All statistics use the same resamples, which makes the intervals of labels and of their mean consistent.

    Args:
        clusters: (S,) the patient of each row, of any type; None treats every row as a separate patient.
        rows: S, needed when ``clusters`` is None.
        replicates: number of resamples.
        seed: of the resampling.
        level: coverage of the percentile intervals.
    """

    clusters: Sequence[object] | NDArray[np.generic] | None = None
    rows: int | None = None
    replicates: int = 1000
    seed: int = 0
    level: float = 0.95

    def __post_init__(self) -> None:
        if self.clusters is None and self.rows is None:
            raise ValueError("PatientBootstrap needs the patient of each row (clusters) or the number of rows")
        if self.replicates < 1 or not 0 < self.level < 1:
            raise ValueError(
                f"PatientBootstrap needs replicates >= 1 and a level between 0 and 1, "
                f"got replicates={self.replicates}, level={self.level}"
            )

    @cached_property
    def patient_of(self) -> NDArray[np.intp]:
        """(S,) index of each row's patient."""
        if self.clusters is None:
            return np.arange(self.rows or 0)
        return np.unique(np.asarray([str(name) for name in self.clusters]), return_inverse=True)[1].reshape(-1)

    @property
    def patients(self) -> int:
        return int(self.patient_of.max()) + 1 if len(self.patient_of) else 0

    @cached_property
    def counts(self) -> NDArray[np.int32]:
        """(patients, replicates) how often each patient is drawn; in this order because labels read whole rows."""
        rng = np.random.default_rng(self.seed)
        patients = self.patients
        counts = np.empty((patients, self.replicates), np.int32)
        for replicate in range(self.replicates):
            counts[:, replicate] = np.bincount(rng.integers(patients, size=patients), minlength=patients)
        return counts

    @cached_property
    def _weights(self) -> NDArray[np.float64]:
        """The counts as floats, for fast matrix products."""
        return self.counts.astype(np.float64)

    def auc(self, scores: ArrayLike, targets: ArrayLike, rows: ArrayLike | None = None) -> NDArray[np.float64]:
        """(replicates,) AUC of each resample, NaN if it lacks a class.

        ``rows`` (S',) are the rows of the table that ``scores`` (S',) and ``targets`` (S',) belong to.
        Equal to the AUC of the repeated rows, ties counting half (Mann-Whitney), from one sort.
        """
        return self._ranking(scores, targets, rows, with_precision=False)[0]

    def ranking(
        self, scores: ArrayLike, targets: ArrayLike, rows: ArrayLike | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(replicates,) AUC and (replicates,) average precision of each resample; arguments as for :meth:`auc`.

        Average precision is Σ (R_i − R_{i−1}) P_i over the distinct scores, as in scikit-learn.
        """
        return self._ranking(scores, targets, rows, with_precision=True)

    def _ranking(
        self, scores: ArrayLike, targets: ArrayLike, rows: ArrayLike | None, with_precision: bool
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        scores, positive = np.asarray(scores), np.asarray(targets).astype(bool)
        patient_of = self.patient_of if rows is None else self.patient_of[np.asarray(rows)]
        by_negative = np.argsort(scores[~positive], kind="stable")
        by_positive = np.argsort(scores[positive], kind="stable")
        negatives, positives = scores[~positive][by_negative], scores[positive][by_positive]
        # A positive ranks above the negatives before `below`, and ties with those from there to `upto`.
        below = np.searchsorted(negatives, positives, side="left")
        upto = np.searchsorted(negatives, positives, side="right")
        as_high = np.searchsorted(positives, positives, side="left")  # first positive of the same score
        negative_patients, positive_patients = patient_of[~positive][by_negative], patient_of[positive][by_positive]
        auc, precision = np.full(self.replicates, np.nan), np.full(self.replicates, np.nan)
        for chunk in self._chunks():
            counts = self.counts[:, chunk]
            running = np.zeros((len(negatives) + 1, counts.shape[1]), np.int32)
            np.cumsum(counts[negative_patients], axis=0, out=running[1:])
            weights = counts[positive_patients].astype(np.float64)
            lower = running[below]
            wins = np.einsum("pr,pr->r", weights, lower) + np.einsum("pr,pr->r", weights, running[upto])
            found = weights.sum(axis=0)
            pairs = found * running[-1]
            np.divide(wins, 2 * pairs, out=auc[chunk], where=pairs > 0)
            if not with_precision:
                continue
            true = np.cumsum(weights[::-1], axis=0)[::-1][as_high]  # positives at or above each positive's score
            marked = true + (running[-1] - lower)
            shares = np.divide(weights * true, marked, out=np.zeros_like(weights), where=marked > 0)
            np.divide(shares.sum(axis=0), found, out=precision[chunk], where=pairs > 0)
        return auc, precision

    def mean(self, values: ArrayLike, rows: ArrayLike | None = None) -> NDArray[np.float64]:
        """(replicates,) mean of ``values`` (S',) over each resample, NaN if none of their rows is drawn."""
        values = np.asarray(values, np.float64)
        patient_of = self.patient_of if rows is None else self.patient_of[np.asarray(rows)]
        sums = np.bincount(patient_of, values, minlength=self.patients) @ self._weights
        drawn = np.bincount(patient_of, minlength=self.patients) @ self._weights
        means: NDArray[np.float64] = np.divide(sums, drawn, out=np.full(len(sums), np.nan), where=drawn > 0)
        return means

    def interval(self, statistic: NDArray[np.float64]) -> Interval | None:
        """Percentile interval of (replicates,) values; None if too few are defined."""
        defined = statistic[np.isfinite(statistic)]
        if len(defined) < min(MIN_DEFINED, self.replicates):
            return None
        tail = 50 * (1 - self.level)
        low, high = np.percentile(defined, [tail, 100 - tail])
        return float(low), float(high)

    def _chunks(self) -> Iterator[slice]:
        for start in range(0, self.replicates, _CHUNK):
            yield slice(start, min(start + _CHUNK, self.replicates))


def wilson(hits: int, n: int, level: float = 0.95) -> Interval | None:
    """Wilson's score interval of a proportion (Wilson 1927); None when ``n`` is 0."""
    if not 0 <= hits <= n:
        raise ValueError(f"wilson takes hits between 0 and n, got {hits} of {n}")
    if n == 0:
        return None
    low, high = binomtest(hits, n).proportion_ci(level, method="wilson")
    return float(low), float(high)
