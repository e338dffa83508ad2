"""Evaluation of pre-training: the pretext tasks on unseen studies, and a linear probe on frozen image features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from rich.table import Table

from medvlp_arl.pretext_metrics import PretextMetrics
from medvlp_toolkit.data.batches.dataset import StudyDataset
from medvlp_toolkit.evaluation.finetuning.linear_probe import ProbeScores, image_features, linear_probe
from medvlp_toolkit.evaluation.handler import Evaluation
from medvlp_toolkit.evaluation.results.label_origin import label_origin
from medvlp_toolkit.evaluation.results.pretext import without_learning
from medvlp_toolkit.evaluation.results.tables import labels_are
from medvlp_toolkit.evaluation.zero_shot.classification import score_table
from medvlp_toolkit.model.pretraining import PretrainingModel


class PretextEvaluation(Evaluation):
    """Prints and writes the pretext metrics of an evaluator, and the probe of its network and of an untrained one.

    The results folder has ``metrics.json`` (``pretext`` and ``probe``), the probe's scores of the test studies, and
    ``run.json``.

    Args:
        metrics: the evaluator's.
        trained, untrained: the evaluated model, and the same model before training.
        probe_train, probe_test: disjoint data sets whose ``targets`` are probed.
        transform: maps the stored batch to the model's input.
        output_dir: folder of the results.
        probe_limit: studies that the probe learns from; all when None.
        title, config, checkpoint, seconds: see :class:`~medvlp_toolkit.evaluation.Evaluation`.
    """

    def __init__(
        self,
        metrics: PretextMetrics,
        trained: PretrainingModel,
        untrained: PretrainingModel,
        probe_train: StudyDataset,
        probe_test: StudyDataset,
        transform: Callable[[Mapping[str, Any]], dict[str, Any]],
        output_dir: str | Path,
        probe_limit: int | None = 4000,
        title: str = "Pre-training",
        config: Mapping[str, Any] | None = None,
        checkpoint: str | Path | None = None,
        seconds: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(probe_test, output_dir, title, config, checkpoint, seconds, bundle="ARL")
        self.metrics = metrics
        self.trained, self.untrained = trained, untrained
        self.probe_train, self.probe_test = probe_train, probe_test
        self.transform = transform
        self.probe_limit = probe_limit

    def finish(self, engine: Engine) -> None:
        device: Any = engine.state.device
        parts = dict(self.metrics.parts)
        probes: dict[str, ProbeScores] = {}
        tables = [_pretext_table(parts, self.title)]
        if self.probe_test.label_names:
            probes = {
                "trained": self._probe(self.trained, device),
                "untrained": self._probe(self.untrained, device),
            }
            tables.append(_probe_table(probes, self.title, labels_are(label_origin(self.probe_test))))
        metrics = {
            "pretext": parts,
            "probe": {name: {"mean_auc": probe.mean_auc, "auc": probe.auc} for name, probe in probes.items()},
        }
        self.write(device, self._table(probes), metrics, tables=tables)

    def _probe(self, model: PretrainingModel, device: torch.device) -> ProbeScores:
        train, test = self.probe_train, self.probe_test
        assert train.targets is not None
        assert test.targets is not None
        features = image_features(model.model, train, self.transform, device, limit=self.probe_limit)
        unseen = image_features(model.model, test, self.transform, device)
        return linear_probe(features, train.targets[: len(features)], unseen, test.targets, test.label_names)

    def _table(self, probes: Mapping[str, ProbeScores]) -> Any:
        test = self.probe_test
        targets = np.zeros((len(test), 0), np.int8) if test.targets is None else test.targets
        scores = probes["trained"].scores if probes else np.zeros((len(test), 0), np.float32)
        return score_table(
            test.study_ids,
            targets,
            scores,
            test.label_names,
            patient_id=test.patient_ids,
            split=test.store.values("split", test.rows),
            image_id=test.store.image_ids(test.rows) if len(set(test.study_ids)) < len(test) else None,
        )


def _pretext_table(parts: Mapping[str, float], title: str) -> Table:
    table = Table("task", "measured", "most frequent answer", title=f"{title}: pretext tasks")
    for name, value in parts.items():
        if name.endswith("_floor"):
            continue
        floor = without_learning(parts, name)
        table.add_row(name.replace("_", " "), f"{value:.3f}", "" if floor is None else f"{floor:.3f}")
    return table


def _probe_table(probes: Mapping[str, ProbeScores], title: str, note: str) -> Table:
    trained, untrained = probes["trained"], probes["untrained"]
    table = Table("label", "trained", "untrained", title=f"{title}: AUC of a linear probe on frozen image features")
    table.caption = note or None
    for label in trained.auc:
        table.add_row(label, f"{trained.auc[label]:.3f}", f"{untrained.auc[label]:.3f}")
    table.add_section()
    table.add_row("mean", f"{trained.mean_auc:.3f}", f"{untrained.mean_auc:.3f}")
    return table
