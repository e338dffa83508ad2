"""Findings as presence labels and position candidates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medvlp_toolkit.data.batches.draws import study_keys
from medvlp_toolkit.data.batches.supervision import EntityLabels, PositionNegatives

ENTITIES = ["effusion", "nodule", "edema"]
POSITIONS = ["left", "right", "apex", "unspecified"]
Row = tuple[int, str, str | None, str | None]

PRESENT, ABSENT, NOT_MENTIONED, UNCERTAIN = 1, 0, -1, 2


def from_rows(
    rows: Sequence[Row], studies: int, entities: list[str], positions: list[str], excluded: Sequence[str] = ()
) -> EntityLabels:
    columns = {}
    for place, name in enumerate(("entity", "presence", "position"), start=1):
        values = sorted({str(row[place]) for row in rows if row[place] is not None}, reverse=True)
        codes = [values.index(str(row[place])) if row[place] is not None else -1 for row in rows]
        columns[name] = (np.array(codes, dtype=np.int64), values)
    study = np.array([row[0] for row in rows], dtype=np.int64)
    return EntityLabels.from_columns(study, columns, studies, entities, positions, excluded)


def labels_of(
    *findings: Row, studies: int = 1, positions: list[str] = POSITIONS, excluded: Sequence[str] = ()
) -> EntityLabels:
    return from_rows(findings, studies, ENTITIES, positions, excluded)


def candidates_of(
    labels: EntityLabels, studies: list[int], epoch: int = 0, candidates: int = 3, **options: object
) -> np.ndarray:
    keys = study_keys([f"study {number}" for number in range(len(labels.presence))])
    chosen = np.array(studies)
    return labels.position_candidates(chosen, keys[chosen], 0, epoch, candidates, **options)  # type: ignore[arg-type]


class TestPresence:
    def test_what_no_report_mentions_is_neither_present_nor_absent(self) -> None:
        assert labels_of(studies=2).presence.tolist() == [[NOT_MENTIONED] * 3] * 2

    @pytest.mark.parametrize(
        ("said", "label"),
        [
            (["uncertain"], UNCERTAIN),
            (["absent", "uncertain"], ABSENT),
            (["uncertain", "absent"], ABSENT),
            (["absent", "present", "uncertain"], PRESENT),
        ],
    )
    def test_present_outweighs_absent_and_absent_uncertain(self, said: list[str], label: int) -> None:
        labels = labels_of(*[(0, "nodule", word, None) for word in said])
        assert labels.presence.tolist() == [[NOT_MENTIONED, label, NOT_MENTIONED]]

    def test_a_mention_without_presence_says_nothing(self) -> None:
        assert labels_of((0, "nodule", None, "left")).presence[0, 1] == NOT_MENTIONED

    def test_other_entities_are_left_out(self) -> None:
        labels = labels_of((0, "fracture", "present", "left"))
        assert (labels.presence == NOT_MENTIONED).all()
        assert len(labels.rows) == 0

    def test_an_excluded_entity_keeps_its_column_and_carries_no_loss(self) -> None:
        labels = labels_of((0, "nodule", "present", "left"), (0, "edema", "present", "left"), excluded=["nodule"])
        assert labels.presence.tolist() == [[NOT_MENTIONED, NOT_MENTIONED, PRESENT]]
        assert labels.rows.tolist() == [[0, 2, 0]]

    def test_excluding_an_unknown_entity_is_refused(self) -> None:
        with pytest.raises(ValueError, match="excluded entities nodul are not among the 3 trained ones"):
            labels_of(excluded=["nodul"])


class TestPositions:
    @pytest.mark.parametrize("position", [None, "elsewhere"])
    def test_without_a_known_position_a_present_entity_is_at_unspecified(self, position: str | None) -> None:
        assert labels_of((0, "nodule", "present", position)).rows.tolist() == [[0, 1, POSITIONS.index("unspecified")]]

    def test_without_unspecified_it_carries_existence_only(self) -> None:
        labels = labels_of((0, "nodule", "present", None), positions=["left", "right"])
        assert labels.presence[0, 1] == PRESENT
        assert len(labels.rows) == 0

    @pytest.mark.parametrize("presence", ["absent", "uncertain"])
    def test_only_present_entities_have_positions(self, presence: str) -> None:
        assert len(labels_of((0, "nodule", presence, "left")).rows) == 0

    def test_rows_are_sorted_and_not_repeated(self) -> None:
        labels = labels_of(
            (1, "edema", "present", "left"),
            (0, "nodule", "present", "right"),
            (0, "nodule", "present", "left"),
            (0, "nodule", "present", "right"),
            studies=3,
        )
        assert labels.rows.tolist() == [[0, 1, 0], [0, 1, 1], [1, 2, 0]]
        assert labels.offsets.tolist() == [0, 2, 3, 3]


findings = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.sampled_from([*ENTITIES, "fracture"]),
        st.sampled_from(["present", "absent", "uncertain", None]),
        st.sampled_from([*POSITIONS, "elsewhere", None]),
    ),
    max_size=30,
)


@settings(max_examples=100, deadline=None)
@given(findings, st.sampled_from([POSITIONS, POSITIONS[:2], []]), st.sampled_from([[], ["nodule"]]))
def test_the_strongest_finding_of_each_entity_counts(
    rows: list[Row], positions: list[str], excluded: list[str]
) -> None:
    labels = from_rows(rows, 5, ENTITIES, positions, excluded)
    strongest = {"present": PRESENT, "absent": ABSENT, "uncertain": UNCERTAIN}
    for study in range(5):
        for column, entity in enumerate(ENTITIES):
            said = {row[2] for row in rows if row[:2] == (study, entity)} if entity not in excluded else set()
            expected = next((value for name, value in strongest.items() if name in said), NOT_MENTIONED)
            assert labels.presence[study, column] == expected


def test_findings_of_other_studies_are_left_out_of_columns() -> None:
    columns = {
        "entity": (np.array([0, 0]), ["nodule"]),
        "presence": (np.array([0, 0]), ["present"]),
        "position": (np.array([-1, -1]), []),
    }
    labels = EntityLabels.from_columns(np.array([-1, 1]), columns, 2, ENTITIES, POSITIONS)
    assert labels.presence[:, 1].tolist() == [NOT_MENTIONED, PRESENT]


MANY = [f"place {number}" for number in range(12)]


def widely_placed(studies: int = 40) -> EntityLabels:
    """Nodules at one place, edema at three, effusion absent."""
    rows: list[Row] = []
    for study in range(studies):
        rows.append((study, "effusion", "absent", None))
        rows.append((study, "nodule", "present", MANY[study % 12]))
        rows += [(study, "edema", "present", MANY[(study + step) % 12]) for step in (0, 3, 5)]
    return from_rows(rows, studies, ENTITIES, MANY)


class TestCandidates:
    def test_the_first_is_positive_and_the_others_never_are(self) -> None:
        labels = widely_placed()
        for epoch in range(5):
            drawn = candidates_of(labels, list(range(40)), epoch, candidates=8)
            for study in range(40):
                for entity, places in ((1, {study % 12}), (2, {(study + step) % 12 for step in (0, 3, 5)})):
                    first, *others = drawn[study, entity].tolist()
                    assert first in places
                    assert not places & set(others)
                    assert len(set(others)) == 7

    def test_each_of_several_positions_is_drawn_at_some_epoch(self) -> None:
        drawn = {int(candidates_of(widely_placed(), [0], epoch)[0, 2, 0]) for epoch in range(30)}
        assert drawn == {0, 3, 5}

    def test_every_other_position_is_a_negative_about_equally_often(self) -> None:
        labels = widely_placed()
        counts = np.zeros(12)
        for epoch in range(60):
            negatives = candidates_of(labels, [0, 12, 24, 36], epoch, candidates=5)[:, 1, 1:]
            counts += np.bincount(negatives.ravel(), minlength=12)
        assert counts[0] == 0
        assert counts[1:].min() > 0.7 * counts[1:].mean()

    def test_too_few_other_positions_are_repeated(self) -> None:
        labels = labels_of(*[(0, "nodule", "present", place) for place in POSITIONS[:2]])
        drawn = candidates_of(labels, [0], candidates=4)[0, 1].tolist()
        assert drawn[0] in (0, 1)
        assert set(drawn[1:]) == {2, 3}

    def test_more_candidates_than_positions_are_refused(self) -> None:
        with pytest.raises(ValueError, match="5 position candidates requested, and there are 4 positions"):
            candidates_of(labels_of(), [0], candidates=5)

    def test_a_batch_without_a_position_has_the_shape_all_the_same(self) -> None:
        assert candidates_of(labels_of(studies=3), [2, 0], candidates=4).shape == (2, 3, 4)

    @pytest.mark.parametrize("negatives", ["other_positions", "whole_matrix"])
    def test_a_study_draws_the_same_in_any_batch_and_anew_each_epoch(self, negatives: PositionNegatives) -> None:
        labels = widely_placed()
        together = candidates_of(labels, list(range(40)), negatives=negatives)
        for batch in ([3], [39, 3, 8], list(range(39, -1, -1))):
            np.testing.assert_array_equal(candidates_of(labels, batch, negatives=negatives), together[batch])
        assert (candidates_of(labels, list(range(40)), 1, negatives=negatives) != together).any()


class TestWholeMatrix:
    """The sampler published until April 2023 drew cells of the whole position × entity matrix."""

    def test_it_repeats_positions_and_may_draw_the_positive_one(self) -> None:
        drawn = np.concatenate(
            [
                candidates_of(widely_placed(), list(range(40)), epoch, candidates=8, negatives="whole_matrix")[:, 1]
                for epoch in range(10)
            ]
        )
        assert any(len(set(others)) < 7 for _, *others in drawn.tolist())
        assert any(first in others for first, *others in drawn.tolist())

    def test_a_positive_cell_is_never_drawn(self) -> None:
        """With one entity the matrix is a column, where drawing a position twice would need the same cell."""
        rows = [(study, "nodule", "present", MANY[study % 12]) for study in range(24)]
        labels = from_rows(rows, 24, ["nodule"], MANY)
        drawn = candidates_of(labels, list(range(24)), candidates=12, negatives="whole_matrix")
        for study in range(24):
            first, *others = drawn[study, 0].tolist()
            assert first == study % 12
            assert sorted([first, *others]) == list(range(12))
