from __future__ import annotations

import itertools

import numpy as np
import pytest

from medvlp_toolkit.data.boxes import box_mask
from medvlp_toolkit.evaluation.zero_shot.grounding import (
    GroundingCase,
    attention_threshold,
    contrast_to_noise,
    grounding_metrics,
    grounding_scores,
    overlap_curve,
)


def random_heat(rng: np.random.Generator, grid: tuple[int, ...]) -> np.ndarray:
    heat = rng.random(grid) ** 4
    return heat / heat.sum()


@pytest.mark.parametrize("seed", range(5))
def test_published_scores_equal_counting_pixels(seed) -> None:
    rng = np.random.default_rng(seed)
    heat = random_heat(rng, (14, 14))
    mask = box_mask([(0.3, 0.2, 0.31, 0.4), (0.6, 0.6, 0.1, 0.13)], (224, 224))
    pixels = np.kron(heat, np.ones((16, 16)))
    both = only_map = only_mask = 0
    hit = False
    for value, true in zip(pixels.flat, mask.flat, strict=True):
        both += value > 0.008 and true
        only_map += value > 0.008 and not true
        only_mask += not value > 0.008 and true
        hit = hit or (true and value == pixels.max())
    scores = grounding_scores(heat, mask)
    assert scores["pointing"] == hit
    assert scores["iou"] == pytest.approx(both / (both + only_map + only_mask))
    assert scores["dice"] == pytest.approx(2 * both / (2 * both + only_map + only_mask))
    assert scores["recall"] == pytest.approx(both / (both + only_mask))
    assert scores["precision"] == pytest.approx(both / (both + only_map))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_score_at_a_threshold_is_the_curves_point_there(dtype: type) -> None:
    """Also where pixels hold exactly the threshold: neither counts them."""
    heat = random_heat(np.random.default_rng(7), (8, 8)).astype(dtype)
    mask = box_mask([(0.1, 0.2, 0.5, 0.4)], (32, 32))
    heat.flat[:5] = 2 / heat.size
    scores = grounding_scores(heat, mask, 2 / heat.size, scale_threshold=False)
    curve = overlap_curve(heat, mask, (1.0, 2.0, 3.0))
    assert [scores[name] for name in ("iou", "dice", "recall", "precision")] == curve[1].tolist()


def test_the_whole_cell_of_highest_attention_counts_as_pointing() -> None:
    heat = np.full((14, 14), 0.001)
    heat[5, 5] = 0.5
    mask = np.zeros((224, 224), bool)
    mask[80, 95] = True  # the cell's upper right pixel
    assert grounding_scores(heat, mask)["pointing"] == 1
    mask[80, 95], mask[80, 96] = False, True  # the neighbour's
    assert grounding_scores(heat, mask)["pointing"] == 0


def test_a_constant_map_points_nowhere() -> None:
    assert grounding_scores(np.full((4, 4), 1 / 16), np.ones((8, 8), bool))["pointing"] == 0


def test_nothing_above_the_threshold_gives_zeros_not_an_error() -> None:
    scores = grounding_scores(np.eye(4) / 4, np.eye(8, dtype=bool), threshold=0.9, scale_threshold=False)
    assert [scores[name] for name in ("iou", "dice", "recall", "precision")] == [0, 0, 0, 0]


def test_the_threshold_is_the_published_one_at_196_tokens_and_the_same_multiple_of_even_attention_elsewhere() -> None:
    assert attention_threshold(196) == 0.008
    assert attention_threshold(256) * 256 == pytest.approx(0.008 * 196)
    heat = np.full((16, 16), 0.9 / 255)
    heat[0, 0] = 0.1
    mask = np.zeros((16, 16), bool)
    mask[0, 0] = True
    heat[1, 1] = 0.007  # above 0.008 · 196 / 256 = 0.0061, below 0.008
    assert grounding_scores(heat, mask)["precision"] == 0.5
    assert grounding_scores(heat, mask, scale_threshold=False)["precision"] == 1


def test_contrast_to_noise_equals_its_definition() -> None:
    rng = np.random.default_rng(0)
    pixels, mask = rng.normal(size=(9, 9)), rng.random((9, 9)) < 0.3
    inside = [float(v) for v, m in zip(pixels.flat, mask.flat, strict=True) if m]
    outside = [float(v) for v, m in zip(pixels.flat, mask.flat, strict=True) if not m]

    def mean(values):
        return sum(values) / len(values)

    def variance(values):
        return mean([(value - mean(values)) ** 2 for value in values])

    expected = abs(mean(inside) - mean(outside)) / (variance(inside) + variance(outside)) ** 0.5
    assert contrast_to_noise(pixels, mask) == pytest.approx(expected)
    assert contrast_to_noise(-pixels, mask) == pytest.approx(expected)


def test_contrast_to_noise_is_undefined_without_outside_or_without_variance() -> None:
    assert np.isnan(contrast_to_noise(np.ones((3, 3)), np.ones((3, 3), bool)))
    assert np.isnan(contrast_to_noise(np.ones((3, 3)), np.eye(3, dtype=bool)))


def test_linear_upsampling_points_at_pixels_between_cells() -> None:
    heat = np.zeros((4, 4))
    heat[1, 1], heat[1, 2] = 0.5, 0.5
    mask = np.zeros((8, 8), bool)
    mask[3, 3] = True
    assert grounding_scores(heat, mask, upsampling="linear")["contrast_to_noise"] > 0
    nearest, linear = (grounding_scores(heat, mask, upsampling=mode) for mode in ("nearest", "linear"))
    assert nearest["recall"] == linear["recall"] == 1
    assert linear["iou"] != nearest["iou"]


