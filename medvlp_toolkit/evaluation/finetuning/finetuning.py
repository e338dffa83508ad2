"""Fine-tuning: the steps of training and prediction, and what is measured and written when the test set is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from ignite.engine import Engine
from monai.engines.utils import IterationEvents
from numpy.typing import NDArray

from medvlp_toolkit.data.batches.dataset import StudyDataset
from medvlp_toolkit.data.boxes import bounding_boxes
from medvlp_toolkit.engines.device import Precision, autocast, to_device
from medvlp_toolkit.evaluation.finetuning.segmentation import (
    SegmentedImage,
    segmentation_metrics,
    segmented,
    write_segmented,
)
from medvlp_toolkit.evaluation.handler import FinetuningEvaluation
from medvlp_toolkit.evaluation.maps.overlays import Overlay, write_overlays
from medvlp_toolkit.evaluation.results.results import write_probabilities
from medvlp_toolkit.evaluation.zero_shot.classification import best_f1_thresholds, classification_metrics, score_table

Transform = Callable[[Mapping[str, Any]], dict[str, Any]]
Target = Literal["targets", "mask", "answer", "image_index"]
Activation = Literal["sigmoid", "softmax"]


class PredictionStep:
    """Predict one batch: ``iteration_update`` of MONAI's ``SupervisedEvaluator``.

    The output holds ``logits`` and ``scores`` (float32), the batch's target under its own key, ``row`` and ids.

    Args:
        transform: from the stored batch to the network's.
        target: ``targets`` or ``mask``.
        activation: what makes scores of logits: ``sigmoid``, or ``softmax`` over labels that exclude one another.
        precision: ``fp32`` or ``bf16``.
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
        self.transform = transform
        self.target = target
        self.activation = activation
        self.precision: Precision = precision

    @torch.no_grad()
    def __call__(self, engine: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        device = engine.state.device
        prepared = self.transform(to_device(batch, device))
        engine.network.eval()
        with autocast(device, self.precision):
            logits = engine.inferer(prepared["image"], engine.network)
        logits = logits.float()
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return {
            "logits": logits,
            "scores": logits.sigmoid() if self.activation == "sigmoid" else logits.softmax(dim=1),
            self.target: prepared[self.target],
            "row": batch["row"],
            "study_id": batch["study_id"],
            "patient_id": batch["patient_id"],
        }


class ClassificationEvaluation(FinetuningEvaluation):
    """Metrics of a fine-tuned classifier on the test split.

    A handler of an evaluator whose step is :class:`PredictionStep`. It writes ``scores.parquet``, ``metrics.json``,
    ``run.json`` and ``probabilities.csv``. Where the data set has a split ``threshold_split`` besides, F1 and
    accuracy are given at the thresholds that are best on it, next to those tuned on the test set itself.

    Args:
        dataset: with labels; its studies of ``threshold_split`` are not tested on.
        output_dir, title, config, checkpoint, seconds: see :class:`FinetuningEvaluation`.
        threshold_split: where thresholds are chosen; None chooses none.
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
    ) -> None:
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
        scores, targets, rows = (np.concatenate(part) for part in (self._scores, self._targets, self._rows))
        labels = self.dataset.label_names
        splits = np.array(self.dataset.store.values("split", rows.astype(np.int64)), dtype=object)
        tested = splits != self.threshold_split if self.threshold_split is not None else np.ones(len(rows), bool)
        if not tested.any():
            raise ValueError(f"every study is of the threshold split {self.threshold_split}; name another test_split")
        options: dict[str, Any] = {}
        if self.threshold_split is not None and not tested.all():
            options["thresholds"] = best_f1_thresholds(targets[~tested], scores[~tested], labels)
            options["thresholds_from"] = self.threshold_split
        scores, targets, rows = scores[tested], targets[tested], rows[tested]
        described = self.described(rows)
        metrics = {
            "fine_tuned": classification_metrics(targets, scores, labels, patient_id=described["patient_id"], **options)
        }
        ids = self.dataset.store.values("study_id", rows) or []
        table = score_table(ids, targets, scores, labels, **described)
        probabilities = write_probabilities(self.output_dir / "probabilities.csv", ids, scores, labels)
        self.write(engine, table, metrics, {"probability of every label per image": probabilities})
        engine.state.metrics["macro_auc"] = metrics["fine_tuned"]["macro"].get("auc")


class SegmentationEvaluation(FinetuningEvaluation):
    """Overlap of a fine-tuned segmenter's masks with the true ones on the test split.

    A handler of an evaluator whose step is :class:`PredictionStep` with ``target: mask``. It writes ``metrics.json``,
    ``run.json``, ``segmentation.csv`` (a row per image), ``scores.parquet`` (target: the mask is not empty; score:
    the highest probability of a pixel) and pictures into ``output_dir``.

    Args:
        dataset: with masks.
        output_dir, title, config, checkpoint, seconds: see :class:`FinetuningEvaluation`.
        label: what the masks outline.
        threshold: pixels above it belong to the predicted mask, published 0.5.
        overlays: pictures to draw, of images that show the finding.
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
                note = f"Dice {image.dice:.2f}"
                self._pictures.append(
                    Overlay(picture, scores[i], self.label, boxes=bounding_boxes(masks[i]), note=note)
                )

    def finish(self, engine: Engine) -> None:
        metrics = {"segmentation": {"label": self.label, **segmentation_metrics(self._images)}}
        metrics["segmentation"]["protocol"]["threshold"] = self.threshold
        targets = np.array([[image.positive] for image in self._images], np.int8)
        described = self.described(np.array(self._rows, np.int64))
        ids = [image.study_id for image in self._images]
        table = score_table(ids, targets, np.array(self._highest, np.float32)[:, None], [self.label], **described)
        paths = {"overlap per image": write_segmented(self.output_dir / "segmentation.csv", self._images)}
        pictures = write_overlays(self.output_dir / "overlays", self._pictures, self.title)
        if pictures:
            paths["predicted masks, true ones boxed"] = pictures[0]
        self.write(engine, table, metrics, paths)
        engine.state.metrics["dice"] = metrics["segmentation"]["dice"]
