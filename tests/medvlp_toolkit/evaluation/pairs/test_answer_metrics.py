"""Accuracy of answers by kind of question, and what not looking scores."""

from __future__ import annotations

import numpy as np
import pytest

from medvlp_toolkit.evaluation.pairs.answer_metrics import answer_metrics, class_metrics, majority_baselines


def test_unseen_answers_are_wrong_and_counted() -> None:
    measured = answer_metrics([0, 1, 1, 0], [0, 1, -1, -1], category=["a", "a", "b", "b"])
    assert measured["overall"]["accuracy"] == 0.5
    assert measured["overall"]["unseen"] == 2
    assert measured["overall"]["bound"] == 0.5
    assert measured["categories"]["b"] == measured["categories"]["b"] | {"accuracy": 0.0, "unseen": 2, "bound": 0.0}


def test_an_answer_numbered_minus_one_is_never_right() -> None:
    assert answer_metrics([0], [-1])["overall"]["accuracy"] == 0.0


def test_open_and_closed_questions_are_distinguished() -> None:
    measured = answer_metrics([0, 1, 2, 2], [0, 1, 0, 2], answer_type=["closed", "closed", "open", None])
    assert (measured["closed"]["n"], measured["closed"]["accuracy"]) == (2, 1.0)
    assert (measured["open"]["n"], measured["open"]["accuracy"]) == (1, 0.0)
    assert measured["overall"]["n"] == 4


def test_a_data_set_that_does_not_say_has_neither_open_nor_closed() -> None:
    assert not {"open", "closed"} & set(answer_metrics([0], [0], answer_type=[None]))


def test_questions_of_one_image_are_resampled_together() -> None:
    rng = np.random.default_rng(0)
    correct = np.repeat(rng.integers(0, 2, 40), 10)  # all right or all wrong about an image
    alone = answer_metrics(correct, np.ones(400, int))["overall"]["interval"]
    together = answer_metrics(correct, np.ones(400, int), image=np.repeat(np.arange(40), 10))["overall"]["interval"]
    assert together[1] - together[0] > 2 * (alone[1] - alone[0])


def test_no_question_is_one_line() -> None:
    with pytest.raises(ValueError, match="accuracy is undefined"):
        answer_metrics([], [])


def test_majorities_come_from_training_alone() -> None:
    trained = (["q1", "q1", "q1", "q2"], ["yes", "yes", "no", "no"], ["a", "a", "a", "a"])
    tested = (["q1", "q2", "q3"], ["yes", "no", "yes"], ["a", "a", "b"])
    found = majority_baselines(trained, tested)
    # Two "yes", two "no": the tie goes to what came first; q3 and category b are new, so the overall majority serves.
    assert found["category"]["overall"] == pytest.approx(2 / 3)
    assert found["question"]["overall"] == 1.0
    assert found["category"]["b"] == 1.0


def test_mean_f1_is_over_the_classes_that_occur() -> None:
    measured = class_metrics([0, 0, 1], [0, 1, 1], ["x", "y", "z"])
    assert measured["classes"]["x"] == {"n": 1, "precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3)}
    assert measured["macro_f1"] == pytest.approx(2 / 3)
    assert measured["classes"]["z"]["n"] == 0
