from __future__ import annotations

import math

import numpy as np
import pytest

from medvlp_toolkit.evaluation.zero_shot.laterality import (
    laterality_metrics,
    side_from_attention,
    side_from_positions,
    side_of_boxes,
)

SIDES = ("left", "right", "none", "left", "right", "right")


def test_the_side_is_the_one_whose_positions_are_likelier_together() -> None:
    scores = np.random.default_rng(0).normal(size=(50, 6)) * 3
    for row, side in zip(scores, side_from_positions(scores, SIDES), strict=True):
        share = {name: sum(math.exp(s) for s, n in zip(row, SIDES, strict=True) if n == name) for name in SIDES}
        assert side == ("left" if share["left"] > share["right"] else "right")


def test_two_likely_positions_outweigh_one_and_large_scores_do_not_overflow() -> None:
    scores = np.array([[1000.0, 1000.2, 9000.0, -5.0, 1000.2, 0.0], [1000.0, 1000.2, 9000.0, 999.9, -5.0, 0.0]])
    assert side_from_positions(scores, SIDES).tolist() == ["right", "left"]


def test_positions_need_both_sides() -> None:
    with pytest.raises(ValueError, match="must include a left and a right"):
        side_from_positions(np.zeros((1, 2)), ("left", "none"))
    with pytest.raises(ValueError, match="side per position"):
        side_from_positions(np.zeros((1, 2)), SIDES)


def test_attention_on_the_images_right_is_the_patients_left() -> None:
    heat = np.zeros((3, 4, 4))
    heat[0, 2, 3] = heat[1, 0, 0] = 1
    heat[2, 1, 1] = heat[2, 1, 2] = 0.5
    assert side_from_attention(heat).tolist() == ["left", "right", "none"]


def test_flipping_the_maps_swaps_the_sides() -> None:
    heat = np.random.default_rng(4).random((20, 7, 7))
    swapped = {"left": "right", "right": "left"}
    assert [swapped[s] for s in side_from_attention(heat)] == side_from_attention(heat[:, :, ::-1]).tolist()


def test_boxes_on_both_sides_have_no_side() -> None:
    right_of_image, left_of_image = (0.6, 0.2, 0.2, 0.2), (0.1, 0.2, 0.2, 0.2)
    assert side_of_boxes([right_of_image, right_of_image]) == "left"
    assert side_of_boxes([left_of_image]) == "right"
    assert side_of_boxes([left_of_image, right_of_image]) == "none"
    assert side_of_boxes([(0.4, 0, 0.2, 1)]) == "none"


def test_correctness_leaves_out_what_has_no_side_and_counts_undecided_as_wrong() -> None:
    truth = ["left", "left", "right", "none", "left", "right"]
    said = ["left", "right", "right", "left", "none", "right"]
    labels = ["nodule", "effusion", "nodule", "nodule", "effusion", "effusion"]
    metrics = laterality_metrics(truth, said, labels)
    assert metrics["without_side"] == 1
    assert metrics["all"]["n"] == 5
    assert metrics["all"]["correct"] == 3
    assert metrics["all"]["accuracy"] == pytest.approx(0.6)
    assert metrics["all"]["majority"] == pytest.approx(0.6)
    assert metrics["findings"]["nodule"]["accuracy"] == 1
    assert metrics["findings"]["effusion"]["accuracy"] == pytest.approx(1 / 3)


def test_nothing_with_a_side_gives_no_figure() -> None:
    row = laterality_metrics(["none"], ["left"])["all"]
    assert row == {"n": 0, "correct": 0, "accuracy": None, "interval": None, "majority": None}


def test_words_that_are_no_sides_are_refused() -> None:
    with pytest.raises(ValueError, match="got L"):
        laterality_metrics(["L"], ["left"])


def test_maps_of_volumes_lie_on_the_patients_side() -> None:
    from medvlp_toolkit.evaluation.zero_shot.laterality import side_from_attention

    heat = np.zeros((3, 4, 4, 4))
    heat[0, 3, 1, 1] = 1  # the first axis runs to the patient's right
    heat[1, 0, 2, 2] = 1
    heat[2] = 1
    assert side_from_attention(heat).tolist() == ["right", "left", "none"]


def test_a_mask_in_a_volume_has_a_side_unless_both_halves_hold_a_fifth() -> None:
    from medvlp_toolkit.evaluation.zero_shot.laterality import side_of_mask

    mask = np.zeros((10, 4, 4), bool)
    mask[6:9] = True
    assert side_of_mask(mask) == "right"
    assert side_of_mask(mask[::-1]) == "left"
    mask[1] = True
    assert side_of_mask(mask) == "none"
    assert side_of_mask(np.zeros((4, 4, 4), bool)) == "none"


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SLA"])
def test_the_sides_in_a_volume_are_the_patients_whichever_way_its_axes_run(codes: str) -> None:
    """Truth and attention on the patient's left, in a store that was prepared in another orientation."""
    from types import SimpleNamespace

    from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform

    from medvlp_toolkit.evaluation.zero_shot.laterality import Laterality, side_of_truth

    mask, heat = np.zeros((10, 8, 6), bool), np.zeros((5, 4, 3), np.float32)
    mask[1:3] = heat[:2] = 1
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    affine = inv_ornt_aff(turn, mask.shape)
    mask, heat = apply_orientation(mask, turn), apply_orientation(heat, turn)
    assert side_of_truth(mask, affine) == "left"

    studies = SimpleNamespace(labels={"nodule": "nodule"}, held_out={}, affine_of=lambda row: affine)
    measure = Laterality()
    measure.begin(studies, None)  # type: ignore[arg-type]
    measure.collect(
        SimpleNamespace(annotated=[(0, 0, "nodule", 0, mask)], maps=heat[None, None], position_scores=None)  # type: ignore[arg-type]
    )
    measured = measure.finish(None)["laterality"]["attention"]["findings"]["nodule"]  # type: ignore[arg-type]
    assert (measured["n"], measured["correct"], measured["majority"]) == (1, 1, 1)
    assert measure._sides["attention"] == [("nodule", "left", "left")]
