"""Whole-entity masking: units, budgets and what is withheld."""

from __future__ import annotations

import numpy as np
import pytest

from medvlp_toolkit.data.batches.draws import study_keys
from medvlp_toolkit.data.batches.masking import IGNORED, WholeEntityMasking, without_masked

LENGTH, MASK, VOCABULARY = 20, 4, 500


def batch(count: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, int, np.ndarray]]:
    """Reports of [CLS], ten words and [SEP]; an entity covers words 2 to 4, another word 7."""
    ids = np.zeros((count, LENGTH), dtype=np.int64)
    ids[:, :12] = np.arange(10, 22)
    real = np.zeros((count, LENGTH), dtype=bool)
    real[:, 1:11] = True
    alignment = np.zeros((count, 3, LENGTH), dtype=np.float32)
    alignment[:, 0, 2:5] = 1
    alignment[:, 1, 7] = 1
    return ids, real, alignment, (0, 0, study_keys([f"s{n}" for n in range(count)]))


def test_entities_are_masked_whole_or_not_at_all() -> None:
    ids, real, alignment, draw = batch()
    masked = WholeEntityMasking(share=0.4)(ids, real, alignment, MASK, VOCABULARY, draw).masked
    of_entity = masked[:, 2:5]
    assert set(of_entity.sum(axis=1).tolist()) == {0, 3}


def test_without_whole_entities_each_token_is_on_its_own() -> None:
    ids, real, alignment, draw = batch()
    masked = WholeEntityMasking(share=0.4, whole_entities=False)(ids, real, alignment, MASK, VOCABULARY, draw).masked
    assert {1, 2} <= set(masked[:, 2:5].sum(axis=1).tolist())


@pytest.mark.parametrize(("budget", "expected"), [("real", 2), ("padded", 3)])
def test_the_budget_follows_the_real_or_the_padded_length(budget: str, expected: int) -> None:
    ids, real, alignment, draw = batch()
    masking = WholeEntityMasking(share=0.15, budget=budget)  # type: ignore[arg-type]
    counts = masking(ids, real, alignment, MASK, VOCABULARY, draw).masked.sum(axis=1)
    assert counts.max() == expected
    assert masking.slots(LENGTH) == 3


def test_a_unit_larger_than_what_is_left_is_passed_over() -> None:
    ids, real, alignment, draw = batch()
    masked = WholeEntityMasking(share=0.15)(ids, real, alignment, MASK, VOCABULARY, draw).masked
    assert not masked[:, 2:5].any()
    assert (masked.sum(axis=1) == 2).all()


def test_special_tokens_and_padding_are_never_masked() -> None:
    ids, real, alignment, draw = batch()
    masked = WholeEntityMasking(share=0.9)(ids, real, alignment, MASK, VOCABULARY, draw).masked
    assert not masked[:, 0].any()
    assert not masked[:, 11:].any()


def test_labels_are_the_tokens_that_were_there() -> None:
    ids, real, alignment, draw = batch()
    told = WholeEntityMasking(share=0.4)(ids, real, alignment, MASK, VOCABULARY, draw)
    rows, slots = np.nonzero(told.labels != IGNORED)
    places = told.positions[rows, slots]
    assert (told.labels[rows, slots] == ids[rows, places]).all()
    assert told.masked[rows, places].all()
    assert len(rows) == told.masked.sum()
    untouched = ~told.masked
    assert (told.input_ids[untouched] == ids[untouched]).all()


def test_eight_of_ten_become_the_mask_and_one_stays() -> None:
    ids, real, alignment, draw = batch(2000)
    told = WholeEntityMasking(share=0.4)(ids, real, alignment, MASK, VOCABULARY, draw)
    shown, was = told.input_ids[told.masked], ids[told.masked]
    assert np.mean(shown == MASK) == pytest.approx(0.8, abs=0.02)
    assert np.mean(shown == was) == pytest.approx(0.1, abs=0.02)


def test_masks_belong_to_the_study_not_to_its_batch() -> None:
    ids, real, alignment, (seed, epoch, keys) = batch()
    masking = WholeEntityMasking(share=0.4)
    whole = masking(ids, real, alignment, MASK, VOCABULARY, (seed, epoch, keys)).masked
    part = masking(ids[5:9], real[5:9], alignment[5:9], MASK, VOCABULARY, (seed, epoch, keys[5:9])).masked
    assert (whole[5:9] == part).all()
    later = masking(ids, real, alignment, MASK, VOCABULARY, (seed, epoch + 1, keys)).masked
    assert (whole != later).any()


def test_entities_that_touch_a_mask_are_withheld() -> None:
    entities = np.array([[5, 6, -100]])
    alignment = np.zeros((1, 3, 6), dtype=np.float32)
    alignment[0, 0, 1:3] = 1
    alignment[0, 1, 4] = 1
    masked = np.zeros((1, 6), dtype=bool)
    masked[0, 2] = True
    left, left_alignment = without_masked(entities, alignment, masked)
    assert left.tolist() == [[-100, 6, -100]]
    assert left_alignment[0, 0].sum() == 0
    assert left_alignment[0, 1].tolist() == alignment[0, 1].tolist()


def test_settings_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="share of masked tokens"):
        WholeEntityMasking(share=1.5)
    with pytest.raises(ValueError, match="budget is real or padded"):
        WholeEntityMasking(budget="full")  # type: ignore[arg-type]
