"""Agreement of two filters on the same reports: counts, kappa, and what differs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import cohen_kappa_score

from medvlp_reports.comparison import Comparison, Said, agreement, kappa, strongest
from medvlp_toolkit.data.records import Finding, Presence, Report

REPORT = Report("1", "Left effusion. No edema.")
PRESENT, ABSENT, UNCERTAIN = Presence.PRESENT, Presence.ABSENT, Presence.UNCERTAIN


def test_the_strongest_statement_counts() -> None:
    said = [Finding("a", ABSENT), Finding("a", UNCERTAIN)]
    assert strongest([]) is Said.NOTHING
    assert strongest(said[:1]) is Said.ABSENT
    assert strongest(said) is Said.UNCERTAIN
    assert strongest([*said, Finding("a", PRESENT)]) is Said.PRESENT
    assert strongest([Finding("a")]) is Said.PRESENT  # a linker's mention


def test_cells_are_counted_and_differences_named() -> None:
    comparison = Comparison.of(["effusion", "edema", "mass", "mine"], ["mass", "effusion", "edema", "yours"])
    assert comparison.entities == ("effusion", "edema", "mass")
    assert comparison.one_sided == ("mine", "yours")
    differences = comparison.add(
        REPORT,
        [Finding("effusion", PRESENT, "left"), Finding("edema", ABSENT), Finding("mine", PRESENT)],
        [Finding("effusion", PRESENT, "right"), Finding("mass", UNCERTAIN), Finding("yours", PRESENT)],
    )
    assert [(d.entity, d.of, len(d.first), len(d.second)) for d in differences] == [
        ("effusion", "position", 1, 1), ("edema", "presence", 1, 0), ("mass", "presence", 0, 1),
    ]  # fmt: skip
    assert comparison.add(REPORT, [], []) == []
    table = comparison.table()
    assert table.sum() == 2 * 3
    assert (table[Said.PRESENT, Said.PRESENT], table[Said.ABSENT, 0], table[0, Said.UNCERTAIN], table[0, 0]) == (
        1,
        1,
        1,
        3,
    )
    assert agreement(table) == 4 / 6
    assert agreement(table, mentioned=True) == 1 / 3
    assert comparison.table("effusion").tolist()[0][0] == 1
    assert (comparison.both_present, comparison.same_place) == (1, 0)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (["left"], ["left"], True),
        (["left"], ["right"], False),
        (["left", "right"], ["right", "left", "left"], True),
        (["left", None], ["left"], True),  # a second mention without a place says no more
        ([None], [None], True),
        (["left"], [None], False),
    ],
)
def test_places_of_what_both_find_are_compared(one: list[str], other: list[str], same: bool) -> None:
    comparison = Comparison(("a",))
    found = comparison.add(
        REPORT,
        [Finding("a", PRESENT, place) for place in one] + [Finding("a", ABSENT, "elsewhere")],
        [Finding("a", PRESENT, place) for place in other],
    )
    assert comparison.same_place == same
    assert len(found) == (not same)


@given(arrays(np.int64, (4, 4), elements=st.integers(0, 50)))
def test_kappa_is_cohens(table: np.ndarray) -> None:
    rows, columns = np.indices((4, 4)).reshape(2, -1)
    only_one_answer = (table.sum(axis=0) > 0).sum() <= 1 and np.trace(table) == table.sum()
    if only_one_answer:
        assert np.isnan(kappa(table))
        return
    weights = table.ravel()
    expected = cohen_kappa_score(rows[weights > 0], columns[weights > 0], sample_weight=weights[weights > 0])
    assert kappa(table) == pytest.approx(expected)


def test_filters_without_an_entity_in_common_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="no entity in common"):
        Comparison.of(["a"], ["b"])


def test_nothing_compared_has_no_agreement() -> None:
    assert np.isnan(agreement(Comparison(("a",)).table()))
    assert np.isnan(kappa(Comparison(("a",)).table()))
