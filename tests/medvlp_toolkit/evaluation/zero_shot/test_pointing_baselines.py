from __future__ import annotations

import itertools

import numpy as np
import pytest

from medvlp_toolkit.data.boxes import box_mask
from medvlp_toolkit.data.records import Box
from medvlp_toolkit.evaluation.zero_shot.blind_pointing import best_fixed_point, chance, touched_cells


@pytest.mark.parametrize("seed", range(20))
def test_boxes_on_whole_pixels_become_the_larger_images_mask_resampled_by_nearest_neighbour(seed) -> None:
    rng = np.random.default_rng(seed)
    large = np.zeros((1024, 1024), bool)
    boxes = []
    for _ in range(3):
        x, y = (int(v) for v in rng.integers(0, 1000, size=2))
        w, h = (int(v) for v in rng.integers(1, 400, size=2))
        large[y : y + h, x : x + w] = True
        boxes.append(Box("pneumonia", x / 1024, y / 1024, w / 1024, h / 1024))
    for size in (224, 128, 512):
        nearest = (2 * np.arange(size) + 1) * 1024 // (2 * size)  # the pixel under each centre, in whole numbers
        assert (box_mask(boxes, (size, size)) == large[np.ix_(nearest, nearest)]).all()


def test_a_box_mask_holds_the_pixels_whose_centre_lies_in_a_box() -> None:
    mask = box_mask([(0.2, 0.1, 0.3, 0.5), (-0.5, 0.9, 0.7, 0.4)], (10, 20))
    for row, column in itertools.product(range(10), range(20)):
        y, x = (row + 0.5) / 10, (column + 0.5) / 20
        inside = (0.2 <= x < 0.5 and 0.1 <= y < 0.6) or (x < 0.2 and y >= 0.9)
        assert mask[row, column] == inside


def test_a_box_outside_the_image_covers_nothing_and_one_in_pixels_is_refused() -> None:
    assert not box_mask([(1.2, 0.1, 0.3, 0.5), (-0.9, 0.1, 0.3, 0.2)], (10, 10)).any()
    with pytest.raises(ValueError, match="not in fractions of the image; divide pixels"):
        box_mask([(100, 100, 50, 50)], (224, 224))


def test_a_cell_is_touched_when_it_shares_a_pixel() -> None:
    rng = np.random.default_rng(0)
    for shape, grid in [((12, 12), (3, 4)), ((10, 7), (3, 2)), ((6, 4, 4), (2, 2, 4))]:
        mask = rng.random(shape) < 0.05
        touched = np.zeros(grid, bool)
        for index in zip(*np.nonzero(mask), strict=True):
            touched[tuple(int((i + 0.5) * g / s) for i, g, s in zip(index, grid, shape, strict=True))] = True
        assert (touched_cells(mask, grid) == touched).all()


def test_chance_is_the_mean_share_and_overlapping_boxes_count_once() -> None:
    masks = [box_mask(boxes, (10, 10)) for boxes in ([(0, 0, 0.5, 1), (0.2, 0, 0.3, 1)], [(0, 0, 1, 0.1)])]
    assert chance(masks) == pytest.approx((0.5 + 0.1) / 2)


def test_the_best_fixed_point_beats_every_other_point() -> None:
    rng = np.random.default_rng(7)
    masks = [rng.random((4, 6)) < 0.3 for _ in range(9)]
    best = best_fixed_point(masks)
    rates = {(row, column): np.mean([mask[row, column] for mask in masks]) for row in range(4) for column in range(6)}
    assert best.hit_rate == max(rates.values())
    x, y = best.at
    assert rates[int(y * 4), int(x * 6)] == best.hit_rate


def test_baselines_need_at_least_one_mask_and_one_shape() -> None:
    with pytest.raises(ValueError, match="at least one mask"):
        chance([])
    with pytest.raises(ValueError, match="one shape"):
        best_fixed_point([np.ones((2, 2), bool), np.ones((3, 3), bool)])
