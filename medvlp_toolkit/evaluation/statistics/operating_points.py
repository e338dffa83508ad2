"""Metrics at thresholds: as published (tuned on the test images), and unbiased (chosen on another split)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import precision_recall_curve

from medvlp_toolkit.evaluation.statistics.intervals import PatientBootstrap

#: Names of the metrics of :func:`published_operating_point`.
ON_TEST = ("threshold_on_test", "f1_threshold_on_test", "accuracy_threshold_on_test")

#: Rates of :func:`operating_point`, and the counts they are computed from (true positives, false negatives, …).
_RATES = {
    "sensitivity": ("tp", "fn"),
    "specificity": ("tn", "fp"),
    "ppv": ("tp", "fp"),
    "npv": ("tn", "fn"),
}


def called_present(score: Any, threshold: float) -> Any:
    """Whether a score, or each of an array, counts as present at a threshold that was chosen on another split: from it
    upwards."""
    return score >= threshold


def published_operating_point(truth: ArrayLike, score: ArrayLike) -> dict[str, float]:
    """F1 and accuracy as in MedKLIP's evaluation, with the threshold tuned on the same rows.

    The maximum of F1 over the precision-recall curve (whose points count scores at or above a threshold), the
    first of equal ones; accuracy counts scores strictly above it, so that the image that gave the threshold counts as
    absent.

    Args:
        truth: (S,) 0 or 1, both present.
        score: (S,).
    """
    truth, score = np.asarray(truth), np.asarray(score)
    precision, recall, thresholds = precision_recall_curve(truth, score)
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    best = int(f1.argmax())
    threshold = float(thresholds[best])
    accuracy = float(((score > thresholds[best]) == (truth == 1)).mean())
    return dict(zip(ON_TEST, (threshold, float(f1[best]), accuracy), strict=True))


def operating_point(
    truth: NDArray[Any],
    score: NDArray[Any],
    threshold: float | None,
    split: str,
    bootstrap: PatientBootstrap | None = None,
    rows: NDArray[np.intp] | None = None,
) -> dict[str, Any]:
    """Metrics at a threshold from another split; present means at or above it.

    Args:
        truth: (S,) 1 or 0.
        score: (S,).
        threshold: None if that split has none.
        split: the split that the threshold was chosen on.
        bootstrap: of the patients of the whole table, for intervals.
        rows: (S,) rows of that table.

    Returns:
        ``split``, ``threshold``; the counts ``tp``, ``fp``, ``tn``, ``fn``; ``sensitivity``, ``specificity``, ``ppv``
        and ``npv``, None if undefined, each with ``…_interval`` if there is a bootstrap.
    """
    point: dict[str, Any] = {"split": split, "threshold": threshold}
    if threshold is None:
        return point
    present, positive = called_present(score, threshold), truth == 1
    outcomes = {
        "tp": present & positive,
        "fp": present & ~positive,
        "tn": ~present & ~positive,
        "fn": ~present & positive,
    }
    point |= {name: int(rows_.sum()) for name, rows_ in outcomes.items()}
    for name, (hit, miss) in _RATES.items():
        total = point[hit] + point[miss]
        point[name] = point[hit] / total if total else None
        if bootstrap is not None:
            counted = np.flatnonzero(outcomes[hit] | outcomes[miss])
            drawn = counted if rows is None else rows[counted]
            means = bootstrap.mean(outcomes[hit][counted], drawn) if total else np.full(0, np.nan)
            point[f"{name}_interval"] = bootstrap.interval(means) if total else None
    return point
