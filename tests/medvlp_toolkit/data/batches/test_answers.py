"""Answers are normalised as the benchmarks do, and their numbers travel with the checkpoint."""

from __future__ import annotations

import pytest
import torch

from medvlp_toolkit.data.batches.answers import AnswerVocabulary, normalise_answer


@pytest.mark.parametrize(
    ("written", "compared"),
    [
        ("Yes", "yes"),
        ("The left lung.", "left lung"),
        ("left-lung", "left lung"),
        ("mr - t2 weighted", "mr t2 weighted"),
        ("ct w/contrast (iv)", "ct w contrast iv"),
        ("lung, mediastinum, pleura", "lung mediastinum pleura"),
        ("1,000 mm", "1000 mm"),
        ("2.5 cm.", "2.5 cm"),
        ("two nodules", "2 nodules"),
        ("None", "0"),
        ("it isnt a mass", "it isn't mass"),
        ("youd've", "you'd've"),
        ("a  b", "b"),
        ("mr t2* gradient,gre", "mr t2* gradient gre"),
    ],
)
def test_answers_are_compared_as_vqa_v2_compares_them(written: str, compared: str) -> None:
    assert normalise_answer(written) == compared


def test_normalising_twice_changes_nothing() -> None:
    once = normalise_answer("The U.S. isnt one, really")
    assert normalise_answer(once) == once


def test_numbers_do_not_depend_on_the_order_of_files() -> None:
    one = AnswerVocabulary.of(["Yes", "no", "The lung", "yes"])
    other = AnswerVocabulary.of(["lung", "no", "yes"])
    assert one == other
    assert one.answers == ("lung", "no", "yes")


def test_an_answer_that_training_lacks_is_minus_one() -> None:
    vocabulary = AnswerVocabulary.of(["yes", "no"])
    assert vocabulary.encode(["No.", "maybe", "YES"]).tolist() == [0, -1, 1]


def test_rare_answers_can_be_left_out() -> None:
    assert AnswerVocabulary.of(["a b", "c", "c"], min_count=2).answers == ("c",)


def test_class_names_are_compared_as_written() -> None:
    vocabulary = AnswerVocabulary.of(["Western blot", "western blot"], normalised=False)
    assert vocabulary.answers == ("Western blot", "western blot")


def test_a_vocabulary_survives_a_checkpoint() -> None:
    vocabulary = AnswerVocabulary.of(["naïve B-cell", "no"], normalised=False)
    assert AnswerVocabulary.from_state({"head.vocabulary": vocabulary.to_tensor()}) == vocabulary


def test_a_checkpoint_without_vocabulary_is_one_line() -> None:
    with pytest.raises(ValueError, match="has no answer vocabulary") as caught:
        AnswerVocabulary.from_state({"head.weight": torch.zeros(1)})
    assert "\n" not in str(caught.value)


def test_a_vocabulary_of_another_data_set_is_one_line() -> None:
    with pytest.raises(ValueError, match="from another data set: the checkpoint has 2 answers, this data set 3, 1 in"):
        AnswerVocabulary.of(["yes", "left", "right"]).check_same(AnswerVocabulary.of(["yes", "no"]))


def test_no_answer_at_all_is_one_line() -> None:
    with pytest.raises(ValueError, match="at least one answer"):
        AnswerVocabulary.of([])
