"""Evaluation of fine-tuned networks: the prediction step, and the metrics and files at the end of the test set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ignite.engine import Engine
from numpy.typing import NDArray

from medvlp_toolkit.data.batches.dataset import StudyDataset
from medvlp_toolkit.engines.device import Precision
from medvlp_toolkit.engines.finetuning_step import Target
from medvlp_toolkit.engines.step import Transform
from medvlp_toolkit.evaluation.finetuning.segmentation import (
    SegmentedImage,
    segmentation_metrics,
    segmented,
    write_segmented,
)
from medvlp_toolkit.evaluation.handler import Evaluation
from medvlp_toolkit.evaluation.maps.overlays import Overlay, write_overlays
from medvlp_toolkit.evaluation.maps.volume_slices import overlay_of
from medvlp_toolkit.evaluation.results.results import PROBABILITIES_FILE, write_probabilities
from medvlp_toolkit.evaluation.statistics.pooling import Pool, StudyPooling, checked_pool
from medvlp_toolkit.evaluation.step import EvaluationStep
from medvlp_toolkit.evaluation.zero_shot.classification import score_table, tested_metrics
from medvlp_toolkit.evaluation.zero_shot.studies import tested_rows

Activation = Literal["sigmoid", "softmax"]


class PredictionStep(EvaluationStep):
    """Predict one batch.

    The output holds ``logits`` and ``scores`` (float32), the batch's target under its own key, ``row`` and ids.

    Args:
        transform, precision: see :class:`~medvlp_toolkit.evaluation.EvaluationStep`.
        target: ``targets`` or ``mask``.
        activation: from logits to scores: ``sigmoid``, or ``softmax`` for mutually exclusive labels.
    """

    def __init__(
        self,
        transform: Transform,
        target: Target = "targets",
        activation: Activation = "sigmoid",
        precision: Precision = "fp32",
    ) -> None:
        if activation not in ("sigmoid", "softmax"):
            raise ValueError(f"activation '{activation}' is not one of sigmoid, softmax")
        super().__init__(transform, precision)
        self.target = target
        self.activation = activation

    def predict(self, engine: Any, batch: Mapping[str, Any], prepared: dict[str, Any]) -> dict[str, Any]:
        logits = engine.inferer(prepared["image"], engine.network).float()
        return {
            "logits": logits,
            "scores": logits.sigmoid() if self.activation == "sigmoid" else logits.softmax(dim=1),
            self.target: prepared[self.target],
            "row": batch["row"],
            "study_id": batch["study_id"],
            "patient_id": batch["patient_id"],
        }


class ClassificationEvaluation(Evaluation):
    """Metrics of a fine-tuned classifier on the test split.

    A handler of an evaluator whose step is :class:`PredictionStep`. It writes ``scores.parquet``, ``metrics.json``,
    ``run.json`` and ``probabilities.csv``. If the data set also has a split ``threshold_split``, F1 and accuracy
    are reported at the thresholds that are best on it as well as at those tuned on the test set itself.

    Args:
        dataset: with labels; its studies of ``threshold_split`` are not used for testing.
        output_dir, title, config, checkpoint, seconds: see :class:`~medvlp_toolkit.evaluation.Evaluation`.
        threshold_split: split to choose thresholds on; None chooses none.
        pool: combine the scores of a study's images by ``mean`` or ``max``; None evaluates every image separately.
    """

    def __init__(
        self,
        dataset: StudyDataset,
        output_dir: str | Path,
        threshold_split: str | None = None,
        title: str = "",
        config: Mapping[str, Any] | None = None,
        checkpoint: str | Path | None = None,
        seconds: Mapping[str, float] | Callable[[], Mapping[str, float]] | None = None,
        pool: Pool | None = "mean",
    ) -> None:
        self.pool = checked_pool(pool)
        if dataset.targets is None:
            raise ValueError("a data set without labels cannot be evaluated; name labels of the store (label_names)")
        self.threshold_split = threshold_split
        super().__init__(dataset, output_dir, title, config, checkpoint, seconds)

    def begin(self) -> None:
        super().begin()
        self._scores: list[NDArray[np.float32]] = []
        self._targets: list[NDArray[np.int8]] = []
        self._rows: list[NDArray[np.int64]] = []

    def collect(self, output: Mapping[str, Any]) -> None:
        self._scores.append(output["scores"].cpu().numpy())
        self._targets.append(output["targets"].cpu().numpy())
        self._rows.append(output["row"].cpu().numpy())

    def finish(self, engine: Engine) -> None:
        scores, targets = np.concatenate(self._scores), np.concatenate(self._targets)
        rows = np.concatenate(self._rows)
        labels = self.dataset.label_names
        store = self.dataset.store
        tested = tested_rows(store, rows, self.threshold_split)
        images = store.image_ids(rows[tested])
        listed = write_probabilities(self.output_dir / PROBABILITIES_FILE, images, scores[tested], labels)
        every, pooling = (
            StudyPooling(store.values("study_id", chosen) or [], self.pool) for chosen in (rows, rows[tested])
        )
        described = pooling.columns(self.described(rows[tested]))
        scores, targets, tested = every.scores(scores), every.targets(targets), tested[every.first]
        patients = described["patient_id"]
        measured = tested_metrics(targets, scores, labels, tested, self.threshold_split, patient_id=patients)
        table = score_table(
            pooling.study_ids,
            targets[tested],
            scores[tested],
            labels,
            image_id=pooling.image_ids(images),
            **described,  # type: ignore[arg-type]
        )
        metrics = {"fine_tuned": measured} | ({"pooling": pooling.described()} if pooling.described() else {})
        self.write(engine.state.device, table, metrics, {"probability of every label per image": listed})
        engine.state.metrics["macro_auc"] = measured["macro"].get("auc")


class SegmentationEvaluation(Evaluation):
    """Overlap of a fine-tuned segmenter's masks with the true ones on the test split.

    A handler of an evaluator whose step is :class:`PredictionStep` with ``target: mask``. It writes ``metrics.json``,
    ``run.json``, ``segmentation.csv`` (a row per image), ``scores.parquet`` (target: the mask is not empty; score:
    the highest probability of a pixel) and pictures into ``output_dir``.

    Args:
        dataset: with masks.
        output_dir, title, config, checkpoint, seconds: see :class:`~medvlp_toolkit.evaluation.Evaluation`.
        label: the finding in the masks.
        threshold: pixels above it are in the predicted mask, published 0.5.
        overlays: number of pictures to draw, of images with the finding.
    """

    def __init__(
        self,
        dataset: StudyDataset,
        output_dir: str | Path,
        label: str = "finding",
        threshold: float = 0.5,
        overlays: int = 12,
        title: str = "",
        config: Mapping[str, Any] | None = None,
        checkpoint: str | Path | None = None,
        seconds: Mapping[str, float] | Callable[[], Mapping[str, float]] | None = None,
    ) -> None:
        self.label = label
        self.threshold = threshold
        self.overlays = overlays
        super().__init__(dataset, output_dir, title, config, checkpoint, seconds)

    def begin(self) -> None:
        super().begin()
        self._images: list[SegmentedImage] = []
        self._rows: list[int] = []
        self._highest: list[float] = []
        self._pictures: list[Overlay] = []

    def collect(self, output: Mapping[str, Any]) -> None:
        scores = output["scores"].cpu().numpy()[:, 0]
        masks = output["mask"].cpu().numpy()[:, 0] > 0.5
        for i, row in enumerate(output["row"].tolist()):
            predicted = scores[i] > self.threshold
            image = segmented(output["study_id"][i], output["patient_id"][i], predicted, masks[i])
            self._images.append(image)
            self._rows.append(row)
            self._highest.append(float(scores[i].max()))
            if image.positive and scores.ndim == 3 and len(self._pictures) < self.overlays:
                picture = np.asarray(self.dataset.store.images[row])
                overlay = overlay_of(picture, scores[i], self.label, truth=masks[i])
                self._pictures.append(replace(overlay, note=f"Dice {image.dice:.2f}"))

    def finish(self, engine: Engine) -> None:
        metrics = {"segmentation": {"label": self.label, **segmentation_metrics(self._images)}}
        metrics["segmentation"]["protocol"]["threshold"] = self.threshold
        targets = np.array([[image.positive] for image in self._images], np.int8)
        described = self.described(np.array(self._rows, np.int64))
        ids = [image.study_id for image in self._images]
        if len(set(ids)) < len(ids):
            described["image_id"] = self.dataset.store.image_ids(np.array(self._rows, np.int64))
        table = score_table(ids, targets, np.array(self._highest, np.float32)[:, None], [self.label], **described)
        listed = write_segmented(self.output_dir / "segmentation.csv", self._images, described.get("image_id"))
        paths = {"overlap per image": listed}
        pictures = write_overlays(self.output_dir / "overlays", self._pictures, self.title, shows="probability")
        if pictures:
            paths["predicted masks, true ones boxed"] = pictures[0]
        self.write(engine.state.device, table, metrics, paths)
        engine.state.metrics["dice"] = metrics["segmentation"]["dice"]
