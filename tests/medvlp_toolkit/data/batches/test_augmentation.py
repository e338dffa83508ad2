"""Augmentation on the device: left and right, masks, and what must not be random."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from medvlp_toolkit.data.batches.augmentation import EvaluationTransform, TrainingAugmentation, to_unit_range

POSITIONS = ("left", "right", "lingula", "spine")
MIRRORS = {"left": "right", "right": "left", "lingula": None, "spine": "spine"}
PLAIN = {"mean": [0.0], "std": [1.0]}


def batch(count: int = 4, side: int = 16, **more: Any) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    return {
        "image": torch.randint(0, 256, (count, 1, side, side), generator=generator, dtype=torch.uint8),
        "augmentation_draws": torch.rand(count, 32, generator=generator),
        **more,
    }


def stating(position: str, present: int = 1, count: int = 1) -> dict[str, Tensor]:
    """Labels of one entity at a position, with one negative candidate."""
    candidates = torch.tensor([POSITIONS.index(position), POSITIONS.index("left" if position != "left" else "right")])
    return {
        "entity_presence": torch.full((count, 1), present, dtype=torch.int8),
        "entity_position_candidates": candidates.expand(count, 1, 2).clone(),
    }


def flipping(**options: Any) -> TrainingAugmentation:
    return TrainingAugmentation(16, POSITIONS, MIRRORS, flip=1.0, **PLAIN, **options)


def named(candidates: Tensor) -> list[str]:
    return [POSITIONS[i] for i in candidates[0, 0].tolist()]


def test_flip_mirrors_the_image_and_swaps_left_and_right_positions() -> None:
    given = batch(1, **stating("left"))
    flipped = flipping()(given)
    torch.testing.assert_close(flipped["image"], to_unit_range(given["image"]).flip(-1), atol=1e-5, rtol=0)
    assert named(flipped["entity_position_candidates"]) == ["right", "left"]


def test_a_study_at_a_position_without_a_mirror_is_not_flipped() -> None:
    given = batch(1, **stating("lingula"))
    kept = flipping()(given)
    torch.testing.assert_close(kept["image"], to_unit_range(given["image"]), atol=1e-5, rtol=0)
    assert named(kept["entity_position_candidates"]) == ["lingula", "left"]


def test_a_position_of_an_absent_entity_does_not_forbid_the_flip() -> None:
    given = batch(1, **stating("lingula", present=0))
    torch.testing.assert_close(flipping()(given)["image"], to_unit_range(given["image"]).flip(-1), atol=1e-5, rtol=0)


def test_labels_of_studies_that_are_not_flipped_stay() -> None:
    augmentation = TrainingAugmentation(16, POSITIONS, MIRRORS, flip=0.5, **PLAIN)
    given = batch(64, **stating("left", count=64))
    result = augmentation(given)
    mirrored = result["entity_position_candidates"][:, 0, 0] == POSITIONS.index("right")
    assert 16 < int(mirrored.sum()) < 48
    original = to_unit_range(given["image"])
    for i in range(64):
        expected = original[i].flip(-1) if mirrored[i] else original[i]
        torch.testing.assert_close(result["image"][i], expected, atol=1e-5, rtol=0)


def test_the_given_batch_is_left_alone() -> None:
    given = batch(1, **stating("left"))
    before = given["entity_position_candidates"].clone()
    flipping()(given)
    assert torch.equal(given["entity_position_candidates"], before)
    assert given["image"].dtype == torch.uint8


def test_a_flip_without_mirrors_is_refused() -> None:
    with pytest.raises(ValueError, match="swaps left and right"):
        TrainingAugmentation(16, flip=0.5)
    with pytest.raises(ValueError, match="no entry for the positions spine"):
        TrainingAugmentation(16, ["left", "spine"], {"left": "right"}, flip=0.5)


def test_an_empty_mapping_says_that_no_label_names_a_side() -> None:
    augmentation = TrainingAugmentation(16, mirrors={}, flip=1.0, **PLAIN)
    given = batch(2)
    torch.testing.assert_close(augmentation(given)["image"], to_unit_range(given["image"]).flip(-1), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="names positions"):
        augmentation(batch(1, **stating("left")))


def test_a_flip_with_report_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="set flip: 0"):
        flipping()(batch(1, input_ids=torch.ones(1, 4, dtype=torch.long)))


def test_a_mask_moves_with_its_image() -> None:
    augmentation = TrainingAugmentation(
        48, mirrors={}, flip=0.5, crop_scale=(0.5, 1), rotate=15, shift=0.1, zoom=0.1, **PLAIN
    )
    image = torch.zeros(24, 1, 64, 64, dtype=torch.uint8)
    for i in range(24):
        image[i, 0, 10 + i : 30 + i, 12:40] = 255
    moved = augmentation(batch(24, image=image, mask=(image > 0).to(torch.uint8)))
    assert set(moved["mask"].unique().tolist()) == {0.0, 1.0}
    agree = ((moved["image"] > 0.5) == (moved["mask"] > 0.5)).float().mean(dim=(1, 2, 3))
    assert agree.min() > 0.97  # all but the blended border
    assert (moved["mask"] != torch.nn.functional.interpolate((image > 0).float(), size=48)).any()


def test_evaluation_resizes_a_mask_with_its_image() -> None:
    image = torch.zeros(1, 1, 32, 32, dtype=torch.uint8)
    image[..., 8:24, 4:12] = 255
    small = EvaluationTransform(16, **PLAIN)({"image": image, "mask": (image > 0).to(torch.uint8)})
    assert torch.equal(small["mask"] > 0.5, small["image"] > 0.5)


def test_evaluation_is_not_random() -> None:
    given = batch()
    transform = EvaluationTransform(12)
    other = {**given, "augmentation_draws": torch.rand(4, 32)}
    assert torch.equal(transform(given)["image"], transform(other)["image"])


def test_augmentation_follows_from_the_draws_alone() -> None:
    augmentation = TrainingAugmentation(16, rotate=10, shift=0.1, brightness=0.2, contrast=0.2)
    given = batch(4)
    torch.manual_seed(1)
    one = augmentation(given)["image"]
    torch.manual_seed(2)
    assert torch.equal(one, augmentation(given)["image"])
    assert not torch.equal(one, augmentation({**given, "augmentation_draws": torch.rand(4, 32)})["image"])


def test_a_study_is_augmented_the_same_alone_as_in_a_batch() -> None:
    augmentation = TrainingAugmentation(16, rotate=10, crop_scale=(0.3, 1), contrast=0.2)
    given = batch(5)
    together = augmentation(given)["image"]
    alone = augmentation({key: value[2:3] for key, value in given.items()})["image"]
    torch.testing.assert_close(alone, together[2:3])


def test_crops_cover_the_asked_share_of_the_area() -> None:
    augmentation = TrainingAugmentation(16, crop_scale=(0.2, 1.0))
    draws = torch.rand(4000, 32, generator=torch.Generator().manual_seed(0))
    maps = augmentation.geometry(draws, torch.zeros(4000, dtype=torch.bool))
    area = maps[:, 0, 0] * maps[:, 1, 1]
    assert area.min() > 0.15
    assert area.max() <= 1
    assert float(area.mean()) == pytest.approx(0.6, abs=0.05)
    corners = maps[:, :, 2].abs() + torch.stack([maps[:, 0, 0], maps[:, 1, 1]], dim=1)
    assert corners.max() <= 1 + 1e-6  # the crop never leaves the image


def test_without_any_change_asked_for_the_image_is_only_normalised() -> None:
    given = batch()
    result = TrainingAugmentation(16, mean=[0.5], std=[0.25])(given)["image"]
    expected = (np.asarray(given["image"]).astype(np.float32) / 255 - 0.5) / 0.25
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("size", [0, 12])
def test_training_and_evaluation_give_a_store_that_is_not_square_the_same_size(size: int) -> None:
    """0 keeps the stored size, of images and masks."""
    given = batch(2) | {
        "image": torch.randint(0, 256, (2, 1, 16, 24), dtype=torch.uint8),
        "mask": torch.ones(2, 1, 16, 24, dtype=torch.uint8),
    }
    evaluated, trained = EvaluationTransform(size, **PLAIN)(given), TrainingAugmentation(size, **PLAIN)(given)
    expected = (2, 1, 12, 12) if size else (2, 1, 16, 24)
    assert trained["image"].shape == evaluated["image"].shape == expected
    assert trained["mask"].shape == evaluated["mask"].shape == expected
    if not size:
        torch.testing.assert_close(trained["image"], evaluated["image"], atol=1e-5, rtol=0)
