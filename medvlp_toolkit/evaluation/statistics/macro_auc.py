"""The mean AUC over labels with a closed-form interval, where a bootstrap per subset would be too slow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvlp_toolkit.evaluation.statistics.counting import FEW, UNKNOWN
from medvlp_toolkit.evaluation.statistics.delong import auc_spread, influence_variance, wald_interval

Metrics = dict[str, Any]


def macro_auc(
    targets: NDArray[Any],
    scores: NDArray[Any],
    labels: Sequence[str],
    patient_of: NDArray[np.intp],
    level: float = 0.95,
) -> Metrics:
    """Mean AUC over the labels with enough images.

    Args:
        targets: (S, L) 1 present, 0 absent, -1 unknown.
        scores: (S, L).
        labels: L names.
        patient_of: (S,) index of each image's patient, from 0 without gaps.
        level: of the intervals (:mod:`medvlp_toolkit.evaluation.statistics.delong`).

    Returns:
        ``auc``, over the labels that have at least :data:`~medvlp_toolkit.evaluation.FEW` images present
        and absent, None if none has; ``auc_interval``; ``labels``: label -> ``n``, ``positives``, ``auc``,
        ``auc_interval``; ``few``: the labels left out of the mean.
    """
    per_label: Metrics = {}
    few: list[str] = []
    aucs: list[float] = []
    influence = np.zeros(int(patient_of.max()) + 1 if len(patient_of) else 0)
    for number, label in enumerate(labels):
        known = np.flatnonzero(targets[:, number] != UNKNOWN)
        truth, score = targets[known, number], scores[known, number]
        positives = int((truth == 1).sum())
        row: Metrics = {"n": len(known), "positives": positives, "auc": None, "auc_interval": None}
        if 0 < positives < len(known):
            spread = auc_spread(truth, score, patient_of[known])
            row["auc"] = float(spread.auc[0])
            row["auc_interval"] = wald_interval(row["auc"], float(spread.covariance[0, 0]), level)
        if min(positives, len(known) - positives) >= FEW:
            aucs.append(row["auc"])
            influence[: spread.influence.shape[1]] += spread.influence[0]
        else:
            few.append(label)
        per_label[label] = row
    mean = float(np.mean(aucs)) if aucs else None
    variance = influence_variance(influence / max(len(aucs), 1))
    return {
        "auc": mean,
        "auc_interval": None if mean is None else wald_interval(mean, variance, level),
        "labels": per_label,
        "few": few,
    }
