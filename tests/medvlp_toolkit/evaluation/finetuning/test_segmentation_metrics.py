"""Overlap of masks, as published for SIIM-ACR Pneumothorax."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.metrics import compute_dice

from medvlp_toolkit.evaluation.finetuning.segmentation import (
    SegmentedImage,
    segmentation_metrics,
    segmented,
    write_segmented,
)


def mask(*pixels: int) -> np.ndarray:
    values = np.zeros(16, np.uint8)
    values[list(pixels)] = 1
    return values.reshape(4, 4)


def test_dice_is_that_of_monai_empty_masks_included() -> None:
    rng = np.random.default_rng(0)
    for share in (0.0, 0.3, 0.7):
        for found in (0.0, 0.5):
            truth, predicted = rng.random((8, 8)) < share, rng.random((8, 8)) < found
            expected = compute_dice(
                torch.tensor(predicted)[None, None].float(), torch.tensor(truth)[None, None].float(), ignore_empty=False
            )
            assert segmented("a", None, predicted, truth).dice == pytest.approx(float(expected))


def test_an_image_without_the_finding_counts_one_if_and_only_if_it_is_left_empty() -> None:
    assert segmented("a", None, mask(), mask()).dice == 1
    assert segmented("a", None, mask(3), mask()).dice == 0
    assert segmented("a", None, mask(), mask(3)).dice == 0


def test_iou_is_smoothed_by_one_pixel() -> None:
    assert segmented("a", None, mask(0, 1), mask(1, 2)).iou == pytest.approx((1 + 1) / (3 + 1))
    assert segmented("a", None, mask(), mask()).iou == 1


def test_means_are_over_the_whole_set_and_its_parts() -> None:
    images = [
        segmented("a", "p", mask(0, 1), mask(0, 1)),
        segmented("b", "p", mask(0), mask(1)),
        segmented("c", "q", mask(), mask()),
        segmented("d", "r", mask(5), mask()),
    ]
    metrics = segmentation_metrics(images, replicates=50)
    assert metrics["n"] == 4
    assert metrics["positives"] == 2
    assert metrics["dice"] == 0.5
    assert metrics["dice_positives"] == 0.5
    assert metrics["negatives_empty"] == 0.5
    assert metrics["miou"] == pytest.approx(np.mean([1, 1 / 3, 1, 1 / 2]))
    low, high = metrics["dice_interval"]
    assert low <= 0.5 <= high


def test_a_set_without_the_finding_has_no_dice_over_positives() -> None:
    metrics = segmentation_metrics([segmented("c", None, mask(), mask())], replicates=10)
    assert metrics["dice_positives"] is None
    assert metrics["dice_positives_interval"] is None
    assert metrics["dice"] == 1


def test_masks_of_two_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        segmented("a", None, mask(), np.zeros((8, 8)))


def test_the_table_has_a_row_per_image(tmp_path: Path) -> None:
    write_segmented(tmp_path / "out" / "segmentation.csv", [SegmentedImage("x", None, 4, 4, 2)])
    (row,) = csv.DictReader((tmp_path / "out" / "segmentation.csv").open())
    assert row == {"study_id": "x", "true_area": "4", "predicted_area": "4", "dice": "0.5000", "iou": "0.4286"}
