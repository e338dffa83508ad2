"""What guessing gives, beside each figure of a pretext task."""

from __future__ import annotations

import pytest

from medvlp_toolkit.evaluation.results.pretext import without_learning

TASK = {
    "matching": 0.707,
    "matching_accuracy": 0.61,
    "matching_floor": 0.511,
    "masked_image": 0.53,
    "masked_image_floor": 0.99,
    "alignment_image_auc": 0.7,
    "masked_token": 2.1,
}


@pytest.mark.parametrize(
    ("name", "floor"),
    [
        ("matching", None),
        ("matching_accuracy", 0.511),
        ("masked_image", 0.99),
        ("alignment_image_auc", 0.5),
        ("masked_token", None),
    ],
)
def test_a_floor_stands_beside_the_figure_that_it_is_of(name: str, floor: float | None) -> None:
    assert without_learning(TASK, name) == floor
