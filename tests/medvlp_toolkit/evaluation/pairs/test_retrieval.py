"""Recall and ranks against a brute-force count, ties included."""

from __future__ import annotations

import numpy as np
import pytest

from medvlp_toolkit.evaluation.pairs.retrieval_metrics import ranks, retrieval_metrics


def brute_force_rank(scores: list[float], relevant: list[bool], ties: str) -> float:
    """Sort candidates by hand, false ones of equal score placed as ``ties`` says."""
    orders = {"pessimistic": [False], "optimistic": [True], "middle": [False, True]}[ties]
    places = []
    for true_first in orders:
        order = sorted(range(len(scores)), key=lambda i: (-scores[i], relevant[i] != true_first))
        places.append(1 + next(place for place, i in enumerate(order) if relevant[i]))
    return sum(places) / len(places)


@pytest.mark.parametrize("ties", ["pessimistic", "optimistic", "middle"])
def test_ranks_equal_a_brute_force_count(ties: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        scores = rng.integers(0, 4, (6, 9)).astype(float)  # few values: many ties
        relevant = rng.random((6, 9)) < 0.3
        relevant[np.arange(6), rng.integers(0, 9, 6)] = True
        expected = [
            brute_force_rank(line.tolist(), true.tolist(), ties) for line, true in zip(scores, relevant, strict=True)
        ]
        assert ranks(scores, relevant, ties).tolist() == expected  # type: ignore[arg-type]


def test_equal_scores_for_everything_retrieve_nothing() -> None:
    measured = retrieval_metrics(np.zeros((20, 20)), list(range(20)), list(range(20)))
    assert measured["image_to_text"]["R@10"] == 0.0
    assert measured["image_to_text"]["median_rank"] == 20


def test_several_texts_of_an_image_are_all_right() -> None:
    scores = np.array([[0.1, 0.9, 0.2], [0.3, 0.2, 0.8]])
    measured = retrieval_metrics(scores, ["a", "a", "b"], ["a", "b"])
    assert measured["image_to_text"]["R@1"] == 1.0
    assert measured["text_to_image"]["R@1"] == pytest.approx(2 / 3)  # the first text goes to b
    assert measured["text_to_image"]["median_rank"] == 1


def test_pairs_that_were_not_scored_rank_last() -> None:
    scores = np.array([[-np.inf, 0.1, 0.2]])
    assert ranks(scores, np.array([[True, False, False]])).tolist() == [3]
    assert ranks(np.array([[np.nan, 0.1]]), np.array([[True, False]])).tolist() == [2]


def test_a_query_without_answer_is_one_line() -> None:
    with pytest.raises(ValueError, match="1 queries have no relevant candidate"):
        ranks(np.zeros((2, 2)), np.array([[True, False], [False, False]]))


def test_chance_is_reported_with_recall() -> None:
    measured = retrieval_metrics(np.eye(20), list(range(20)), list(range(20)))
    assert measured["text_to_image"]["R@1"] == 1.0
    assert measured["text_to_image"]["R@5_chance"] == 0.25
