"""Segmentation of one finding: overlap per image, and means over the whole set."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvlp_toolkit.evaluation.statistics.intervals import PatientBootstrap

#: Added to intersection and union in the published IoU, so that two empty masks give 1.
IOU_SMOOTHING = 1.0

Metrics = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SegmentedImage:
    """Overlap of one predicted mask with the true one; areas in pixels."""

    study_id: str
    patient_id: str | None
    true_area: int
    predicted_area: int
    overlap: int

    @property
    def positive(self) -> bool:
        return self.true_area > 0

    @property
    def dice(self) -> float:
        """Dice; without a true region, 1 if nothing was predicted, else 0."""
        total = self.true_area + self.predicted_area
        return 2 * self.overlap / total if total else 1.0

    @property
    def iou(self) -> float:
        """Intersection over union, each plus 1."""
        union = self.true_area + self.predicted_area - self.overlap
        return (self.overlap + IOU_SMOOTHING) / (union + IOU_SMOOTHING)


def segmented(study_id: str, patient_id: str | None, predicted: NDArray[Any], truth: NDArray[Any]) -> SegmentedImage:
    """Compare two masks of the same shape; non-zero pixels belong to the mask."""
    if predicted.shape != truth.shape:
        raise ValueError(f"the predicted mask is {predicted.shape} and the true one {truth.shape}; expected one shape")
    found, there = predicted != 0, truth != 0
    return SegmentedImage(study_id, patient_id, int(there.sum()), int(found.sum()), int((found & there).sum()))


def segmentation_metrics(
    images: Sequence[SegmentedImage], *, replicates: int = 1000, seed: int = 0, level: float = 0.95
) -> Metrics:
    """The published protocol for SIIM-ACR Pneumothorax, and its components.

    Returns:
        ``dice``: mean over all images, an image without the finding counting 1 if nothing was predicted in it and 0
        otherwise. ``miou``: mean IoU, smoothed by 1. ``dice_positives`` (images with the finding) and
        ``negatives_empty`` (share of the others with an empty prediction) separate what ``dice`` mixes: an always empty
        prediction already has a ``dice`` of the share of negatives. Each with ``…_interval``, from a bootstrap over
        patients; None if there is no such image. ``n``, ``positives``.
    """
    positive = np.array([image.positive for image in images], bool)
    dice = np.array([image.dice for image in images])
    iou = np.array([image.iou for image in images])
    everything = np.arange(len(images))
    parts = {
        "dice": (dice, everything),
        "dice_positives": (dice, np.flatnonzero(positive)),
        "negatives_empty": (dice, np.flatnonzero(~positive)),
        "miou": (iou, everything),
        "miou_positives": (iou, np.flatnonzero(positive)),
    }
    patients = [f"row\0{i}" if image.patient_id is None else image.patient_id for i, image in enumerate(images)]
    bootstrap = (
        PatientBootstrap(patients, replicates=replicates, seed=seed, level=level) if replicates and patients else None
    )
    metrics: Metrics = {"n": len(images), "positives": int(positive.sum())}
    for name, (values, rows) in parts.items():
        metrics[name] = float(values[rows].mean()) if len(rows) else None
        if bootstrap is not None:
            interval = bootstrap.interval(bootstrap.mean(values[rows], rows)) if len(rows) else None
            metrics[f"{name}_interval"] = interval
    metrics["protocol"] = {"iou_smoothing": IOU_SMOOTHING, "replicates": replicates, "seed": seed, "level": level}
    return metrics


def write_segmented(path: str | Path, images: Sequence[SegmentedImage], image_ids: Sequence[str] | None = None) -> Path:
    """One row per image: study_id, areas in pixels, Dice and IoU; ``image_ids`` where a study has several."""
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        more = [] if image_ids is None else ["image_id"]
        writer.writerow(["study_id", "true_area", "predicted_area", "dice", "iou", *more])
        for number, image in enumerate(images):
            row = [image.true_area, image.predicted_area, f"{image.dice:.4f}", f"{image.iou:.4f}"]
            writer.writerow([image.study_id, *row, *([] if image_ids is None else [image_ids[number]])])
    return file
