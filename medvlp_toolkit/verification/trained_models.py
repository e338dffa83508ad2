"""Compares the model settings of configurations that take their model from a training with that training."""

from __future__ import annotations

from pathlib import Path

from medvlp_toolkit.verification.composition import Composition, as_path, compose
from medvlp_toolkit.verification.located_file import read_located
from medvlp_toolkit.verification.references import reached
from medvlp_toolkit.weights.nested import ROOTS

_TRAINING = "train.yaml"
_TARGETS = ("medvlp_toolkit.weights.TrainedModel", "medvlp_toolkit.weights.trained.TrainedModel")


def training_of(composition: Composition, configs: Path) -> Composition | None:
    """The bundle's training from which a configuration takes its model; None if it takes none.

    Args:
        configs: folder of the bundle's configurations.
    """
    takes = any(isinstance(value, dict) and value.get("_target_") in _TARGETS for _, value in composition.walk())
    file = configs / _TRAINING
    return compose([read_located(file, _TRAINING)]) if takes and file.is_file() else None


def ids_of_model(composition: Composition, configs: Path) -> set[str]:
    """Top-level ids on which a configuration's trained model depends; empty if it has none."""
    training = training_of(composition, configs)
    if training is None:
        return set()
    return {as_path(id_)[0] for id_ in reached(training, [root for root in ROOTS if as_path(root) in training])}
