"""Calibration of probabilities: reliability in bins, expected calibration error, Brier score."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import brier_score_loss

#: Bins of equal width between 0 and 1.
BINS = 10


def calibration_metrics(truth: ArrayLike, score: ArrayLike, bins: int = BINS) -> dict[str, Any]:
    """Calibration of one label's probabilities.

    Args:
        truth: (S,) 1 or 0.
        score: (S,) probabilities that the finding is present.
        bins: of equal width; the last one includes 1.

    Returns:
        ``ece``, the expected calibration error Σ n_b / S · |observed share − mean probability| (Naeini et al. 2015);
        ``brier``; ``reliability``, a row ``low``, ``high``, ``n``, ``mean_score``, ``observed`` for each bin that is
        not empty. All None if a score is outside [0, 1] (not a probability) or there is no image.
    """
    truth, score = np.asarray(truth, np.float64), np.asarray(score, np.float64)
    if not len(score) or score.min() < 0 or score.max() > 1:
        return {"ece": None, "brier": None, "reliability": None}
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, score, side="right") - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    filled = np.flatnonzero(count)
    mean_score = np.bincount(place, score, minlength=bins)[filled] / count[filled]
    observed = np.bincount(place, truth, minlength=bins)[filled] / count[filled]
    return {
        "ece": float((count[filled] * np.abs(observed - mean_score)).sum() / len(score)),
        "brier": float(brier_score_loss(truth, score)) if 0 < truth.sum() < len(truth) else None,
        "reliability": [
            {
                "low": float(edges[b]),
                "high": float(edges[b + 1]),
                "n": int(count[b]),
                "mean_score": float(mean_score[i]),
                "observed": float(observed[i]),
            }
            for i, b in enumerate(filled.tolist())
        ],
    }
