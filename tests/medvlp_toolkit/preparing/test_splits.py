"""Splits by patient, and the check for leaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing

import pytest

from medvlp_toolkit.preparing.splits import Leak, LeakCheck, Member, SplitByPatient


def leaks_among(members: Sequence[Member]) -> list[Leak]:
    with closing(LeakCheck()) as check:
        check.add(members)
        return list(check.leaks())


class TestSplitByPatient:
    def test_shares_are_about_the_fractions(self) -> None:
        split = SplitByPatient({"train": 0.7, "validate": 0.1, "test": 0.2})
        counts = Counter(split(f"patient{number}") for number in range(20_000))
        assert counts["train"] / 20_000 == pytest.approx(0.7, abs=0.02)
        assert counts["validate"] / 20_000 == pytest.approx(0.1, abs=0.02)

    def test_assignment_is_fixed_for_all_time(self) -> None:
        split = SplitByPatient()
        assert [split(f"p{number}") for number in range(8)] == [
            "validate", "train", "train", "validate", "test", "train", "train", "train",
        ]  # fmt: skip

    def test_other_salt_is_another_split(self) -> None:
        ids = [f"p{number}" for number in range(200)]
        one, other = SplitByPatient({"a": 0.5, "b": 0.5}), SplitByPatient({"a": 0.5, "b": 0.5}, salt="x")
        assert [one(name) for name in ids] != [other(name) for name in ids]

    def test_growing_a_split_moves_nobody_out_of_it(self) -> None:
        ids = [f"p{number}" for number in range(2000)]
        small, large = SplitByPatient({"train": 0.5, "test": 0.5}), SplitByPatient({"train": 0.8, "test": 0.2})
        assert all(large(name) == "train" for name in ids if small(name) == "train")

    def test_split_of_no_share_gets_nobody(self) -> None:
        split = SplitByPatient({"train": 1.0, "test": 0.0})
        assert {split(f"p{number}") for number in range(1000)} == {"train"}

    @pytest.mark.parametrize("fractions", [{}, {"train": 0.5}, {"train": 1.5, "test": -0.5}])
    def test_fractions_add_up_to_one(self, fractions: dict[str, float]) -> None:
        with pytest.raises(ValueError, match=r"add up to 1"):
            SplitByPatient(fractions)


class TestLeaks:
    def test_patients_and_images_in_two_splits_are_found(self) -> None:
        leaks = leaks_among(
            [
                ("a", "train", "p1", "0" * 32),
                ("b", "test", "p1", "1" * 32),
                ("c", "train", "p2", "2" * 32),
                ("d", "train", "p2", "2" * 32),
                ("e", "test", "p3", "2" * 32),
                ("f", "validate", "p3", None),
            ]
        )
        assert leaks == [
            Leak("patient", ("test", "train"), ("a", "b")),
            Leak("patient", ("test", "validate"), ("e", "f")),
            Leak("image", ("test", "train"), ("c", "d", "e")),
        ]

    def test_studies_without_split_take_no_part(self) -> None:
        assert leaks_among([("a", "train", "p1", None), ("b", None, "p1", None)]) == []

    def test_ids_that_are_no_text_are_distinguished(self) -> None:
        leaks = leaks_among([("\udce9", "train", "\udce9", None), ("b", "test", "\udce9", None)])
        assert leaks[0].study_ids == ("\udce9", "b")
