"""Linear probes on frozen image features (Alain and Bengio 2017)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medvlp_toolkit.data.batches.dataset import StudyDataset
from medvlp_toolkit.engines.device import to_device
from medvlp_toolkit.model.vision_language import VisionLanguageModel


@dataclass(frozen=True)
class ProbeScores:
    """Probabilities (S, L) of the test studies and the AUC of each label, NaN where undefined."""

    scores: NDArray[np.float32]
    auc: dict[str, float]

    @property
    def mean_auc(self) -> float:
        known = [value for value in self.auc.values() if np.isfinite(value)]
        return float(np.mean(known)) if known else float("nan")


@torch.no_grad()
def image_features(
    model: VisionLanguageModel,
    dataset: StudyDataset,
    transform: Callable[[Mapping[str, Any]], dict[str, Any]],
    device: torch.device,
    batch_size: int = 64,
    limit: int | None = None,
) -> NDArray[np.float32]:
    """(S, D), the mean over image tokens of the first ``limit`` studies (all when None), model in evaluation mode.

    Over all tokens, a class token too: not the encoder's ``summary``, which contrastive and alignment losses read.
    """
    model.to(device).eval()
    count = len(dataset) if limit is None else min(limit, len(dataset))
    parts = []
    for start in range(0, count, batch_size):
        batch = dataset.__getitems__(list(range(start, min(start + batch_size, count))))
        read: dict[str, Any] = {name: batch[name] for name in ("image", "image_scale") if name in batch}
        images = transform(to_device(read, device))["image"]
        parts.append(model.image_tokens(images).float().mean(dim=1).cpu().numpy())
    return np.concatenate(parts)


def linear_probe(
    train_features: NDArray[np.float32],
    train_targets: NDArray[np.int8],
    test_features: NDArray[np.float32],
    test_targets: NDArray[np.int8],
    labels: Sequence[str],
    strength: float = 0.1,
) -> ProbeScores:
    """Fit a logistic regression per label on standardised features and score unseen studies.

    Args:
        train_features, test_features: (T, D), (S, D).
        train_targets, test_targets: (T, L), (S, L): 1 present, 0 absent, everything else unknown.
        labels: L names.
        strength: inverse of the L2 penalty's.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scores = np.full(test_targets.shape, 0.5, dtype=np.float32)
    auc: dict[str, float] = {}
    for place, label in enumerate(labels):
        known, asked = np.isin(train_targets[:, place], (0, 1)), np.isin(test_targets[:, place], (0, 1))
        answers, truth = train_targets[known, place], test_targets[asked, place]
        auc[label] = float("nan")
        if len(np.unique(answers)) < 2 or len(np.unique(truth)) < 2:
            continue
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=300))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an approximate optimum suffices
            probe.fit(train_features[known], answers)
        scores[:, place] = probe.predict_proba(test_features)[:, 1]
        auc[label] = float(roc_auc_score(truth, scores[asked, place]))
    return ProbeScores(scores, auc)
