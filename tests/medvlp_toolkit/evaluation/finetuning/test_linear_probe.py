"""A linear probe on frozen features."""

from __future__ import annotations

import numpy as np

from medvlp_toolkit.evaluation.finetuning.linear_probe import linear_probe


def test_a_label_in_the_features_is_read_and_noise_is_not() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(600, 8)).astype(np.float32)
    targets = np.stack([features[:, 2] > 0, rng.random(600) < 0.5], axis=1).astype(np.int8)
    told = linear_probe(features[:400], targets[:400], features[400:], targets[400:], ["there", "absent"])
    assert told.auc["there"] > 0.95
    assert abs(told.auc["absent"] - 0.5) < 0.15
    assert told.scores.shape == (200, 2)


def test_unknown_targets_are_left_out_and_a_constant_label_has_no_area() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(100, 4)).astype(np.float32)
    targets = np.stack([np.where(features[:, 0] > 0, 1, -1), np.zeros(100)], axis=1).astype(np.int8)
    told = linear_probe(features, targets, features, targets, ["one_sided", "never"])
    assert np.isnan(told.auc["one_sided"])
    assert np.isnan(told.auc["never"])
    assert np.isnan(told.mean_auc)