def test_volumes_are_grounded_too() -> None:
    heat = np.zeros((2, 2, 2))
    heat[1, 0, 1] = 1
    mask = np.zeros((4, 4, 4), bool)
    mask[2:, :2, 2:] = True
    scores = grounding_scores(heat, mask)
    assert scores["iou"] == scores["pointing"] == 1


def test_an_empty_mask_or_a_broken_map_is_refused() -> None:
    with pytest.raises(ValueError, match="mask is empty"):
        grounding_scores(np.eye(2), np.zeros((4, 4), bool))
    with pytest.raises(ValueError, match="not finite"):
        grounding_scores(np.full((2, 2), np.nan), np.ones((4, 4), bool))


def pointing_at(row: int, column: int) -> np.ndarray:
    heat = np.full((4, 4), 0.01)
    heat[row, column] = 0.85
    return heat


@pytest.fixture
def cases() -> list[GroundingCase]:
    upper_left = [(0.02, 0.02, 0.2, 0.2)]
    lower_right = [(0.76, 0.76, 0.2, 0.2)]
    return [
        GroundingCase("nodule", pointing_at(0, 0), upper_left, "p1"),
        GroundingCase("nodule", pointing_at(0, 0), lower_right, "p2"),
        GroundingCase("nodule", pointing_at(3, 3), lower_right, "p3"),
        GroundingCase("edema", pointing_at(0, 0), [(0, 0, 1, 0.5)], "p1"),
        GroundingCase("edema", pointing_at(1, 1), [(0.01, 0.01, 0, 0)], "p4"),  # covers no pixel
    ]


def test_the_table_counts_points_and_says_what_blind_pointing_scores(cases) -> None:
    metrics = grounding_metrics(cases, size=(64, 64), replicates=50)
    nodule, edema = metrics["findings"]["nodule"], metrics["findings"]["edema"]
    assert (nodule["n"], edema["n"]) == (3, 1)
    assert nodule["pointing"] == pytest.approx(2 / 3)
    assert nodule["chance"] == pytest.approx(1 / 16)  # each box touches one cell of 4 × 4
    assert nodule["best_fixed_point"] == pytest.approx(2 / 3)
    assert nodule["truth_share"] < 1 / 16
    assert edema["chance"] == pytest.approx(0.5)
    assert edema["truth_share"] == pytest.approx(0.5)
    assert metrics["without_truth"] == 1


def test_pooled_rows_use_each_findings_own_best_point_and_cover_the_groups_asked_for(cases) -> None:
    metrics = grounding_metrics(cases, size=(64, 64), replicates=50, groups={"focal": ["nodule", "mass"]})
    pooled = metrics["groups"]["all"]
    assert pooled["n"] == 4
    assert pooled["pointing"] == pytest.approx(3 / 4)
    assert pooled["best_fixed_point"] == pytest.approx((3 * 2 / 3 + 1) / 4)
    assert metrics["groups"]["focal"] == metrics["findings"]["nodule"]
    assert metrics["findings_without_cases"] == ["mass"]


def test_pointing_has_wilsons_interval_unless_a_patient_comes_twice(cases) -> None:
    metrics = grounding_metrics(cases, size=(64, 64), replicates=200)
    assert metrics["findings"]["nodule"]["pointing_interval"] == pytest.approx((0.2077, 0.9385), abs=1e-4)
    pooled = metrics["groups"]["all"]["pointing_interval"]
    assert pooled[1] == 1.0  # resamples of p1, right in both of its cases, alone
    assert pooled[0] < 0.75


def test_with_linear_maps_blind_pointing_is_at_pixels(cases) -> None:
    metrics = grounding_metrics(cases, size=(64, 64), upsampling="linear", replicates=0)
    nodule = metrics["findings"]["nodule"]
    assert nodule["chance"] == pytest.approx(nodule["truth_share"])
    assert "dice_interval" not in nodule


def test_masks_serve_as_truth_in_their_own_size() -> None:
    mask = np.zeros((30, 50), bool)
    mask[:8, :13] = True
    metrics = grounding_metrics([GroundingCase("nodule", pointing_at(0, 0), mask)], replicates=0)
    assert metrics["findings"]["nodule"]["pointing"] == 1


def test_no_cases_give_an_empty_table() -> None:
    metrics = grounding_metrics([])
    assert metrics["findings"] == {}
    assert metrics["groups"]["all"] == {"n": 0}


def test_the_curve_over_thresholds_has_the_published_scores_at_the_published_threshold() -> None:
    rng = np.random.default_rng(12)
    boxes = [(0.3, 0.2, 0.31, 0.4)]
    cases = [GroundingCase("nodule", random_heat(rng, (14, 14)), boxes, f"p{i}") for i in range(5)]
    row = grounding_metrics(cases, replicates=0)["findings"]["nodule"]
    curve = row["over_thresholds"]
    published = curve["multiple"].index(1.568)
    for name in ("iou", "dice", "recall", "precision"):
        assert curve[name][published] == pytest.approx(row[name])
    assert all(a >= b for a, b in itertools.pairwise(curve["recall"]))
    for number, multiple in enumerate(curve["multiple"]):
        scores = [
            grounding_scores(case.heat, box_mask(boxes, (224, 224)), multiple / 196, scale_threshold=False)
            for case in cases
        ]
        assert curve["dice"][number] == pytest.approx(np.mean([score["dice"] for score in scores]))
