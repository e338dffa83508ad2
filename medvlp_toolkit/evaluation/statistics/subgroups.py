"""Metrics per subgroup (sex, age, view, scanner), with the sample size of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medvlp_toolkit.evaluation.statistics.intervals import PatientBootstrap
from medvlp_toolkit.evaluation.statistics.macro_auc import macro_auc

Metrics = dict[str, Any]

_AGE_BANDS = (
    (0, 18, "under 18"),
    (18, 40, "18–39"),
    (40, 60, "40–59"),
    (60, 80, "60–79"),
    (80, math.inf, "80 or older"),
)


def age_band(age: float | None) -> str | None:
    """The age band of an age in years, None if unknown."""
    if age is None or not math.isfinite(age) or age < 0:
        return None
    return next(name for low, high, name in _AGE_BANDS if low <= age < high)


def subgroup_columns(columns: Mapping[str, Sequence[Any] | None]) -> dict[str, list[str | None]]:
    """Columns of the description as groups: ages as bands, other values as text; empty columns are dropped."""
    groups = {}
    for name, values in columns.items():
        if values is None:
            continue
        members = [
            age_band(value) if name == "age" else str(value) if value not in (None, "") else None for value in values
        ]
        if any(value is not None for value in members):
            groups[name] = members
    return groups


def subgroup_metrics(
    targets: ArrayLike,
    scores: ArrayLike,
    labels: Sequence[str],
    groups: Mapping[str, Sequence[str | None]],
    *,
    patient_id: Sequence[str | None] | None = None,
    level: float = 0.95,
    most_values: int = 12,
) -> Metrics:
    """AUC per subgroup and label.

    Args:
        targets: (S, L) 1 present, 0 absent, -1 unknown.
        scores: (S, L).
        labels: L names.
        groups: name -> S values, None where unknown; unknown rows form a group ``unknown``.
        patient_id: S ids; intervals count patients, not images.
        level: of the intervals, which are in closed form (:mod:`medvlp_toolkit.evaluation.statistics.delong`).
        most_values: maximum number of values per group, the most frequent; the rest are ``other``.

    Returns:
        name -> value -> ``n``, ``patients``, ``auc`` (mean over the labels that have at least
        :data:`~medvlp_toolkit.evaluation.FEW` images present and absent *in this subgroup*), its
        ``auc_interval``, ``labels`` (label -> ``n``, ``positives``, ``auc``, ``auc_interval``), ``few``: the labels
        left out of the mean. Means over different labels cannot be compared: ``few`` lists the missing
        ones.
    """
    targets, scores = np.asarray(targets), np.asarray(scores)
    patients = PatientBootstrap(
        None if patient_id is None else [f"row\0{i}" if p is None else p for i, p in enumerate(patient_id)],
        len(targets),
    ).patient_of
    result: Metrics = {}
    for name, values in groups.items():
        if len(values) != len(targets):
            raise ValueError(f"subgroup {name!r} has {len(values)} values for {len(targets)} rows of scores")
        named = np.array(["unknown" if value is None else value for value in values], dtype=object)
        found, counts = np.unique(named.astype(str), return_counts=True)
        kept = found[np.argsort(-counts, kind="stable")[:most_values]].tolist()
        named[~np.isin(named.astype(str), kept)] = "other"
        result[name] = {
            value: _row(targets, scores, labels, np.flatnonzero(named == value), patients, level)
            for value in sorted(set(named.tolist()), key=_order)
        }
    return result


def _row(
    targets: NDArray[Any],
    scores: NDArray[Any],
    labels: Sequence[str],
    rows: NDArray[np.intp],
    patients: NDArray[np.intp],
    level: float,
) -> Metrics:
    own = np.unique(patients[rows], return_inverse=True)[1].reshape(-1)
    count = int(own.max()) + 1 if len(own) else 0
    return {"n": len(rows), "patients": count, **macro_auc(targets[rows], scores[rows], labels, own, level)}


def _order(value: str) -> tuple[int, str]:
    """Age bands by age, other values by name, ``other`` and ``unknown`` last."""
    placed = [*(name for _, _, name in _AGE_BANDS), "", "other", "unknown"]
    return placed.index(value if value in placed else ""), value
